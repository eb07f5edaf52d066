"""Archives from the network, unpacked so that nothing in them can leave its folder or fill the disk."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from graphrec.runtime import logger

log = logger(__name__)
DRIVE = re.compile(r"^[A-Za-z]:")
MARKER = ".unpacked.json"
JUNK = ("__MACOSX", ".DS_Store")
FREE_SHARE = 0.9  # of the free disk, which an archive may fill
CHUNK = 1 << 20
ZIP, GZIP = (b"PK\x03\x04", b"PK\x05\x06"), b"\x1f\x8b"
DAMAGES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError)
UNSUPPORTED = (NotImplementedError, RuntimeError)  # a method that zipfile does not know; a password


class _Member(NamedTuple):
    name: str
    stream: IO[bytes] | gzip.GzipFile


Members = Generator[_Member, None, None]


def safe_name(name: str) -> PurePosixPath:
    r"""Returns the relative path that a name states, if it stays inside the folder that it is laid in.

    >>> str(safe_name("images/1.jpg"))
    'images/1.jpg'

    Raises:
        ValueError: If it is empty or absolute, has a ``..``, a backslash, a drive or a control character.
    """
    path = PurePosixPath(name)
    leaves = path.is_absolute() or ".." in path.parts or "\\" in name or DRIVE.match(name)
    if leaves or not path.parts or any(ord(character) < 32 for character in name):
        raise ValueError(f"expected a name that stays inside its folder, got {name!r}; it is not used")
    return path


def unpack(archive: Path, folder: Path, *, limit: int | None = None) -> Path:
    """Unpacks a zip, tar (plain, gz, bz2, xz) or gz file into a folder of its own, whole or not at all.

    A folder that holds the same archive's files already is left alone, and so is one that was not made here. Where all
    files lie in one folder of the archive, that folder is left out.

    Args:
        archive: The file; its first bytes say its kind, not its name.
        folder: Where its files are put.
        limit: How many bytes they may have together; by default nine tenths of what is free on the disk.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no archive or a damaged one, if a name in it would leave the folder or is there twice, if
            it holds a link or a device, or if its files are larger than the limit.
    """
    state = {"archive": archive.name, "size": archive.stat().st_size, "modified": archive.stat().st_mtime_ns}
    if folder.is_dir() and unpacked(folder) in (None, state):
        return folder
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    log.info("unpacking %s", archive)
    try:
        _write_all(archive, partial, int(shutil.disk_usage(partial).free * FREE_SHARE) if limit is None else limit)
        _replace(_only_folder(partial), folder, state)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def require_whole(path: Path) -> None:
    """Checks that a gzip file can be read to its end; other files pass.

    Raises:
        ValueError: If it is cut off or damaged.
    """
    with path.open("rb") as file:
        if file.read(len(GZIP)) != GZIP:
            return
    try:
        with gzip.open(path) as stream:
            while stream.read(CHUNK):
                pass
    except DAMAGES as error:
        raise ValueError(f"cannot read {path}: {error}; it is damaged: remove it to have it fetched again") from None


def unpacked(folder: Path) -> dict[str, Any] | None:
    """Returns the name, size and time of the archive that ``unpack`` filled a folder from; None if it did not."""
    try:
        return dict(json.loads((folder / MARKER).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {"size": 0}  # damaged: to be done again


def _replace(made: Path, folder: Path, state: dict[str, Any]) -> None:
    (made / MARKER).write_text(json.dumps(state), encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    made.replace(folder)


def _only_folder(folder: Path) -> Path:
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def _write_all(archive: Path, folder: Path, limit: int) -> None:
    left = limit
    try:
        with closing(_members(archive)) as members:
            for member in members:
                left = _write(member, folder, left, archive, limit)
    except (*DAMAGES, *UNSUPPORTED) as error:
        raise ValueError(
            f"cannot unpack {archive}: {error or type(error).__name__}; it is damaged or protected: fetch it again"
        ) from None


def _write(member: _Member, folder: Path, left: int, archive: Path, limit: int) -> int:
    """Writes one file and returns how many bytes the others may have."""
    path = _inside(member.name, archive)
    if path is None:
        return left
    target = folder / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while chunk := member.stream.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise ValueError(
                        f"expected at most {limit} bytes in {archive}, got more: make room on the disk if it is no bomb"
                    )
                file.write(chunk)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"expected every name once in {archive}, got {member.name!r} twice; it is not used") from None
    return left


def _inside(name: str, archive: Path) -> PurePosixPath | None:
    """Returns the relative path of a member; None for what macOS adds."""
    try:
        path = safe_name(name)
    except ValueError as error:
        raise ValueError(f"cannot unpack {archive}: {error}") from None
    return None if any(part in JUNK for part in path.parts) else path


def _members(archive: Path) -> Members:
    with archive.open("rb") as file:
        first = file.read(4)
    if first in ZIP:
        return _zip_members(archive)
    if tarfile.is_tarfile(archive):
        return _tar_members(archive)
    if first.startswith(GZIP):
        return _gzip_member(archive)
    raise ValueError(f"expected a zip, tar or gz archive, got {archive}, which begins with {first!r}; fetch it again")


def _zip_members(archive: Path) -> Members:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            _require_plain(info.filename, archive, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
            _inside(info.orig_filename, archive)  # zipfile itself turns backslashes and NULs into something harmless
            if not info.is_dir():
                with opened.open(info) as stream:
                    yield _Member(info.filename, stream)


def _tar_members(archive: Path) -> Members:
    with tarfile.open(archive) as opened:
        for info in opened:
            _require_plain(info.name, archive, plain=info.isreg() or info.isdir())
            stream = opened.extractfile(info) if info.isreg() else None
            if stream is not None:
                yield _Member(info.name, stream)
            elif info.name not in (".", "./"):
                _inside(info.name, archive)
        _require_end(opened)


def _require_end(opened: tarfile.TarFile) -> None:
    """Checks that a tar ends where it should: tarfile takes a cut or damaged header for the end."""
    stream: Any = opened.fileobj
    stream.seek(opened.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends early, or a header in it is damaged")
    while stream.read(CHUNK):  # a compressed one is checked at its own end
        pass


def _gzip_member(archive: Path) -> Members:
    with gzip.open(archive) as stream:
        yield _Member(archive.name.removesuffix(".gz"), stream)


def _require_plain(name: str, archive: Path, *, plain: bool) -> None:
    if not plain:
        raise ValueError(f"expected files and folders in {archive}, got the link or device {name!r}; it is not used")
