"""The raw files of a data set in one folder: downloaded, or taken from where they lie, checked and unpacked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from graphrec.data.archive import require_whole, unpack, unpacked
from graphrec.data.cards import UNVERIFIED, DatasetCard, Download
from graphrec.data.download import check_hash, download
from graphrec.data.files import write_json
from graphrec.runtime import logger

log = logger(__name__)
PINS = "pins.json"
ARCHIVE_SUFFIXES = (".zip", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tar", ".gz")
MEDIA_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".gif", ".wav", ".flac", ".mp3", ".ogg", ".mp4", ".webm"))
PASSING = (".part", ".part.json")


@dataclass(frozen=True)
class SourceFile:
    """A raw file that was used, or many pictures and sounds together.

    Args:
        file: Its name in the folder of raw files.
        size: Its bytes.
        sha256: Of the file; for pictures and sounds together, of their sorted ``size  name`` lines.
        url: Where it was downloaded from; empty for what was there.
    """

    file: str
    size: int
    sha256: str
    url: str = ""


@dataclass(frozen=True)
class RawFiles:
    """Where a parser finds the raw files, and what they are.

    Args:
        folder: The folder for the parser.
        known: What has been checked already.
        top: A folder whose files are listed too, once somebody asks: that may take a while.
    """

    folder: Path
    known: tuple[SourceFile, ...] = ()
    top: Path | None = None

    @cached_property
    def files(self) -> tuple[SourceFile, ...]:
        """All files: those of the card's names or else every one by itself, pictures and sounds together."""
        return self.known if self.top is None else (*self.known, *_listed(self.top, media_only=bool(self.known)))


def fetch(card: DatasetCard, raw: Path, *, source: Path | None = None, optional: bool = False) -> RawFiles:
    """Brings together the raw files of a data set.

    Files of the card's names are taken from ``source``, else from ``raw``, else downloaded to ``raw``, checked and
    unpacked there. A folder with none of them that holds something else is taken for the unpacked files, which are
    used where they are.

    Args:
        card: The card; of one variant if it has some.
        raw: The folder of raw files, ``ROOT/NAME/raw``.
        source: A folder that has them already.
        optional: Whether optional files are downloaded too; those that are there are used in any case.

    Raises:
        FileNotFoundError: If there is no such source, or files are missing that a person must fetch.
        OSError: If a download fails; calling again goes on with it.
        ValueError: If a file has another SHA-256 than its card or its first download, or an archive is not safe.
    """
    if source is not None and not source.is_dir():
        raise FileNotFoundError(f"expected the folder of the raw files of {card.name!r}, got {str(source)!r}")
    for folder in filter(None, (source, raw)):
        if _holds_unpacked(card, folder):
            log.info("using the files in %s as they are", folder)
            return RawFiles(_descend(folder, ()), top=folder)
        if _holds_downloads(card, folder):
            break
    if not card.downloads:
        raise FileNotFoundError(
            f"expected the files of {card.name!r} in a folder; name it with --from (nothing is in {raw})"
        )
    return _collect(card, raw, source, optional)


def instructions(card: DatasetCard) -> str:
    """Returns what a person must do to have the raw files; empty where they can be downloaded."""
    return " ".join(
        dict.fromkeys(entry.login.strip() for entry in card.downloads if entry.login and not entry.optional)
    )


def is_empty(raw: Path) -> bool:
    """Returns whether a folder of raw files holds none."""
    return not raw.is_dir() or not _contents(raw, ())


def _collect(card: DatasetCard, raw: Path, source: Path | None, optional: bool) -> RawFiles:
    raw.mkdir(parents=True, exist_ok=True)
    gathering = _Gathering(card, raw, source, optional)
    pins, files = _read_pins(raw), []
    for entry in card.downloads:
        found = gathering.take(entry, pins.get(entry.file))
        if found is not None:
            files.append(found)
            pins[entry.file] = found.sha256
            write_json(raw / PINS, pins)
    folder = gathering.folder()
    return RawFiles(folder, tuple(files), top=folder)


