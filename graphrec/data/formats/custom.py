"""Your own data: a table of interactions, perhaps tables of items and users, and folders named after modalities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from graphrec.config import Config
from graphrec.data.files import join_texts, read_columns, read_parquet, require_columns
from graphrec.data.formats.lines import Skips
from graphrec.data.formats.media import IMAGES, SOUNDS, VIDEOS, files_by_id, path_inside
from graphrec.data.interactions import to_dates
from graphrec.data.raw import RawData
from graphrec.runtime import logger

log = logger(__name__)
SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
SUFFIXES = (".parquet", *SEPARATORS)
FOLDERS = {"image": ("images", IMAGES), "audio": ("audio", SOUNDS), "video": ("video", VIDEOS)}
PARTS = {"train": 0, "valid": 1, "test": 2, 0: 0, 1: 1, 2: 2}


class CustomOptions(Config):
    """Tables (CSV, TSV or Parquet) and folders.

    Args:
        interactions: The table of interactions, with or without its suffix.
        items: The table of items; need not be there.
        users: The table of users; need not be there.
        user: The column of user ids.
        item: The column of item ids.
        rating: The column of ratings, where there is one.
        time: The column of times, where there is one.
        split: The column of parts (0, 1, 2 or train, valid, test), where there is one.
        text: The columns of items that ``text`` joins, unless there is a column of that name.
        images: The folder of pictures named by item; need not be there.
        audio: The folder of sounds named by item; need not be there.
        video: The folder of videos named by item; need not be there.
    """

    kind: Literal["custom"] = "custom"
    interactions: str = "interactions"
    items: str | None = "items"
    users: str | None = "users"
    user: str = "user"
    item: str = "item"
    rating: str = "rating"
    time: str = "time"
    split: str = "split"
    text: tuple[str, ...] = ("title", "brand", "description")
    images: str = "images"
    audio: str = "audio"
    video: str = "video"


def read_custom(folder: Path, options: CustomOptions) -> RawData:
    """Reads your own tables and folders.

    Ids keep their form: in CSV and TSV a column is one of integers only if every id is written as one, else all are
    texts (``001`` stays ``001``). A file belongs to the item whose id is its name without suffix; columns ``image``,
    ``audio`` and ``video`` of the items may name other files of the folder, or addresses. A name that leads out of the
    folder counts as absent, with a warning that says whose it is.

    Args:
        folder: The folder of the tables.
        options: Their names and columns.

    Returns:
        Events with ``rating``, ``time`` and ``split`` where there are such columns; items and people with all columns
        of their tables. Rows without an id, a rating or a time are skipped.

    Raises:
        FileNotFoundError: If there is no table of interactions.
        ValueError: If a table cannot be read, lacks a column, or has an id twice.
    """
    skips = Skips()
    path = _table(folder, options.interactions)
    frame = _events(_read(path, [options.user, options.item]), path, options, skips)
    items = _content(folder, options.items, options.item, skips)
    people = _content(folder, options.users, options.user, skips)
    frame["item"], items = _same_ids(frame["item"], items)
    frame["user"], people = _same_ids(frame["user"], people)
    if not len(frame):
        raise ValueError(f"expected interactions in {path}, got none: {skips.report() or 'the table is empty'}")
    items, people = _all_ids(items, frame["item"]), _all_ids(people, frame["user"])
    for name, (_, suffixes) in FOLDERS.items():
        files = files_by_id(folder / getattr(options, name_of(name)), suffixes, skips)
        items = _with_files(folder, items, name, files, skips)
    return RawData(frame, _with_text(items, options.text), people, skipped=skips.report())


def name_of(modality: str) -> str:
    """Returns the option, and the default name, of the folder of a modality."""
    return FOLDERS[modality][0]


def _table(folder: Path, name: str) -> Path:
    path = _optional_table(folder, name)
    if path is None:
        present = ", ".join(sorted(entry.name for entry in folder.iterdir())[:12]) if folder.is_dir() else "no folder"
        raise FileNotFoundError(
            f"expected the table {name!r} ({', '.join(SUFFIXES)}) in {str(folder)!r}, found {present or 'nothing'}"
        )
    return path


def _optional_table(folder: Path, name: str | None) -> Path | None:
    if not name:
        return None
    stem = path_inside(folder, name)
    candidates = [stem, *(stem.with_name(f"{stem.name}{suffix}") for suffix in SUFFIXES)]
    return next((path for path in candidates if path.is_file() and path.suffix in SUFFIXES), None)


def _read(path: Path, ids: Sequence[str]) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return read_parquet(path, ids)
    frame = read_columns(path, ids, separator=SEPARATORS[path.suffix])
    require_columns(frame, ids, path)
    return read_columns(path, ids, separator=SEPARATORS[path.suffix], ids=ids)


def _events(frame: pd.DataFrame, path: Path, options: CustomOptions, skips: Skips) -> pd.DataFrame:
    columns = {"user": frame[options.user], "item": frame[options.item]}
    good = np.ones(len(frame), dtype=bool)
    if options.rating in frame:
        columns["rating"] = pd.to_numeric(frame[options.rating], errors="coerce")
        columns["rating"] = columns["rating"].where(np.isfinite(columns["rating"].astype(np.float64)))
    if options.time in frame:
        columns["time"] = _times(frame[options.time])
    if options.split in frame:
        columns["split"] = frame[options.split].map(PARTS)
    for name, values in columns.items():
        absent = values.isna().to_numpy(dtype=bool)
        for row in np.flatnonzero(absent & good).tolist():
            skips.add(path, f"no {name}", row + 2)  # the header is line 1
        good &= ~absent
    kept = pd.DataFrame(columns)[good].reset_index(drop=True)
    return kept.astype({"split": np.int8}) if "split" in kept else kept


def _times(values: pd.Series) -> pd.Series:
    """Returns finite numbers or, where there is no number at all, moments; missing where a value is neither."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return values
    numbers = pd.to_numeric(values, errors="coerce")
    finite = numbers.notna() & (numbers.abs() != np.inf)
    if finite.any() or pd.api.types.is_numeric_dtype(values):
        return numbers.where(finite) if not finite.all() else numbers
    return to_dates(values)


