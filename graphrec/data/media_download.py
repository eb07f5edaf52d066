"""One picture, sound or video from its address: checked, put in its place whole or not at all."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from graphrec.data.download import CHUNK, HEADERS, MAX_PAUSE, OK, PASSING
from graphrec.data.formats.media import IMAGES, SOUNDS, VIDEOS

if TYPE_CHECKING:
    import requests

GONE = (404, 410)
MEGABYTE = 1 << 20
LONGEST_NAME = 150  # of 255 bytes that disks allow
PIL_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # others run programs or are read by nobody
PAGES = ("text/", "application/json", "application/xml", "application/xhtml")
PAGE_BEGINNINGS = (b"<!doctype", b"<html", b"<?xml")
KINDS = {
    "image/jpeg": ".jpg",
    "image/jpg": ".jpg",
    "image/pjpeg": ".jpg",
    "image/mpo": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "image/tiff": ".tif",
    "audio/mpeg": ".mp3",
    "audio/mp3": ".mp3",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/flac": ".flac",
    "audio/x-flac": ".flac",
    "audio/ogg": ".ogg",
    "audio/mp4": ".m4a",
    "audio/x-m4a": ".m4a",
    "audio/aac": ".aac",
    "audio/opus": ".opus",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
}


@dataclass(frozen=True)
class Medium:
    """What one modality's files are like.

    Args:
        folder: The folder in a data set that they are put in.
        suffixes: The suffixes that are read.
        largest: The bytes above which a file is refused.
    """

    folder: str
    suffixes: frozenset[str]
    largest: int


MEDIA = {
    "image": Medium("images", IMAGES, 64 * MEGABYTE),
    "audio": Medium("audio", SOUNDS, 512 * MEGABYTE),
    "video": Medium("video", VIDEOS, 4096 * MEGABYTE),
}


class MediaError(Exception):
    """A file that could not be had; the message is a reason that many files may share.

    Args:
        reason: Why, in a few words.
        passing: Whether another try may mend it.
        gone: Whether the server says that there is no such file.
        unreached: Whether no server answered.
    """

    def __init__(self, reason: str, *, passing: bool = False, gone: bool = False, unreached: bool = False) -> None:
        super().__init__(reason)
        self.passing, self.gone, self.unreached = passing, gone, unreached


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Args:
        retries: How often a file is asked for again after a cut, a timeout or a passing refusal.
        pause: Seconds before the second try; twice that before the next, and so on.
        timeout: Seconds to connect, and between two pieces.
        longest: Seconds after which an answer that still drips in is left.
        stop: Set to end all waiting.
    """

    retries: int = 3
    pause: float = 1.0
    timeout: float = 15.0  # also how long a stop may wait for a server that says nothing
    longest: float = 600.0
    stop: Event = field(default_factory=Event)


def name_for(id_: Any) -> str:
    """Returns a file name without suffix for an id: one folder, no hidden files, different ids different names.

    >>> name_for("B00A1"), name_for(7), name_for("../x"), name_for("a/b")
    ('B00A1', '7', '%2E.%2Fx', 'a%2Fb')
    """
    name = quote(str(id_), safe="")
    name = f"%2E{name[1:]}" if name.startswith(".") else name
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(str(id_).encode()).hexdigest()[:32]}"


def fetch_medium(session: requests.Session, url: str, stem: Path, medium: Medium, patience: Patience) -> Path:
    """Downloads a file and puts it beside others, under a suffix that says what it is.

    Args:
        session: What asks.
        url: The address; redirects are followed.
        stem: The path without suffix.
        medium: What the file must be.
        patience: How long a server is waited for.

    Returns:
        The path.

    Raises:
        MediaError: If there is no such file, or it is something else.
        OSError: If it cannot be written.
    """
    partial = stem.with_name(f".{stem.name}.part")
    try:
        return _persist(session, url, stem, partial, medium, patience)
    finally:
        partial.unlink(missing_ok=True)


