"""RecBole's and MMRec's atomic files: ``.inter``, ``.item`` and ``.user``, with or without types in the header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from graphrec.config import Config
from graphrec.data.formats.collect import Collector, as_lines, as_number, as_text
from graphrec.data.formats.lines import Form, find_file, find_optional, first_known, header, read_batches
from graphrec.data.raw import RawData

USERS = ("user_id", "userID", "user", "userId", "uid")
ITEMS = ("item_id", "itemID", "item", "itemId", "iid")
RATINGS, TIMES, PARTS = ("rating",), ("timestamp", "time"), ("x_label", "split")
TITLES = ("title", "movie_title", "item_name", "name")
NUMBER_TYPES = ("float", "float_seq")
LABELS = {"0": 0, "1": 1, "2": 2, "train": 0, "valid": 1, "test": 2}


class InterOptions(Config):
    """Atomic files.

    Args:
        inter: The interactions; by default the only ``.inter`` file there is.
        item: What items are; by default the file of the same name ending in ``.item``, where there is one.
        user: Who users are; by default the file of the same name ending in ``.user``, where there is one.
        separator: Between columns.
    """

    kind: Literal["inter"] = "inter"
    inter: str | None = None
    item: str | None = None
    user: str | None = None
    separator: str = "\t"


def read_inter(folder: Path, options: InterOptions) -> RawData:
    """Reads atomic files of RecBole (https://recbole.io/docs/user_guide/data/atomic_files.html) or MMRec.

    A header names columns as ``user_id:token`` or ``userID``. The columns of users, items, ratings, times and labels
    (``x_label``: 0 train, 1 valid, 2 test) are known by their usual names.

    Args:
        folder: The folder of the raw files.
        options: Their names.

    Returns:
        Events with ``rating``, ``time`` and ``split`` where there are such columns; items and people with theirs.
        ``text`` joins an item's title with its other texts unless there is a column of that name.

    Raises:
        FileNotFoundError: If there is no ``.inter`` file.
        ValueError: If there are several and none is named, a column is missing, or there is no interaction.
    """
    path = _inter_file(folder, options.inter)
    form = Form(options.separator, quoted=False)
    names = header(path, form)
    plain = [_plain(name) for name in names]
    wanted = [first_known(plain, known, path) for known in (USERS, ITEMS)]
    extra = {kind: next((name for name in known if name in plain), None) for kind, known in _EXTRA.items()}
    collector = Collector(**{f"has_{kind}": name is not None for kind, name in extra.items()})
    columns = [names[plain.index(name)] for name in [*wanted, *filter(None, extra.values())]]
    kinds = [kind for kind, name in extra.items() if name is not None]
    for batch in read_batches(path, columns, collector.skips, form=form):
        users, items, *others = batch
        _add(collector, path, batch.numbers, users, items, dict(zip(kinds, others, strict=True)))
    for name, known in ((options.item or f"{path.stem}.item", ITEMS), (options.user or f"{path.stem}.user", USERS)):
        content = find_optional(folder, name)
        if content is not None:
            _describe(content, form, known, collector)
    return collector.finish(path)


_EXTRA = {"rating": RATINGS, "time": TIMES, "split": PARTS}


def _inter_file(folder: Path, name: str | None) -> Path:
    if name is not None:
        return find_file(folder, name)
    found = sorted(path.name for path in folder.glob("*.inter")) if folder.is_dir() else []
    if len(found) > 1:
        raise ValueError(f"expected one .inter file in {str(folder)!r}, got {', '.join(found)}; name one with inter")
    return find_file(folder, found[0] if found else f"{folder.name}.inter")


def _add(
    collector: Collector,
    path: Path,
    lines: Sequence[int],
    users: Sequence[str],
    items: Sequence[str],
    others: dict[str, list[str]],
) -> None:
    labels = np.array([LABELS.get(_label(value), -1) for value in others.get("split", ["0"] * len(lines))])
    for line in np.array(lines)[labels < 0].tolist():
        collector.skips.add(path, "no part of a split", line)
    for part in sorted(set(labels.tolist()) - {-1}):
        rows = np.flatnonzero(labels == part).tolist()
        chosen = {f"{kind}s": [values[row] for row in rows] for kind, values in others.items() if kind != "split"}
        kept = ([values[row] for row in rows] for values in (lines, users, items))
        collector.events(path, *kept, split=part, **chosen)  # type: ignore[arg-type]


def _label(value: str) -> str:
    return value.strip().removesuffix(".0")


def _describe(path: Path, form: Form, known: tuple[str, ...], collector: Collector) -> None:
    names = header(path, form)
    plain = [_plain(name) for name in names]
    place = plain.index(first_known(plain, known, path))
    add = collector.item if known is ITEMS else collector.person
    for line, row in _rows(path, names, form, collector):
        content: dict[str, Any] = {}
        for column, name, value in zip(names, plain, row, strict=True):
            number = column.partition(":")[2] in NUMBER_TYPES[:1]
            content[name] = _number(value) if number else as_text(value)
        texts = sorted(((name, value) for name, value in content.items() if isinstance(value, str)), key=_title_first)
        own = content.pop(plain[place])
        if known is ITEMS and "text" not in content:
            content["text"] = as_lines(value for name, value in texts if name != plain[place])
        add(path, line, own if isinstance(own, str) else row[place], content)


def _rows(path: Path, names: Sequence[str], form: Form, collector: Collector) -> Iterator[tuple[int, list[str]]]:
    for batch in read_batches(path, names, collector.skips, form=form):
        for line, *row in zip(batch.numbers, *batch, strict=True):
            yield line, row


def _title_first(entry: tuple[str, str]) -> bool:
    return entry[0] not in TITLES


def _number(value: str) -> float | None:
    number = as_number(value)
    return None if number != number else number


def _plain(name: str) -> str:
    return name.partition(":")[0].strip()
