"""What a value is by its content: the key under which its vector is kept, whatever the value is called."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.features.encoder import Kind
from graphrec.features.store.file_index import FileIndex, stamp_of

if TYPE_CHECKING:
    from PIL.Image import Image

HASHED_AT_ONCE = 4096  # files between two additions to the index


@dataclass
class Contents:
    """The keys of values.

    Args:
        keys: One SHA-256 per value, or None where the value has no content.
        reasons: Why a value has none, by its position.
        stamps: What the files that were read or recognised looked like, by absolute path.
    """

    keys: list[bytes | None]
    reasons: dict[int, str] = field(default_factory=dict)
    stamps: dict[bytes, bytes] = field(default_factory=dict)

    def unchanged(self, value: Any) -> bool:
        """Tells whether a value still has the content that its key stands for; only files can change."""
        if not _is_path(value) or not self.stamps:
            return True
        path = absolute(value)
        return stamp_of(os.stat(path)) == self.stamps[path]  # noqa: PTH116 - bytes


def identify(
    kind: Kind,
    values: Sequence[Any],
    index: FileIndex,
    pool: Executor,
    advance: Callable[[int], object] = lambda _: None,
) -> Contents:
    """Returns the keys of values: of texts, of the bytes of files, or of the pixels of PIL images.

    Args:
        kind: What the values are; of anything but text they are paths, of ``image`` also PIL images.
        values: The values.
        index: Spares reading files that have not changed.
        pool: Reads files.
        advance: Is told how many files were read.

    Raises:
        TypeError: If a value is of another type.
    """
    types = {type(value): value for value in values}
    for value in types.values():
        _require(kind, value)
    if kind == "text":
        return Contents([hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest() for value in values])
    named = {each for each, value in types.items() if _is_path(value)}
    files = [absolute(value) if type(value) in named else None for value in values]
    contents = Contents([None] * len(values))
    digests, reasons = _identify_files(
        {path for path in files if path is not None}, contents.stamps, index, pool, advance
    )
    for at, path in enumerate(files):
        if path is None:
            contents.keys[at] = hash_image(values[at])
        elif path in digests:
            contents.keys[at] = digests[path]
        else:
            contents.reasons[at] = reasons[path]
    return contents


def absolute(value: str | os.PathLike[str]) -> bytes:
    """Returns the absolute path of a file as the system knows it, whose name need not be UTF-8."""
    path = os.path.abspath(value)  # noqa: PTH100 - many paths
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # no file can be called so
        return path.encode("utf-8", "surrogatepass")


def hash_image(image: Image) -> bytes:
    """Returns a key of what a picture looks like: its pixels, and how they are to be read and turned."""
    transparency, orientation = image.info.get("transparency"), image.getexif().get(0x0112)
    palette = image.getpalette() if image.mode in ("P", "PA") else None
    head = f"PIL image {image.mode} {image.size} {transparency} {orientation} {palette}\n"
    return hashlib.sha256(head.encode() + image.tobytes()).digest()


def reason_of(error: BaseException) -> str:
    """Returns what an error says in one line, without the path of a file."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error).strip().split("\n")[0] or type(error).__name__


def _identify_files(
    paths: Iterable[bytes],
    stamps: dict[bytes, bytes],
    index: FileIndex,
    pool: Executor,
    advance: Callable[[int], object],
) -> tuple[dict[bytes, bytes], dict[bytes, str]]:
    """Returns the SHA-256 of files, and why others have none; fills in the stamps."""
    reasons: dict[bytes, str] = {}
    for path in paths:
        stamp = _stamp(path)
        if isinstance(stamp, bytes):
            stamps[path] = stamp
        else:
            reasons[path] = stamp
    digests = index.lookup(stamps)
    unknown = [path for path in stamps if path not in digests]
    for start in range(0, len(unknown), HASHED_AT_ONCE):
        part, began = unknown[start : start + HASHED_AT_ONCE], time.time_ns()
        hashed: dict[bytes, tuple[bytes, bytes]] = {}
        for path, result in zip(part, pool.map(_hash_file, part), strict=True):
            if isinstance(result, str):
                reasons[path] = result
            else:
                hashed[path] = result
                stamps[path], digests[path] = result
            advance(1)
        index.record(hashed, now_ns=began)
    return digests, reasons


def _stamp(path: bytes) -> bytes | str:
    try:
        status = os.stat(path)  # noqa: PTH116 - bytes
    except OSError as error:
        return reason_of(error)
    except ValueError:
        return "no such file: its path holds a null byte"
    if not stat.S_ISREG(status.st_mode):
        return "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no regular file"
    return stamp_of(status)


def _hash_file(path: bytes) -> tuple[bytes, bytes] | str:
    try:
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - bytes
            before = stamp_of(os.fstat(stream.fileno()))
            digest = hashlib.file_digest(stream, "sha256").digest()
            after = stamp_of(os.fstat(stream.fileno()))
    except OSError as error:
        return reason_of(error)
    return (after, digest) if before == after else "it is being written to"


def _require(kind: Kind, value: Any) -> None:
    if isinstance(value, str) or (kind != "text" and _is_path(value)) or (kind == "image" and _is_image(value)):
        return
    expected = {"text": "a text", "image": "a path or a PIL image"}.get(kind, "the path of a file")
    raise TypeError(f"expected {expected}, got {type(value).__name__}; leave absent values out")


def _is_path(value: Any) -> bool:
    return isinstance(value, str | Path)


def _is_image(value: Any) -> bool:
    from PIL import Image

    return isinstance(value, Image.Image)
