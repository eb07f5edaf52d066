"""A shelf: the folder of the store that keeps the vectors of one encoder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from graphrec.config import Config
from graphrec.features.encoder import Kind, Tower
from graphrec.features.store.locks import SUFFIX, leftovers, lock_of, remove, unlock
from graphrec.features.store.shards import DType, Failure, Keys, Shard, ShardError, write_atomically
from graphrec.runtime import logger

log = logger(__name__)
MANIFEST = "manifest.json"
SLUG = 48  # characters of an encoder's name in the name of its folder


class Manifest(Config):
    """Which encoder a shelf belongs to; equal encoders write equal bytes.

    Args:
        name: What the encoder was asked for as, with all settings.
        space: The vector space, equal for encoders whose vectors are comparable.
        dim: The length of a vector.
        kind: What it reads.
        dtype: How numbers are kept.
        fingerprint: The hash of its weights and preprocessing.
        version: Of the format of the shelf.
    """

    name: str
    space: str
    dim: int
    kind: Kind
    dtype: DType
    fingerprint: str
    version: Literal[1] = 1

    @classmethod
    def of(cls, tower: Tower, dtype: DType) -> Self:
        """Returns the manifest of a tower whose vectors are kept as ``dtype``."""
        return cls(
            name=tower.name,
            space=tower.space,
            dim=tower.dim,
            kind=tower.kind,
            dtype=dtype,
            fingerprint=tower.fingerprint(),
        )

    @property
    def folder(self) -> str:
        """The name of the shelf's folder: readable, and another for every encoder."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")[:SLUG] or "encoder"
        identity = "\0".join((self.name, self.fingerprint, self.dtype)).encode("utf-8", "surrogatepass")
        return f"{slug}-{hashlib.sha256(identity).hexdigest()[:16]}"


@dataclass(frozen=True)
class View:
    """What a shelf held at one moment.

    Args:
        manifest: Of the shelf.
        shards: The whole ones, by name.
    """

    manifest: Manifest
    shards: tuple[Shard, ...]

    @cached_property
    def keys(self) -> Keys:
        """The contents that have vectors, shard by shard ``(num_rows, 32)``."""
        return np.concatenate([np.zeros((0, 32), np.uint8), *[shard.keys for shard in self.shards]])

    @cached_property
    def failures(self) -> dict[bytes, list[Failure]]:
        """The contents that could not be encoded, with every reason on record."""
        found: dict[bytes, list[Failure]] = {}
        for shard in self.shards:
            for key, failure in shard.failures.items():
                found.setdefault(key, []).append(failure)
        return found

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Returns the row of every content ``(n,)``, -1 where it has no vector.

        Args:
            keys: Contents ``(n, 32)``.
        """
        found = np.full(len(keys), -1, np.int64)
        prefix, order = self._prefixes
        wanted = _prefix(keys)
        at, open_ = np.searchsorted(prefix, wanted), np.arange(len(keys))
        while len(open_):  # once, unless two contents share their first 8 bytes
            near = at[open_]
            within = near < len(prefix)
            open_, near = open_[within], near[within]
            open_, near = (part[prefix[near] == wanted[open_]] for part in (open_, near))
            rows = order[near]
            same = (self.keys[rows] == keys[open_]).all(axis=1)
            found[open_[same]] = rows[same]
            open_ = open_[~same]
            at[open_] += 1
        return found

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the vectors of rows ``(n, dim)``, zero where a row is -1; reads only what is asked for."""
        vectors = np.zeros((len(rows), self.manifest.dim), np.float32)
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        bounds = np.searchsorted(ascending, self._starts)
        for shard, start, low, high in zip(self.shards, self._starts, bounds, bounds[1:], strict=False):
            if low < high:
                vectors[order[low:high]] = shard.vectors[ascending[low:high] - start]
        return vectors

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.cumsum([0, *[len(shard.keys) for shard in self.shards]], dtype=np.int64)

    @cached_property
    def _prefixes(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        prefix = _prefix(self.keys)
        order = np.argsort(prefix, kind="stable")
        return prefix[order], order


@dataclass(frozen=True)
class Shelf:
    """The folder of one encoder.

    Args:
        folder: Where it lies; it need not exist yet.
        manifest: Whose it is.
    """

    folder: Path
    manifest: Manifest

    def create(self) -> None:
        """Makes the folder and its manifest, unless they are there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / MANIFEST
        if path.is_file():
            return
        with lock_of(path) as lock:
            if not path.is_file():
                write_atomically(path, (self.manifest.model_dump_json(indent=2) + "\n").encode())
            unlock(lock)

    def touch(self) -> None:
        """Notes that the shelf was used, in the time of its manifest; not where it can be read only."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / MANIFEST)

    def sweep(self) -> None:
        """Removes what killed processes left behind."""
        for path in leftovers(self.folder):
            remove(path)

    def view(self) -> View:
        """Returns what is there now; damaged shards are left out with a warning."""
        return View(self.manifest, tuple(filter(None, map(self.readable, sorted(self.folder.glob(f"*{SUFFIX}"))))))

    def readable(self, path: Path) -> Shard | None:
        """Returns the shard at a path, or None where there is none or it cannot be used, then with a warning."""
        try:
            shard = Shard.open(path)
        except FileNotFoundError:  # another process cleaned up
            return None
        except ShardError as error:
            log.warning("%s; its contents are encoded again", error)
            return None
        if reason := self.mismatch(shard):
            log.warning("%s; its contents are encoded again", ShardError(path, reason))
            return None
        return shard

    def mismatch(self, shard: Shard) -> str | None:
        """Returns why a shard cannot be of this shelf, or None."""
        dtype, (_, dim), _ = shard.layout
        if (dtype, dim) == (np.dtype(self.manifest.dtype), self.manifest.dim):
            return None
        return f"it holds {dtype} of length {dim} instead of {self.manifest.dtype} of length {self.manifest.dim}"

    def path_of(self, name: str) -> Path:
        """Returns where the shard of that name lies, or would."""
        return self.folder / f"{name}{SUFFIX}"


def _prefix(keys: Keys) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys)[:, :8].copy().view(">u8").ravel().astype(np.uint64)
