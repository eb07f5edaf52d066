"""Pairs of two modalities of the same items: which can be read, which are held out, and batches to contrast."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphrec.data.catalog import Catalog
from graphrec.runtime import derive_seed, track

Read = Callable[[Any], Any]
CHUNK = 256  # values given to the threads at a time


@dataclass(frozen=True, eq=False)
class Pairs:
    """Two values of every item, such as the path of its picture and its text.

    Args:
        ids: What the items are called in messages.
        first: One value per item.
        second: The other value per item.
    """

    ids: list[Any]
    first: list[Any]
    second: list[Any]

    @classmethod
    def gather(cls, pairs: Sequence[tuple[Any, Any]] | Catalog, columns: tuple[str, str]) -> Pairs:
        """Returns the pairs of a sequence, whose ids are positions, or of the items of a catalogue that have both.

        Raises:
            ValueError: If there are none, or an entry is no pair.
            KeyError: If the catalogue has no such column.
        """
        if isinstance(pairs, Catalog):
            rows = np.flatnonzero(pairs.present(columns[0]) & pairs.present(columns[1]))
            first, second = (pairs.values(column) for column in columns)
            found = cls(list(pairs.ids.ids(rows)), [first[row] for row in rows], [second[row] for row in rows])
        else:
            found = cls(list(range(len(pairs))), *_columns(pairs))
        if not found.ids:
            where = f"with both {columns[0]!r} and {columns[1]!r}" if isinstance(pairs, Catalog) else "in the sequence"
            raise ValueError(f"expected pairs to learn from, got no item {where}")
        return found

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Pairs:
        """Returns the pairs of some rows."""
        return Pairs(
            [self.ids[row] for row in rows], [self.first[row] for row in rows], [self.second[row] for row in rows]
        )

    def readable(self, first: Read, second: Read, pool: Executor) -> tuple[Pairs, dict[Any, str]]:
        """Returns the pairs whose two values can both be read, and what is wrong with the others, by id.

        Args:
            first: Reads the first value; raises OSError or ValueError where it cannot.
            second: Reads the second.
            pool: Threads to read with.
        """
        reasons = _in_chunks(pool, lambda row: _problem(self.first[row], first), len(self), "Checking the first values")
        others = _in_chunks(
            pool, lambda row: _problem(self.second[row], second), len(self), "Checking the second values"
        )
        wrong = [one or two for one, two in zip(reasons, others, strict=True)]
        kept = [row for row, reason in enumerate(wrong) if reason is None]
        return self.take(kept), {self.ids[row]: reason for row, reason in enumerate(wrong) if reason is not None}

    def labels(self) -> NDArray[np.int64]:
        """Returns which values are equal, by a number on each side ``(len, 2)``: files by bytes, texts as written."""
        sides = [np.unique([_content(value) for value in values], return_inverse=True)[1] for values in self._sides()]
        return np.stack([side.reshape(-1).astype(np.int64) for side in sides], axis=1)

    def _sides(self) -> tuple[list[Any], list[Any]]:
        return self.first, self.second


@dataclass(frozen=True, eq=False)
class PairSplit:
    """Rows that are learned from, that choose the epoch, and that only measure the result.

    Args:
        train: Rows to learn from.
        valid: Rows that choose the epoch.
        held_out: Rows that are scored before and after, and never else.
    """

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    held_out: NDArray[np.int64]


def split_pairs(labels: NDArray[np.int64], *, valid: float, held_out: float, seed: int) -> PairSplit:
    """Splits items at random so that no picture and no text lies in two parts.

    Items that share a value stay together; a group too large for a part goes to training.

    Args:
        labels: Which values are equal ``(num_items, 2)``.
        valid: The share of the items that chooses the epoch.
        held_out: The share of the items that measures.
        seed: Of the draw.

    Raises:
        ValueError: If a part would have fewer than two items.
    """
    count = len(labels)
    group = _groups(labels)
    sizes = np.bincount(group, minlength=1)
    order = np.random.default_rng(derive_seed(seed, 0)).permutation(len(sizes))
    part = np.zeros(len(sizes), np.int64)
    for number, share in ((2, held_out), (1, valid)):
        part[_fill(order[part[order] == 0], sizes, round(share * count))] = number
    train, chosen, measured = (np.flatnonzero(part[group] == number) for number in range(3))
    if min(len(train), len(chosen), len(measured)) < 2:
        raise ValueError(
            f"expected at least 2 items to train on, to choose with and to hold out, got {len(train)}, {len(chosen)} "
            f"and {len(measured)} of {count} items in {len(sizes)} groups without a picture or text in common; "
            "give more items, or larger valid and held_out"
        )
    return PairSplit(train, chosen, measured)


def contrast_batches(labels: NDArray[np.int64], size: int, generator: np.random.Generator) -> list[NDArray[np.int64]]:
    """Returns random batches of rows in which no value comes twice, so that no right answer is taken for a wrong one.

    A row whose picture or text stands in a batch already waits for a later one; what finds no place within
    ``len(labels) // size`` batches is left out of this epoch. A batch of one row teaches nothing and is dropped.

    Args:
        labels: Which values are equal ``(num_rows, 2)``.
        size: The largest batch.
        generator: Draws the order.
    """
    batches: list[list[int]] = [[] for _ in range(len(labels) // size)]
    following: list[dict[int, int]] = [{}, {}]  # by side and value, the first batch after the last that has it
    first_open = 0
    for row in generator.permutation(len(labels)).tolist():
        keys = labels[row].tolist()
        at = max(first_open, *(side.get(key, 0) for side, key in zip(following, keys, strict=True)))
        while at < len(batches) and len(batches[at]) == size:
            at += 1
        if at == len(batches):
            continue
        batches[at].append(row)
        for side, key in zip(following, keys, strict=True):
            side[key] = at + 1
        while first_open < len(batches) and len(batches[first_open]) == size:
            first_open += 1
    kept = [np.array(batch, np.int64) for batch in batches if len(batch) > 1]
    return [kept[at] for at in generator.permutation(len(kept))]


def _columns(pairs: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    wrong = [at for at, pair in enumerate(pairs) if not isinstance(pair, tuple | list) or len(pair) != 2]
    if wrong:
        raise ValueError(f"expected pairs of two values, got {pairs[wrong[0]]!r} at position {wrong[0]}")
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _in_chunks(pool: Executor, task: Callable[[int], str | None], count: int, what: str) -> list[str | None]:
    """Returns what a task says of every row; in chunks, so that what threads have read does not pile up."""

    def results() -> Iterator[str | None]:
        for start in range(0, count, CHUNK):
            yield from pool.map(task, range(start, min(start + CHUNK, count)))

    return list(track(results(), what, total=count))


def _problem(value: Any, read: Read) -> str | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return "it is empty"
    try:
        read(value)
    except (OSError, ValueError) as error:
        return f"{value}: {error}" if isinstance(value, Path) else str(error)
    return None


def _content(value: Any) -> str:
    if isinstance(value, Path):
        return hashlib.sha256(value.read_bytes()).hexdigest()
    return str(value).strip()


def _groups(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the connected group of every row, rows being connected where they share a value."""
    count, (first, second) = len(labels), labels.max(axis=0, initial=-1) + 1
    rows, columns = np.tile(np.arange(count), 2), np.concatenate([labels[:, 0], first + labels[:, 1]])
    shape = (count, first + second)
    incidence = sp.csr_array((np.ones(2 * count, np.int8), (rows, columns)), shape=shape)
    nodes = sp.block_array([[None, incidence], [incidence.T, None]])
    _, group = sp.csgraph.connected_components(nodes, directed=False)
    return np.unique(group[:count], return_inverse=True)[1].astype(np.int64)


def _fill(order: NDArray[np.int64], sizes: NDArray[np.int64], target: int) -> list[int]:
    """Returns groups in this order, passing over those that would make more than ``target`` items."""
    taken, total = [], 0
    for group in order.tolist():
        if total + sizes[group] <= target:
            taken.append(group)
            total += int(sizes[group])
    return taken
