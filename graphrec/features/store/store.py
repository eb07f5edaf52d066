"""The store of vectors: kept by content and encoder, shared by all projects of a user, and safe to delete."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from graphrec.features.encoder import Tower
from graphrec.features.store.file_index import FileIndex
from graphrec.features.store.locks import SUFFIX, is_held, leftovers, remove
from graphrec.features.store.shards import DType, Shard, ShardError
from graphrec.features.store.shelf import MANIFEST, Manifest, Shelf
from graphrec.runtime import cache_root

DAY_S = 86_400.0
SHELF = re.compile(r".+-[0-9a-f]{16}")
OWN = re.compile(r"([0-9a-f]{32}\.safetensors|manifest\.json)(\.tmp)?|([0-9a-f]{32}|manifest\.json)\.lock")


@dataclass(frozen=True)
class Entry:
    """What the store holds of one encoder.

    Args:
        manifest: Which encoder.
        folder: Where.
        values: How many contents have a vector.
        failures: How many contents could not be encoded.
        shards: How many files there are.
        size: Their bytes.
        used: When it was last used, in seconds of Unix time.
    """

    manifest: Manifest
    folder: Path
    values: int
    failures: int
    shards: int
    size: int
    used: float


@dataclass(frozen=True)
class Problem:
    """Something in the store that is not as it was written.

    Args:
        path: The file or folder.
        reason: What is wrong with it.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class Cleaning:
    """What ``gc`` removed.

    Args:
        paths: Files and folders.
        size: Their bytes.
        forgotten: How many files that are gone the index forgot.
    """

    paths: tuple[Path, ...]
    size: int
    forgotten: int


