"""The engine: drives a tower over values, in batches, once per content, and keeps what it finds in the store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphrec.features.encoder import Encoded, Kind, Tower, UnreadableError
from graphrec.features.filling import Filling
from graphrec.features.store.contents import Contents, identify
from graphrec.features.store.shards import DType
from graphrec.features.store.store import Store
from graphrec.runtime import progress

MOST_WORKERS = 16
SHOWN = 60  # characters of a text in a message
NAMED = 24  # characters of a tower's name beside a bar: the rate and the time left must fit on a line, too


def encode(
    tower: Tower,
    values: Sequence[Any],
    *,
    store: Store,
    batch_size: int | None = None,
    workers: int | None = None,
    dtype: DType = "float32",
    description: str | None = None,
) -> Encoded:
    """Returns the vectors of values, encoding what the store does not hold yet, and every content once.

    What was encoded is kept shard by shard: after a kill, at any moment, the next call goes on from there and ends with
    the same bytes on disk. Processes that encode the same values at once share the work. A value that cannot be read,
    or that the tower cannot encode, fails alone.

    Args:
        tower: What encodes.
        values: Texts for a tower of texts; else paths of files; for one of images PIL images too.
        store: What keeps the vectors.
        batch_size: Values per batch; the tower's own choice by default.
        workers: Threads that read values; by default as many as there are cores, up to 16.
        dtype: How vectors are kept: ``float16`` takes half of the space and is exact to about 1e-3 of a value.
        description: What is under way, for the progress.

    Raises:
        TypeError: If a value is neither a text nor a path nor a picture, as the tower needs it.
        ValueError: If the batch size or the number of workers is below 1.
        OSError: If the store cannot be written to and something has to be.
    """
    size = tower.batch_size if batch_size is None else batch_size
    threads = default_workers() if workers is None else workers
    if size < 1 or threads < 1:
        raise ValueError(f"expected batch_size and workers of at least 1, got {size} and {threads}")
    shelf = store.shelf(tower, dtype)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="graphrec-read")
    try:
        with progress(f"Looking through {tower.kind} files", len(values)) as advance:
            contents = identify(tower.kind, values, store.index, pool, advance)
        filling = Filling(tower, shelf, contents, values, batch_size=size, pool=pool)
        filling.run(description or f"Encoding {tower.kind} with {_short(tower.name)}")
        return _gather(filling, contents)
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class StoredEncoder:
    """A tower with its store, as the encoder of a column.

    Args:
        tower: What encodes.
        store: What keeps the vectors.
        batch_size: Values per batch; the tower's own choice by default.
        workers: Threads that read values; by default as many as there are cores, up to 16.
        dtype: How vectors are kept.
    """

    tower: Tower
    store: Store
    batch_size: int | None = None
    workers: int | None = None
    dtype: DType = "float32"

    @property
    def name(self) -> str:
        """The tower's name, and how vectors are kept where that changes them."""
        return self.tower.name if self.dtype == "float32" else f"{self.tower.name} ({self.dtype})"

    @property
    def kind(self) -> Kind:
        """What the tower reads."""
        return self.tower.kind

    @property
    def space(self) -> str:
        """Names the vector space."""
        return self.tower.space

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self.tower.dim

    def encode(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Returns one vector per value ``(len(values), dim)``.

        Raises:
            UnreadableError: If values cannot be read or encoded; it names them all. The vectors of the others are kept,
                so encoding those again costs nothing.
        """
        found = self.encode_readable(values)
        if found.failed:
            raise UnreadableError(found.failed)
        return found.vectors

    def encode_readable(self, values: Sequence[Any]) -> Encoded:
        """Returns the vectors of the values that can be encoded, and why others cannot, with their names."""
        found = encode(
            self.tower,
            values,
            store=self.store,
            batch_size=self.batch_size,
            workers=self.workers,
            dtype=self.dtype,
        )
        return replace(found, failed={at: f"{_label(values[at])} ({reason})" for at, reason in found.failed.items()})


def default_workers() -> int:
    """Returns how many threads read values where nothing is said."""
    return min(os.cpu_count() or 1, MOST_WORKERS)


def _label(value: Any) -> str:
    if not isinstance(value, str | Path):
        return f"a picture of size {value.size}"
    text = str(value)
    return repr(text if len(text) <= SHOWN or isinstance(value, Path) else text[:SHOWN] + "…")


def _short(name: str) -> str:
    return name if len(name) <= NAMED else f"…{name[1 - NAMED :]}"


def _gather(filling: Filling, contents: Contents) -> Encoded:
    """Returns the vectors of all values from what the store holds by now."""
    known = filling.rows
    rows = np.array([-1 if key is None else known[key] for key in contents.keys], np.int64)
    failed = dict(contents.reasons)
    for at in np.flatnonzero(rows < 0).tolist():
        if (key := contents.keys[at]) is not None:
            failed[at] = filling.reason(key)
    return Encoded(filling.view.take(rows), dict(sorted(failed.items())), _recipe(filling, contents))


def _recipe(filling: Filling, contents: Contents) -> str:
    """Returns a hash of the encoder and of the contents, in order."""
    digest = hashlib.sha256(filling.shelf.manifest.folder.encode())
    for key in contents.keys:
        digest.update(key or bytes(32))
    return digest.hexdigest()
