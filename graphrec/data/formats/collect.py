"""What a parser has read so far: events, items and people, with ids kept as they are written until all are known."""

from __future__ import annotations

import html
import math
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graphrec.data.dataset import Vectors
from graphrec.data.files import PLAIN_INTEGER
from graphrec.data.formats.lines import Skips
from graphrec.data.interactions import Ids
from graphrec.data.raw import RawData

TRAIN, VALID, TEST = 0, 1, 2
NOT_FINITE = float("nan")
MILLISECONDS = 1e11  # a time above this many seconds would be after the year 5138: it is in milliseconds


class Collector:
    """Gathers what a parser finds: 24 bytes per event, every id once.

    Args:
        has_rating: Whether events have a rating; those without one are skipped.
        has_time: Whether events have a time; those without one are skipped.
        has_split: Whether events belong to a given part of a split.
    """

    def __init__(self, *, has_rating: bool = False, has_time: bool = False, has_split: bool = False) -> None:
        self.skips = Skips()
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self._content: dict[str, dict[str, Any]] = {}
        self._people: dict[str, dict[str, Any]] = {}
        self._codes = (array("i"), array("i"))
        self._rating = array("d") if has_rating else None
        self._time = array("d") if has_time else None
        self._split = array("b") if has_split else None

    def __len__(self) -> int:
        return len(self._codes[0])

    def event(
        self,
        path: Path,
        line: int,
        user: object,
        item: object,
        *,
        rating: object = None,
        time: object = None,
        split: int = TRAIN,
    ) -> None:
        """Adds one event, or counts the line as skipped if an id, its rating or its time is missing or no number."""
        who, what = as_id(user), as_id(item)
        numbers = {"rating": as_number(rating), "time": as_number(time)}
        stores = {"rating": self._rating, "time": self._time}
        absent = [name for name, store in stores.items() if store is not None and math.isnan(numbers[name])]
        absent = [name for name, value in (("user", who), ("item", what)) if not value] + absent
        if absent:
            self.skips.add(path, f"no {absent[0]}", line)
            return
        self._append(who, what, numbers["rating"], numbers["time"], split)

    def events(
        self,
        path: Path,
        lines: Sequence[int],
        users: Sequence[str],
        items: Sequence[str],
        *,
        ratings: Sequence[str] | None = None,
        times: Sequence[str] | NDArray[np.float64] | None = None,
        split: int = TRAIN,
    ) -> None:
        """Adds a batch of events as ``event`` does one."""
        rating, time = (as_numbers(values) if values is not None else None for values in (ratings, times))
        good = np.array([bool(user and item) for user, item in zip(users, items, strict=True)], dtype=bool)
        for values in (rating, time):
            good &= True if values is None else np.isfinite(values)
        plain = all(as_id(value) == value for values in (users, items) for value in set(values) if value)
        if good.all() and plain:
            self._extend(users, items, rating, time, split)
            return
        for row, line in enumerate(lines):
            marks = {"rating": rating, "time": time}
            numbers = {name: values[row] for name, values in marks.items() if values is not None}
            self.event(path, line, users[row], items[row], split=split, **numbers)

    def item(self, path: Path, line: int, item: object, content: Mapping[str, Any]) -> None:
        """Adds what is known about an item; a second entry for it is skipped."""
        self._describe(self._content, self.items, "item", (path, line), item, content)

    def person(self, path: Path, line: int, user: object, content: Mapping[str, Any]) -> None:
        """Adds what is known about a user; a second entry for it is skipped."""
        self._describe(self._people, self.users, "user", (path, line), user, content)

    def supplement(self, item: str, **content: Any) -> None:
        """Adds columns to what is known about an item."""
        self._content.setdefault(item, {}).update(content)

    def content(self, item: str) -> Mapping[str, Any]:
        """Returns what is known about an item so far."""
        return self._content.get(item, {})

    def drop_later(self, path: Path) -> None:
        """Drops events of a later part of the split whose user and item met in an earlier part, and counts them."""
        split = np.frombuffer(self._split or b"", dtype=np.int8)
        user, item = (np.frombuffer(codes, dtype=np.int32).astype(np.int64) for codes in self._codes)
        pair = user * len(self.items) + item
        keep = np.ones(len(self), dtype=bool)
        for part in (VALID, TEST) if len(split) else ():
            later = split == part
            keep[later] = ~np.isin(pair[later], pair[split < part])
        dropped = len(self) - int(keep.sum())
        if dropped:
            self.skips.counts[f"{path.name}: met in an earlier part"] = dropped
            self._keep(keep)

    def finish(self, path: Path, vectors: Mapping[str, NDArray[Any]] | None = None) -> RawData:
        """Returns what was found.

        The ids of users, and those of items, are integers if every one is written as a plain integer, else texts.

        Args:
            path: The file of the interactions, for the error.
            vectors: Vectors of items by modality whose row r belongs to the item r.

        Raises:
            ValueError: If there was no interaction.
        """
        skipped = self.skips.report()
        if not len(self):
            reasons = "; ".join(f"{key} ({count} lines)" for key, count in skipped.items())
            raise ValueError(f"expected interactions in {path}, got none{f': {reasons}' if reasons else ''}")
        for name, values in (vectors or {}).items():
            self._know_rows(name, len(values))
        users, items = as_index(self.users), as_index(self.items)
        return RawData(
            interactions=self._interactions(users, items),
            items=_frame(items, self.items, self._content),
            people=_frame(users, self.users, self._people),
            vectors={name: Vectors(_row_ids(items, len(values)), values) for name, values in (vectors or {}).items()},
            skipped=skipped,
        )

    def _keep(self, rows: NDArray[np.bool_]) -> None:
        chosen = tuple(array("i", np.frombuffer(codes, dtype=np.int32)[rows].tobytes()) for codes in self._codes)
        self._codes = (chosen[0], chosen[1])
        if self._rating is not None:
            self._rating = array("d", np.frombuffer(self._rating, dtype=np.float64)[rows].tobytes())
        if self._time is not None:
            self._time = array("d", np.frombuffer(self._time, dtype=np.float64)[rows].tobytes())
        if self._split is not None:
            self._split = array("b", np.frombuffer(self._split, dtype=np.int8)[rows].tobytes())

    def _append(self, user: str, item: str, rating: float, time: float, split: int) -> None:
        self._codes[0].append(self.users.setdefault(user, len(self.users)))
        self._codes[1].append(self.items.setdefault(item, len(self.items)))
        for store, value in ((self._rating, rating), (self._time, time)):
            if store is not None:
                store.append(value)
        if self._split is not None:
            self._split.append(split)

    def _extend(
        self,
        users: Sequence[str],
        items: Sequence[str],
        rating: NDArray[np.float64] | None,
        time: NDArray[np.float64] | None,
        split: int,
    ) -> None:
        for store, known, values in zip(self._codes, (self.users, self.items), (users, items), strict=True):
            store.extend([known.setdefault(value, len(known)) for value in values])
        for numbers, found in ((self._rating, rating), (self._time, time)):
            if numbers is not None and found is not None:
                numbers.frombytes(found.tobytes())
        if self._split is not None:
            self._split.extend([split] * len(users))

    def _describe(
        self,
        known: dict[str, dict[str, Any]],
        ids: dict[str, int],
        kind: str,
        where: tuple[Path, int],
        key: object,
        content: Mapping[str, Any],
    ) -> None:
        name = as_id(key)
        if not name or name in known:
            self.skips.add(where[0], f"{kind} again" if name else f"no {kind}", where[1])
            return
        ids.setdefault(name, len(ids))
        known[name] = dict(content)

    def _know_rows(self, name: str, rows: int) -> None:
        unknown = [item for item in self.items if not re.fullmatch(PLAIN_INTEGER, item) or not 0 <= int(item) < rows]
        if unknown:
            raise ValueError(f"expected {name} vectors of every item, got {rows} rows; none for {unknown[:3]}")
        for row in range(rows):
            self.items.setdefault(str(row), len(self.items))

    def _interactions(self, users: pd.Index, items: pd.Index) -> pd.DataFrame:
        columns: dict[str, Any] = {
            "user": users.take(np.frombuffer(self._codes[0], dtype=np.int32)),
            "item": items.take(np.frombuffer(self._codes[1], dtype=np.int32)),
        }
        for name, numbers in (("rating", self._rating), ("time", self._time)):
            if numbers is not None:
                columns[name] = _whole(np.frombuffer(numbers, dtype=np.float64))
        if self._split is not None:
            columns["split"] = np.frombuffer(self._split, dtype=np.int8).copy()
        return pd.DataFrame(columns)