class Store:
    """A folder of vectors: one shelf per encoder, and an index of the files that were read.

    A vector is kept under the encoder (its name, weights and preprocessing, and how numbers are kept) and the SHA-256
    of what was encoded; where a file lies, what it is called and who asks does not matter. Nothing in it is precious:
    whatever is missing or damaged is encoded again.

    Args:
        root: The folder; ``features`` in the cache folder by default. It need not exist.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = Path(root) if root is not None else cache_root() / "features"
        self.index = FileIndex(self.root / "index.sqlite")

    def shelf(self, tower: Tower, dtype: DType = "float32") -> Shelf:
        """Returns the shelf of a tower, which is made when something is put there."""
        manifest = Manifest.of(tower, dtype)
        return Shelf(self.root / manifest.folder, manifest)

    def entries(self) -> list[Entry]:
        """Returns what the store holds, by the name of the encoder; folders without a manifest are left out."""
        return sorted((_entry(shelf) for shelf in self._shelves()), key=lambda entry: entry.manifest.name)

    def verify(self) -> list[Problem]:
        """Reads every byte of the store, and returns what is damaged; ``gc`` removes it."""
        problems = []
        for folder in self._folders():
            shelf = _shelf(folder)
            if isinstance(shelf, Problem):
                problems.append(shelf)
            else:
                checked = (_problem(shelf, path) for path in _shard_paths(folder))
                problems += [problem for problem in checked if problem]
        return problems

    def gc(self, *, encoders: Sequence[str] = (), unused_days: float | None = None, dry_run: bool = False) -> Cleaning:
        """Removes what is of no use: leftovers of killed runs, damaged shards, shards whose contents others hold.

        Other processes may go on meanwhile: what they are writing stays, and so does an encoder that is at work.

        Args:
            encoders: Removes all vectors of the encoders of these names, too.
            unused_days: Removes all vectors of the encoders that were not used for as many days, too.
            dry_run: Removes nothing, and returns what would be removed.

        Raises:
            KeyError: If the store has no encoder of a name.
        """
        entries = self.entries()
        _require_names(encoders, entries)
        oldest = time.time() - unused_days * DAY_S if unused_days is not None else float("-inf")
        unwanted = {entry.folder for entry in entries if entry.manifest.name in encoders or entry.used < oldest}
        paths = [
            path
            for folder in self._folders()
            for path in (_everything(folder) if folder in unwanted else _useless(folder))
        ]
        cleaning = Cleaning(tuple(paths), sum(path.stat().st_size for path in paths), 0)
        if dry_run:
            return cleaning
        for path in paths:
            remove(path)
        for folder in {path.parent for path in paths}:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
        return replace(cleaning, forgotten=self.index.prune())

    def _folders(self) -> list[Path]:
        """Returns the folders that are named like shelves and hold files of shelves, damaged ones too."""
        if not self.root.is_dir():
            return []
        folders = sorted(path for path in self.root.iterdir() if SHELF.fullmatch(path.name) and path.is_dir())
        return [folder for folder in folders if _own(folder)]

    def _shelves(self) -> Iterator[Shelf]:
        for folder in self._folders():
            shelf = _shelf(folder)
            if isinstance(shelf, Shelf):
                yield shelf


def _own(folder: Path) -> list[Path]:
    """Returns the files that a store has written into a folder; whatever else lies there is none of its business."""
    return sorted(path for path in folder.iterdir() if OWN.fullmatch(path.name))


def _shard_paths(folder: Path) -> list[Path]:
    return [path for path in _own(folder) if path.suffix == SUFFIX]


def _shelf(folder: Path) -> Shelf | Problem:
    path = folder / MANIFEST
    try:
        manifest = Manifest.parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Problem(folder, f"it has no {MANIFEST}")
    except (ValueError, TypeError) as error:
        return Problem(path, str(error))
    if manifest.folder != folder.name:
        return Problem(path, f"it is of the folder {manifest.folder!r}")
    return Shelf(folder, manifest)


def _entry(shelf: Shelf) -> Entry:
    view = shelf.view()
    paths = [shard.path for shard in view.shards]
    values = {bytes(key) for key in view.keys}
    return Entry(
        manifest=shelf.manifest,
        folder=shelf.folder,
        values=len(values),
        failures=len(view.failures.keys() - values),
        shards=len(paths),
        size=sum(path.stat().st_size for path in paths),
        used=(shelf.folder / MANIFEST).stat().st_mtime,
    )


def _problem(shelf: Shelf, path: Path) -> Problem | None:
    try:
        shard = Shard.open(path)
    except FileNotFoundError:
        return None
    except ShardError as error:
        return Problem(path, error.reason)
    reason = shelf.mismatch(shard) or shard.problem()
    return Problem(path, reason) if reason else None


def _everything(folder: Path) -> list[Path]:
    """Returns all files of a shelf, or none while something is being written to it."""
    paths = _own(folder)
    return [] if any(is_held(path) for path in paths) else paths


def _useless(folder: Path) -> list[Path]:
    """Returns what a folder holds that nobody needs: leftovers, and shards that are damaged or say nothing new."""
    shelf = _shelf(folder)
    if isinstance(shelf, Problem):  # whose its shards are cannot be told any more
        return _everything(folder)
    damaged = [path for path in _shard_paths(folder) if _problem(shelf, path)]
    return leftovers(folder) + damaged + _covered([shard for shard in shelf.view().shards if shard.path not in damaged])


def _covered(shards: Sequence[Shard]) -> list[Path]:
    """Returns the shards all of whose contents are in shards that stay; the smallest go first."""
    holders: dict[bytes, int] = {}
    contents = {shard.path: [*map(bytes, shard.keys), *shard.failures] for shard in shards}
    for keys in contents.values():
        for key in keys:
            holders[key] = holders.get(key, 0) + 1
    covered = []
    for path, keys in sorted(contents.items(), key=lambda entry: len(entry[1])):
        if all(holders[key] > 1 for key in keys):
            covered.append(path)
            for key in keys:
                holders[key] -= 1
    return covered


def _require_names(names: Sequence[str], entries: Sequence[Entry]) -> None:
    present = {entry.manifest.name for entry in entries}
    if unknown := [name for name in names if name not in present]:
        raise KeyError(f"expected encoders of the store, got {unknown}; it has {sorted(present)}")
