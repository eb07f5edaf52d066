"""The folders of MMSSL and LLMRec: ``train.json``, ``val.json``, ``test.json``, and vectors as ``.npy``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from graphrec.config import Config
from graphrec.data.files import load_array, require_file
from graphrec.data.formats.collect import TEST, TRAIN, VALID, Collector, as_lines, as_text
from graphrec.data.formats.lines import find_optional, read_batches
from graphrec.data.formats.media import IMAGES, files_by_id
from graphrec.data.raw import RawData

FILES = {"train": TRAIN, "val": VALID, "test": TEST}


class MMSSLOptions(Config):
    """A folder in MMSSL's form.

    Args:
        features: Vectors by modality, row r those of item r; files that are missing are left out.
        attributes: A table of items without header, such as LLMRec's ``item_attribute.csv``; need not be there.
        columns: Its columns; ``id`` names the item.
        posters: A folder of pictures named by item; need not be there.
    """

    kind: Literal["mmssl"] = "mmssl"
    features: dict[str, str] = Field(
        default_factory=lambda: {"image": "image_feat.npy", "text": "text_feat.npy", "audio": "audio_feat.npy"}
    )
    attributes: str | None = None
    columns: tuple[str, ...] = ("id", "year", "title")
    posters: str = "posters"


def read_mmssl(folder: Path, options: MMSSLOptions) -> RawData:
    """Reads a folder of MMSSL (https://github.com/HKUDS/MMSSL) or LLMRec (https://github.com/HKUDS/LLMRec).

    ``train.json``, ``val.json`` and ``test.json`` map every user to a list of items, both counted from 0. The same
    folders ship the matrices as pickles (``train_mat``), which are never read: loading one can run any program.

    Args:
        folder: The folder of the raw files.
        options: The names of what else there is.

    Returns:
        Events with ``split``; vectors by modality; items with the columns of the attributes, ``title`` and ``text``
        where there is a title, and ``image`` where there is a poster.

    Raises:
        FileNotFoundError: If a JSON file is missing; the message says what to do where there are pickles.
        ValueError: If a file is broken, holds no interaction, or vectors do not cover the items.
    """
    collector = Collector(has_split=True)
    for name, part in FILES.items():
        _read_lists(_lists(folder, name), part, collector)
    path = find_optional(folder, options.attributes)
    if path is not None:
        _attributes(path, options.columns, collector)
    for item, picture in files_by_id(folder / options.posters, IMAGES, collector.skips).items():
        if item in collector.items:
            collector.supplement(item, image=str(picture))
    found = {name: find_optional(folder, file) for name, file in options.features.items()}
    vectors = {name: load_array(file) for name, file in found.items() if file is not None}
    return collector.finish(folder / "train.json", vectors)


def _lists(folder: Path, name: str) -> Path:
    path = find_optional(folder, f"{name}.json")
    if path is not None:
        return path
    pickled = find_optional(folder, f"{name}_mat")
    if pickled is None:
        return require_file(folder / f"{name}.json")
    raise FileNotFoundError(
        f"expected {name}.json beside {str(pickled)!r}, which is a pickle: those are never read, since loading one can "
        f"run any program. If you trust where it is from, load it yourself and write {{user: [items]}} to {name}.json"
    )


def _read_lists(path: Path, part: int, collector: Collector) -> None:
    try:
        users = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON lists of items by user in {path}: {error}") from None
    if not isinstance(users, Mapping):
        raise ValueError(f"expected JSON lists of items by user in {path}, got {type(users).__name__}")
    for line, (user, items) in enumerate(users.items(), start=1):
        if not isinstance(items, list):
            collector.skips.add(path, "no list of items", line)
            continue
        for item in items:
            collector.event(path, line, user, item, split=part)


def _attributes(path: Path, columns: tuple[str, ...], collector: Collector) -> None:
    for batch in read_batches(path, columns, collector.skips, names=columns):
        for line, *values in zip(batch.numbers, *batch, strict=True):
            row: dict[str, Any] = dict(zip(columns, values, strict=True))
            item = row.pop("id", None)
            content = {name: as_text(value) for name, value in row.items()}
            collector.item(path, line, item, content | {"text": as_lines((row.get("title"), row.get("genre")))})