def as_id(value: object) -> str:
    """Returns an id as it is written; an empty text for what can be none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value).strip()
    return text if text.isprintable() else ""


def as_number(value: object) -> float:
    """Returns a finite number; NaN for everything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | np.floating):
        return NOT_FINITE
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return NOT_FINITE
    return number if math.isfinite(number) else NOT_FINITE


def as_numbers(values: Sequence[str] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns finite numbers ``(num_values,)``, NaN for what is none."""
    try:
        numbers = np.array(values, dtype=np.float64)
    except ValueError:
        return np.array([as_number(value) for value in values], dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers, NOT_FINITE)


def as_seconds(values: Sequence[str]) -> NDArray[np.float64]:
    """Returns times in seconds since 1970 ``(num_values,)``; those of milliseconds are told by their size."""
    numbers = as_numbers(values)
    return np.where(np.abs(numbers) > MILLISECONDS, numbers / 1000, numbers)


def as_text(value: object) -> str | None:
    """Returns a text with HTML entities decoded; None where there is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = html.unescape(str(value)).encode("utf-8", "replace")  # JSON may hold lone surrogates, which no file can
    return text.decode("utf-8").strip() or None


def as_lines(values: Iterable[object]) -> str | None:
    """Returns the texts that there are, one below the other; None where there is none."""
    return "\n".join(filter(None, map(as_text, values))) or None


def as_names(values: Iterable[object]) -> str | None:
    """Returns the distinct names that there are, separated by commas; None where there is none."""
    return ", ".join(dict.fromkeys(filter(None, map(as_text, values)))) or None


def as_index(ids: Iterable[str]) -> pd.Index:
    """Returns ids as an index: of integers if every one is written as a plain integer, else of texts."""
    values = list(ids)
    plain = bool(values) and all(re.fullmatch(PLAIN_INTEGER, value) for value in values)
    return pd.Index(np.array(values, dtype=np.int64)) if plain else pd.Index(values, dtype="str")


def _whole(values: NDArray[np.float64]) -> NDArray[Any]:
    whole = bool((values == np.floor(values)).all()) and bool((np.abs(values) < 2**53).all())
    return values.astype(np.int64) if whole else values.copy()


def _row_ids(items: pd.Index, rows: int) -> Ids:
    numbers = range(rows)
    return Ids(numbers if pd.api.types.is_integer_dtype(items.dtype) else map(str, numbers), name="item")


def _frame(index: pd.Index, ids: Mapping[str, int], rows: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    nothing: Mapping[str, Any] = {}
    columns = {}
    for name in names:
        values = [rows.get(key, nothing).get(name) for key in ids]
        if all(value is None for value in values):
            continue
        numeric = all(isinstance(value, int | float) or value is None for value in values)
        columns[name] = pd.Series(values, index=index, dtype=np.float64 if numeric else object)
    return pd.DataFrame(columns, index=index)