def _persist(
    session: requests.Session, url: str, stem: Path, partial: Path, medium: Medium, patience: Patience
) -> Path:
    for trial in range(patience.retries + 1):
        try:
            kind = _receive(session, url, partial, medium, patience)
            return partial.replace(stem.with_name(stem.name + kind))
        except MediaError as error:
            if not error.passing or trial == patience.retries or patience.stop.is_set():
                raise
        patience.stop.wait(min(patience.pause * 2**trial, MAX_PAUSE))
    raise MediaError("stopped")


def _receive(session: requests.Session, url: str, partial: Path, medium: Medium, patience: Patience) -> str:
    """Asks once; returns the suffix of what came."""
    with (
        _explained(),
        session.get(url, headers=HEADERS, stream=True, timeout=(patience.timeout, patience.timeout)) as answer,
    ):
        _require_success(answer)
        _copy(answer, partial, medium.largest, patience)
        cut_unseen = not answer.headers.get("Content-Length", "").isdecimal()
        return _suffix(partial, answer.url, url, answer.headers, medium, whole=cut_unseen)


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what the libraries below say into one of a few reasons."""
    from requests import exceptions
    from urllib3.exceptions import HTTPError

    try:
        yield
    except exceptions.SSLError:
        raise MediaError("the certificate of the server is not trusted") from None
    except exceptions.ConnectTimeout:
        raise MediaError("the server was not reached in time", passing=True, unreached=True) from None
    except exceptions.Timeout:
        raise MediaError("the server took too long", passing=True) from None
    except exceptions.ChunkedEncodingError:
        raise MediaError("the connection was cut", passing=True) from None
    except exceptions.ConnectionError as error:
        if "timed out" in str(error):  # so are timeouts between pieces called
            raise MediaError("the server took too long", passing=True) from None
        raise MediaError("the server was not reached", passing=True, unreached=True) from None
    except (exceptions.RequestException, HTTPError, UnicodeError) as error:  # the last two of strange host names
        raise MediaError(f"the address cannot be asked for ({type(error).__name__})") from None


def _require_success(answer: requests.Response) -> None:
    status = answer.status_code
    if status != OK:
        reason = f"the server answered {status} {answer.reason}"
        raise MediaError(reason, passing=status in PASSING, gone=status in GONE)
    if answer.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise MediaError("a web page instead of a file")


def _copy(answer: requests.Response, partial: Path, largest: int, patience: Patience) -> None:
    end, size = time.monotonic() + patience.longest, 0
    with partial.open("wb") as file:
        for chunk in answer.iter_content(CHUNK):
            size += file.write(chunk)
            if size > largest:
                raise MediaError(f"more than {largest // MEGABYTE} MB")
            if time.monotonic() > end:
                raise MediaError("the server took too long", passing=True)
            if patience.stop.is_set():
                raise MediaError("stopped")
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and answer.raw.tell() != int(length):  # bytes as sent, compressed or not
        raise MediaError("the connection was cut", passing=True)
    if not size:
        raise MediaError("an empty file")


def _suffix(partial: Path, final: str, url: str, headers: Mapping[str, str], medium: Medium, *, whole: bool) -> str:
    """Returns the suffix by what the file is, else by what the server says it is, else by its address."""
    stated = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    kind = _picture_kind(partial, whole) if medium.suffixes is IMAGES else _require_no_page(partial, stated)
    named = [Path(urlsplit(address).path).suffix.lower() for address in (final, url)]
    for suffix in (KINDS.get(kind, ""), *named):
        if suffix in medium.suffixes:
            return suffix
    raise MediaError(f"a file of the kind {kind or 'unknown'!r}")


def _picture_kind(path: Path, whole: bool) -> str:
    """Returns the content type of a picture; decodes it all where its length was not known, since it may be cut."""
    from PIL import Image

    try:
        with Image.open(path, formats=PIL_FORMATS) as image:
            if whole:
                image.load()
            return str(image.get_format_mimetype())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise MediaError("no picture that can be read") from None


def _require_no_page(path: Path, stated: str) -> str:
    with path.open("rb") as file:
        beginning = file.read(64).lstrip().lower()
    if stated.startswith(PAGES) or beginning.startswith(PAGE_BEGINNINGS):
        raise MediaError("a web page instead of a file")
    return stated