@dataclass(frozen=True)
class _Gathering:
    """Brings the files of a card together, in the folder of raw files or where they all are."""

    card: DatasetCard
    raw: Path
    source: Path | None
    optional: bool

    @cached_property
    def whole(self) -> Path | None:
        """The source, if it has every file that is wanted, none of them packed: it is used where it is."""
        if self.source is None:
            return None
        source = self.source
        lacking = [entry for entry in self.card.downloads if not (source / entry.file).is_file()]
        packed = any(entry.extract for entry in self.card.downloads if entry not in lacking)
        return None if packed or any(self._is_wanted(entry) for entry in lacking) else source

    def folder(self) -> Path:
        """Returns the folder that the files lie in, unpacked."""
        archives = [self.raw / entry.file for entry in self.card.downloads if entry.extract]
        return self.whole or _descend(self.raw, archives)

    def take(self, entry: Download, pin: str | None) -> SourceFile | None:
        """Checks, and where it must be downloads and unpacks, one file; None for an optional one that is left out."""
        expected = pin if entry.sha256 == UNVERIFIED else entry.sha256
        kept = self._kept(entry, pin) if pin == expected else None
        if kept is not None:
            return kept
        path = (self.whole or self.raw) / entry.file
        found = self._put(entry, path, expected)
        if found is None:
            return None
        if entry.extract:
            unpack(path, self.raw / _stem(entry.file))
        elif expected is None:
            require_whole(path)  # before it is pinned: a cut file must not be what every later one is compared with
        return SourceFile(entry.file, path.stat().st_size, found, entry.url)

    def _is_wanted(self, entry: Download) -> bool:
        return not entry.optional or (self.optional and bool(entry.url))

    def _given(self, entry: Download) -> Path | None:
        path = None if self.source is None else self.source / entry.file
        return path if path is not None and path.is_file() else None

    def _kept(self, entry: Download, pin: str | None) -> SourceFile | None:
        """Returns what is known of an archive that was removed after its files had been unpacked."""
        if pin is None or not entry.extract or (self.raw / entry.file).exists() or self._given(entry) is not None:
            return None
        state = unpacked(self.raw / _stem(entry.file))
        return None if state is None else SourceFile(entry.file, int(state["size"]), pin, entry.url)

    def _put(self, entry: Download, path: Path, expected: str | None) -> str | None:
        """Brings a file to its path and returns its SHA-256."""
        given = self._given(entry)
        if given is not None:
            found = check_hash(given, expected)
            _link(given, path)
            return found
        if path.is_file():
            return check_hash(path, expected)
        if not self._is_wanted(entry):
            return None
        if entry.login:
            raise FileNotFoundError(
                f"expected {entry.file!r} of {self.card.name!r} in {str(self.source or self.raw)!r}, which cannot be "
                f"downloaded openly: {entry.login.strip()} Then put it there, or name its folder with --from"
            )
        download(entry.url, path, sha256=expected)
        return check_hash(path, None) if expected is None else expected


def _link(source: Path, path: Path) -> None:
    """Makes a path in the raw folder stand for a file elsewhere: a link where the disk allows it, else a copy."""
    if path.exists() and path.samefile(source):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(source, path)
    except OSError:
        partial = path.with_name(f".{path.name}.partial")
        shutil.copyfile(source, partial)
        partial.replace(path)  # whole or not at all: a later run would take it as it is


def _holds_downloads(card: DatasetCard, folder: Path) -> bool:
    pins = _read_pins(folder)
    return any(entry.file in pins or (folder / entry.file).is_file() for entry in card.downloads)


def _holds_unpacked(card: DatasetCard, folder: Path) -> bool:
    return folder.is_dir() and not _holds_downloads(card, folder) and bool(_contents(folder, ()))


def _contents(folder: Path, archives: Iterable[Path]) -> list[Path]:
    """Returns what a folder holds apart from archives that are unpacked beside and what is under way."""
    passed = {*archives, folder / PINS}
    entries = (entry for entry in sorted(folder.iterdir()) if entry not in passed)
    return [entry for entry in entries if not entry.name.startswith(".") and not entry.name.endswith(PASSING)]


def _descend(folder: Path, archives: Iterable[Path]) -> Path:
    """Returns the folder that the files lie in: a folder that holds nothing but another one is passed through."""
    entries = _contents(folder, archives)
    media = len(entries) == 1 and entries[0].is_dir() and entries[0].name in ("images", "audio", "video")
    return _descend(entries[0], ()) if len(entries) == 1 and entries[0].is_dir() and not media else folder


def _stem(file: str) -> str:
    suffix = next((suffix for suffix in ARCHIVE_SUFFIXES if file.lower().endswith(suffix)), "")
    return file[: len(file) - len(suffix)] if suffix else f"{file}.unpacked"


def _listed(folder: Path, *, media_only: bool) -> Iterable[SourceFile]:
    """Yields the files below a folder: each by its content, pictures and sounds together by name and size."""
    media: list[str] = []
    total = 0
    for path in sorted(Path(parent) / name for parent, _, names in os.walk(folder) for name in names):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in MEDIA_SUFFIXES:
            media.append(f"{path.stat().st_size}  {name}\n")
            total += path.stat().st_size
        elif not media_only and not name.startswith(".") and name != PINS:
            yield SourceFile(name, path.stat().st_size, check_hash(path, None))
    if media:
        digest = hashlib.sha256("".join(media).encode()).hexdigest()
        yield SourceFile(f"pictures and sounds: {len(media)}", total, digest)


def _read_pins(raw: Path) -> dict[str, str]:
    path = raw / PINS
    if not path.is_file():
        return {}
    try:
        return {str(name): str(digest) for name, digest in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"cannot read {path}: {error}; remove it to pin the files as they are now") from None
