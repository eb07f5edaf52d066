"""The data set inside a run folder: ids, interactions, what is known of items and users; not the original files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Split
from graphrec.data.files import write_json
from graphrec.data.interactions import Ids, Interactions
from graphrec.runs.files import RunFolderError, read_json, read_parquet, share, write_parquet
from graphrec.runs.ids import from_table, to_table
from graphrec.runtime import logger

log = logger(__name__)
PARTS = ("train", "valid", "test")
ABOUT, USERS, ITEMS, INTERACTIONS, CONTENT, PEOPLE = (
    "dataset.json",
    "users.parquet",
    "items.parquet",
    "interactions.parquet",
    "content.parquet",
    "people.parquet",
)
FILES = (ABOUT, USERS, ITEMS, INTERACTIONS, CONTENT)  # in every folder; PEOPLE where users have columns


def save_dataset(folder: Path, data: Dataset) -> None:
    """Writes ids, interactions and the texts, numbers and paths of the catalogues; feature vectors are in the graph.

    Raises:
        ValueError: If the ids have a type that cannot be written without a pickle.
    """
    parts = _parts(data)
    write_parquet(folder / USERS, to_table(data.split.users))
    write_parquet(folder / ITEMS, to_table(data.split.items))
    write_parquet(folder / INTERACTIONS, _interactions_table(parts))
    content, paths = _content_table(data.items)
    write_parquet(folder / CONTENT, content)
    about: dict[str, Any] = {"name": data.name, "notes": list(data.notes), "paths": paths}
    if data.people.columns:
        people, about["user_paths"] = _content_table(data.people)
        write_parquet(folder / PEOPLE, people)
    for field in ("weight", "time"):
        about[field] = [name for name, part in parts.items() if getattr(part, field) is not None]
    write_json(folder / ABOUT, about)


def share_dataset(source: Path, target: Path) -> None:
    """Makes ``target`` hold the same data set files as ``source``, as links where the disk allows it."""
    for name in (*FILES, PEOPLE) if (source / PEOPLE).is_file() else FILES:
        share(source / name, target / name)


def load_dataset(folder: Path) -> Dataset:
    """Reads what ``save_dataset`` wrote; the vectors are not in it, they are in the graph.

    Raises:
        RunFolderError: If a file is missing or damaged.
    """
    about = read_json(folder / ABOUT)
    users, items = from_table(read_parquet(folder / USERS)), from_table(read_parquet(folder / ITEMS))
    table = read_parquet(folder / INTERACTIONS)
    try:
        train, valid, test = (_part(table, about, name, users, items) for name in PARTS)
        content = Catalog(items, _content(read_parquet(folder / CONTENT), about["paths"], len(items)))
        people = Catalog.empty(users)
        if "user_paths" in about:
            people = Catalog(users, _content(read_parquet(folder / PEOPLE), about["user_paths"], len(users)))
        return Dataset(about["name"], Split(train, valid), test, content, people, notes=tuple(about["notes"]))
    except (KeyError, ValueError) as error:
        raise RunFolderError(f"cannot read the data set in {folder}: {error}") from error


def _parts(data: Dataset) -> dict[str, Interactions]:
    return dict(zip(PARTS, (data.split.train, data.split.valid, data.test), strict=True))


def _interactions_table(parts: Mapping[str, Interactions]) -> Any:
    import pyarrow as pa

    columns: dict[str, Any] = {
        "part": pa.array(np.repeat(np.arange(len(PARTS), dtype=np.int8), [len(part) for part in parts.values()])),
        "user": pa.array(np.concatenate([part.user for part in parts.values()]).astype(np.int32)),
        "item": pa.array(np.concatenate([part.item for part in parts.values()]).astype(np.int32)),
    }
    for field in ("weight", "time"):
        values = [getattr(part, field) for part in parts.values()]
        if any(value is not None for value in values):
            columns[field] = _with_gaps(values, [len(part) for part in parts.values()])
    return pa.table(columns)


def _with_gaps(values: list[Any], lengths: list[int]) -> Any:
    """Joins the columns of the parts; nulls for a part that has none."""
    import pyarrow as pa

    kind = pa.array(np.concatenate([value for value in values if value is not None])).type
    pieces = [
        pa.nulls(length, kind) if value is None else pa.array(value).cast(kind)
        for value, length in zip(values, lengths, strict=True)
    ]
    return pa.chunked_array(pieces, kind)


def _part(table: Any, about: Mapping[str, Any], name: str, users: Ids, items: Ids) -> Interactions:
    chosen = table.filter(table.column("part").to_numpy() == PARTS.index(name))
    fields = ["user", "item", *(field for field in ("weight", "time") if name in about[field])]
    columns = {field: chosen.column(field).to_numpy().copy() for field in fields}  # from a column without gaps
    return Interactions(
        columns["user"].astype(np.int64),
        columns["item"].astype(np.int64),
        users,
        items,
        weight=columns.get("weight"),
        time=columns.get("time"),
    )


def _content_table(catalog: Catalog) -> tuple[Any, list[str]]:
    """Returns the columns that hold texts, paths or numbers, and which of them are paths."""
    import pyarrow as pa

    columns, paths = {}, []
    for name in catalog.columns:
        values = catalog.values(name)
        if any(isinstance(value, Path) for value in values):
            paths.append(name)
            values = [None if value is None else str(value) for value in values]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            log.warning("the catalogue column %r holds mixed values and is not kept in the run folder", name)
    return pa.table(columns), paths


def _content(table: Any, paths: list[str], count: int) -> pd.DataFrame:
    columns = {name: pd.Series(table.column(name).to_pylist(), dtype=object) for name in table.column_names}
    objects = pd.DataFrame(columns, index=range(count))
    for name in paths:
        objects[name] = objects[name].map(lambda value: None if value is None else Path(value)).astype(object)
    return objects