def _content(folder: Path, name: str | None, key: str, skips: Skips) -> pd.DataFrame:
    path = _optional_table(folder, name)
    if path is None:
        return pd.DataFrame()
    frame = _read(path, [key])
    for row in np.flatnonzero(frame[key].isna().to_numpy(dtype=bool)).tolist():
        skips.add(path, f"no {key}", row + 2)
    frame = frame[frame[key].notna()].set_index(key)
    if not frame.index.is_unique:
        twice = frame.index[frame.index.duplicated()][:3].tolist()
        raise ValueError(f"expected every {key} once in {path}, got {twice} more often; keep one row of each")
    return frame


def _same_ids(column: pd.Series, content: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """Makes both texts where only one of the two tables has ids that are all integers."""
    if content.empty and not len(content.index):
        return column, content
    if pd.api.types.is_integer_dtype(column.dtype) == pd.api.types.is_integer_dtype(content.index.dtype):
        return column, content
    return column.astype(str), content.set_axis(content.index.astype(str), axis=0)


def _all_ids(content: pd.DataFrame, column: pd.Series) -> pd.DataFrame:
    ids = pd.Index(pd.unique(column), tupleize_cols=False)
    if not len(content.index):
        return pd.DataFrame(index=ids)
    return content.reindex(content.index.append(ids.difference(content.index, sort=False)))


def _with_files(folder: Path, items: pd.DataFrame, name: str, files: dict[str, Path], skips: Skips) -> pd.DataFrame:
    named = [files.get(str(item)) for item in items.index]
    stated = items[name].tolist() if name in items else [None] * len(items)
    values: list[str | None] = []
    for item, own, found in zip(items.index.tolist(), stated, named, strict=True):
        try:
            values.append(_file(folder, own, found))
        except ValueError as error:
            log.warning("%s of item %r counts as absent: %s", name, item, error)
            skips.add(folder / "items", f"{name} outside the folder", 0)
            values.append(None)
    if all(value is None for value in values):
        return items.drop(columns=name, errors="ignore")
    return items.assign(**{name: pd.Series(values, index=items.index, dtype=object)})


def _file(folder: Path, stated: Any, found: Path | None) -> str | None:
    if isinstance(stated, str) and stated.strip():
        return stated if stated.startswith(("http://", "https://")) else str(path_inside(folder, stated.strip()))
    return None if found is None else str(found)


def _with_text(items: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    present = [column for column in columns if column in items]
    if "text" in items or not present:
        return items
    text = join_texts(items, present)
    return items.assign(text=text.where(text != "", None))
