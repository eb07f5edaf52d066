"""Filling a shelf: encodes the contents that it lacks, shard by shard, beside other processes that do the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from importlib import metadata
from typing import Any

import numpy as np
from filelock import BaseFileLock, Timeout
from numpy.typing import NDArray

from graphrec.features.batches import Forward, Unread, read_ahead, read_value
from graphrec.features.encoder import Kind, Tower
from graphrec.features.store.contents import Contents
from graphrec.features.store.locks import lock_of, unlock
from graphrec.features.store.shards import Failure, key_array, shard_name, write_shard
from graphrec.features.store.shelf import Shelf, View
from graphrec.runtime import progress

SHARD_SIZES: dict[Kind, int] = {"text": 1024, "image": 512, "audio": 256, "video": 64}  # what a kill costs at most
DECODERS: dict[Kind, tuple[str, ...]] = {
    "text": ("tokenizers",),
    "image": ("pillow",),
    "audio": ("soundfile", "soxr"),
    "video": ("av", "pillow"),
}


@dataclass
class Chunk:
    """The contents of a shard to be, and what has been found of them.

    Args:
        keys: The contents, ascending, so that equal sets make equal shards.
    """

    keys: list[bytes]
    vectors: dict[bytes, NDArray[np.float32]] = field(default_factory=dict)
    failures: dict[bytes, Failure] = field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """The name of the shard."""
        return shard_name(self.keys)

    @property
    def done(self) -> bool:
        """Whether every content has been tried."""
        return len(self.vectors) + len(self.failures) == len(self.keys)

    @property
    def worth_keeping(self) -> bool:
        """Whether anything was found that holds tomorrow; a disk that was away for a while leaves no trace."""
        return bool(self.vectors) or any(failure.decoder for failure in self.failures.values())


@cache
def decoder_version(kind: Kind) -> str:
    """Returns what reads values of a kind, with versions: after an update, what could not be read is tried again."""
    return " ".join(f"{name}-{_version(name)}" for name in ("graphrec", *DECODERS[kind]))


class Filling:
    """The work of one call of ``encode``.

    Args:
        tower: What encodes.
        shelf: Where vectors are kept.
        contents: The keys of the values.
        values: The values.
        batch_size: Values per batch.
        pool: Reads values.
    """

    def __init__(
        self, tower: Tower, shelf: Shelf, contents: Contents, values: Sequence[Any], *, batch_size: int, pool: Executor
    ) -> None:
        self.tower, self.shelf, self.batch_size, self.pool = tower, shelf, batch_size, pool
        self.decoder = decoder_version(tower.kind)
        self.forward = Forward(tower, shelf.manifest.dtype)
        self.read_value = partial(read_value, tower, unchanged=contents.unchanged)
        self.values: dict[bytes, Any] = {}  # one to read for every content, in order of first appearance
        for key, value in zip(contents.keys, values, strict=True):
            if key is not None:
                self.values.setdefault(key, value)
        self.failures: dict[bytes, Failure] = {}
        self.locks: dict[str, BaseFileLock] = {}
        self._look()

    def _look(self) -> None:
        self.view: View = self.shelf.view()
        found = self.view.find(key_array(self.values))
        self.rows: dict[bytes, int] = dict(zip(self.values, found.tolist(), strict=True))

    def run(self, description: str) -> None:
        """Encodes what the shelf lacks; ``view`` and ``rows`` then tell what it holds."""
        chunks = self.plan()
        if chunks:
            self.shelf.create()
            with progress(description, sum(len(chunk.keys) for chunk in chunks)) as advance:
                self._fill(chunks, advance)
            self.shelf.sweep()
            self._look()
        self.shelf.touch()

    def plan(self) -> list[Chunk]:
        """Returns what is to be done, in shards whose composition does not depend on how far an earlier run came.

        Contents that failed before for a passing reason come after all others, for the same end.
        """
        missing = [key for key, row in self.rows.items() if row < 0]
        untried = [key for key in missing if key not in self.view.failures]
        again = [key for key in missing if key in self.view.failures and not self._settled(key)]
        size = SHARD_SIZES[self.tower.kind]
        return [
            Chunk(sorted(keys[start : start + size]))
            for keys in (untried, again)
            for start in range(0, len(keys), size)
        ]

    def reason(self, key: bytes) -> str:
        """Returns why a content has no vector, by this run or else by those before or beside it."""
        if key in self.failures:
            return self.failures[key].reason
        past = sorted(self.view.failures.get(key, []), key=lambda failure: failure.decoder != self.decoder)
        return past[0].reason if past else "its shard was removed while it was read; encode it again"

    def _settled(self, key: bytes) -> bool:
        return any(failure.decoder == self.decoder for failure in self.view.failures[key])

    def _fill(self, chunks: Sequence[Chunk], advance: Callable[[int], None]) -> None:
        busy: list[Chunk] = []
        self._encode(chunks, advance, busy)
        for chunk in busy:  # one by one: whoever holds a chunk must not wait for another
            self._encode([chunk], advance, None)

    def _encode(self, chunks: Sequence[Chunk], advance: Callable[[int], None], busy: list[Chunk] | None) -> None:
        """Encodes chunks, reading on across their borders.

        Args:
            chunks: What to do.
            advance: Is told how many contents are done.
            busy: Takes the chunks that another process has at hand; None: wait for it.
        """
        with ExitStack() as locks:
            opened = self._opened(chunks, advance, busy, locks)
            batches = ((chunk, keys) for chunk in opened for keys in self._batches(chunk))
            for chunk, keys, inputs in read_ahead(batches, self._read, self.pool):
                self._take(chunk, keys, inputs)
                if chunk.done:
                    self._finish(chunk)
                advance(len(keys))

    def _opened(
        self, chunks: Sequence[Chunk], advance: Callable[[int], None], busy: list[Chunk] | None, locks: ExitStack
    ) -> Iterator[Chunk]:
        """Yields the chunks that are to be done here, each under its lock."""
        for chunk in chunks:
            lock = lock_of(self.shelf.path_of(chunk.name))
            try:
                lock.acquire(timeout=-1 if busy is None else 0)
            except Timeout:
                if busy is not None:
                    busy.append(chunk)
                continue
            if self._is_done_elsewhere(chunk):
                unlock(lock)
                advance(len(chunk.keys))
                continue
            locks.callback(lock.release)
            self.locks[chunk.name] = lock
            yield chunk

    def _is_done_elsewhere(self, chunk: Chunk) -> bool:
        """Tells whether another process wrote the shard since the view was taken; an older one holds failures only."""
        path = self.shelf.path_of(chunk.name)
        shard = self.shelf.readable(path) if path.exists() else None
        known = next((old.metadata for old in self.view.shards if old.path == path), None)
        return shard is not None and shard.metadata != known

    def _batches(self, chunk: Chunk) -> Iterator[list[bytes]]:
        """Yields the batches of a chunk, values of like size together."""
        order = sorted(chunk.keys, key=lambda key: self.tower.size(self.values[key]))
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def _read(self, key: bytes) -> Any:
        return self.read_value(self.values[key])

    def _take(self, chunk: Chunk, keys: Sequence[bytes], inputs: Sequence[Any]) -> None:
        """Runs the model on what could be read, and sorts the results into the chunk."""
        readable = [value for value in inputs if not isinstance(value, Unread)]
        results = iter(self.forward(readable) if readable else ())
        for key, value in zip(keys, inputs, strict=True):
            result = value if isinstance(value, Unread) else next(results)
            if isinstance(result, Unread):
                chunk.failures[key] = Failure(result.reason, self.decoder if result.lasting else None)
            else:
                chunk.vectors[key] = result

    def _finish(self, chunk: Chunk) -> None:
        """Writes a chunk and gives its lock back."""
        if chunk.worth_keeping:
            manifest = self.shelf.manifest
            write_shard(self.shelf.folder, chunk.vectors, chunk.failures, dim=manifest.dim, dtype=manifest.dtype)
        self.failures.update(chunk.failures)
        chunk.vectors.clear()
        unlock(self.locks.pop(chunk.name))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
