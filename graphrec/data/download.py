"""Downloads that check what they got, and go on where a cut connection left them."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from graphrec.runtime import logger, rank

if TYPE_CHECKING:
    import requests

log = logger(__name__)
CHUNK = 1 << 16  # what may be lost of an answer that is cut
TIMEOUT = (15.0, 60.0)  # seconds to connect, and between two pieces
MAX_PAUSE = 30.0
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that may be another one a little later
OK, PARTIAL, UNSATISFIABLE = 200, 206, 416
HEADERS = {"Accept-Encoding": "identity"}  # a range of a compressed answer is no range of the file
GZIPPED, PLAIN = ("gzip", "x-gzip"), (None, "", "identity")  # what some servers say of an answer all the same
GZIP_SUFFIXES, GZIP_MAGIC = (".gz", ".tgz"), b"\x1f\x8b"


class DownloadError(OSError):
    """A file that could not be fetched; what has arrived of it is kept for the next try."""


def download(url: str, path: Path, *, sha256: str | None = None, retries: int = 4, pause: float = 1.0) -> Path:
    """Downloads a file, whole and checked or not at all; one that is there already is checked and kept.

    What arrives is collected in ``<name>.part``; a cut download, in this call or an earlier one, continues there by
    HTTP Range if the server's file is still the same (``If-Range``), and else starts anew.

    Args:
        url: An ``http``, ``https`` or ``file`` address, or one that pooch knows (``ftp``, ``doi``).
        path: Where the file is put.
        sha256: What it must hash to; none: not checked.
        retries: How often in a row the connection may be cut without a byte gained.
        pause: Seconds before the second try; twice that before the next, and so on.

    Raises:
        DownloadError: If the server refuses, is not reached, or cuts the connection too often.
        OSError: If the disk is too small; then nothing is fetched.
        ValueError: If the SHA-256 is another; then nothing is kept that was not there before.
    """
    if path.exists():
        check_hash(path, sha256)
        return path
    import pooch

    pooch.get_logger().setLevel("WARNING")
    log.info("downloading %s", url)
    resuming = _Resuming(path, retries=retries, pause=pause)
    fetch = _fetcher(url, path, resuming)
    aside = path.with_name(f".{path.name}.download")  # where pooch's files may be left when it is killed
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        pooch.retrieve(url, known_hash=sha256, fname=path.name, path=aside, downloader=fetch)
        (aside / path.name).replace(path)
        resuming.forget()  # only now: whoever is stopped while the file is checked has it still
    except ValueError as error:
        resuming.forget()
        raise ValueError(
            f"{error} It came from {url}, and nothing was kept: try again; if its publisher has replaced the file, "
            "check the new one and put its SHA-256 into the data set's card, or take its line out of pins.json"
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return path


def check_hash(path: Path, sha256: str | None) -> str:
    """Returns the SHA-256 of a file after comparing it with what it must be, if that is known.

    Raises:
        ValueError: If it is another.
    """
    import pooch

    found = str(pooch.file_hash(str(path)))
    if sha256 is not None and found != sha256:
        raise ValueError(
            f"expected the SHA-256 {sha256} of {str(path)!r}, got {found}: the file is damaged or of another version; "
            "move it away to have it downloaded again, or, if you trust it, change the SHA-256 in the data set's card "
            "or take its line out of pins.json"
        )
    return found


class _Fetch(Protocol):
    def __call__(self, url: str, output_file: str, pooch: Any) -> None: ...


def _fetcher(url: str, path: Path, resuming: _Fetch) -> _Fetch | None:
    """Returns what fetches from such an address; None where pooch has something of its own."""
    scheme = urlsplit(url).scheme
    return {"http": resuming, "https": resuming, "file": _copy}.get(scheme)


def _copy(url: str, output_file: str, pooch: Any) -> None:
    source = Path(url2pathname(urlsplit(url).path))
    if not source.is_file():
        raise DownloadError(f"no file {str(source)!r}, which {url!r} names")
    require_space(Path(output_file).parent, source.stat().st_size)
    shutil.copyfile(source, output_file)


def require_space(folder: Path, size: int) -> None:
    """Checks that a folder's disk has room for so many bytes.

    Raises:
        OSError: If it has not.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OSError(
            errno.ENOSPC,
            f"expected {_readable(size)} free in {str(folder)!r}, got {_readable(free)}; make room, or choose a root "
            "on another disk",
        )


@dataclass(frozen=True)
class _Note:
    """What the server said about the file of which a part is there."""

    url: str
    etag: str | None
    modified: str | None
    length: int | None
    encoding: str | None = None

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str]) -> _Note:
        length = headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        return cls(url, headers.get("ETag"), headers.get("Last-Modified"), size, headers.get("Content-Encoding"))

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` may hold: a strong tag, else the date."""
        strong = self.etag is not None and not self.etag.startswith("W/")
        return self.etag if strong else self.modified


class _Resuming:
    """A downloader for pooch that keeps the part it has, and asks for the rest."""

    def __init__(self, path: Path, *, retries: int, pause: float) -> None:
        self.part = path.with_name(f"{path.name}.part")
        self.noted = path.with_name(f"{path.name}.part.json")
        self.retries = retries
        self.pause = pause

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Fetches the file to where pooch checks it."""
        import requests

        try:
            with requests.Session() as session, _bar(self.part.name.removesuffix(".part")) as advance:
                self._persist(session, url, advance)
        except requests.RequestException as error:
            raise DownloadError(f"cannot download {url}: {error}") from None
        self._finish(url, Path(output_file))

    def forget(self) -> None:
        """Throws away the part."""
        self.part.unlink(missing_ok=True)
        self.noted.unlink(missing_ok=True)

    def _finish(self, url: str, output: Path) -> None:
        """Puts all that came, as the file is, to where pooch checks it."""
        note = self._read_note()
        encoded = note is not None and note.encoding in GZIPPED and _is_wrapped(self.part)
        try:
            _decode(self.part, output) if encoded else _link(self.part, output)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self.forget()
            raise DownloadError(f"cannot download {url}: the server's compression is broken ({error})") from None

    def _persist(self, session: requests.Session, url: str, advance: _Advance) -> None:
        """Asks until all is there, or nothing more comes."""
        from requests.exceptions import ChunkedEncodingError, SSLError, Timeout
        from requests.exceptions import ConnectionError as Unreachable

        failures, most = 0, self._size()
        while True:
            try:
                return self._request(session, url, advance)
            except SSLError:  # a certificate does not mend itself
                raise
            except (Unreachable, Timeout, ChunkedEncodingError, _CutError) as error:
                failures = 1 if self._size() > most else failures + 1
                most = max(most, self._size())  # what is fetched again after a new beginning is no gain
                self._wait(url, failures, _reason(error))

    def _wait(self, url: str, failures: int, reason: str) -> None:
        if failures > self.retries:
            kept = f"{_readable(self._size())} of it are kept in {str(self.part)!r}, and the same command goes on there"
            by_hand = "try again later, or fetch it by hand and name its folder with --from"
            raise DownloadError(f"cannot download {url}: {reason}; {kept if self._size() else by_hand}") from None
        pause = min(self.pause * 2 ** (failures - 1), MAX_PAUSE)
        log.warning("%s: %s; trying again in %.0f s", url, reason, pause)
        time.sleep(pause)

    def _request(self, session: requests.Session, url: str, advance: _Advance) -> None:
        note, have = self._note(url), self._size()
        if note is not None and have == note.length:
            return
        with session.get(url, headers=HEADERS | _range(note, have), stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == UNSATISFIABLE or (answer.status_code == PARTIAL and not _fits(answer, note, have)):
                self.forget()
                raise _CutError("the file on the server has changed")
            _require_success(answer, url, self.part.name.removesuffix(".part"))
            if answer.status_code == OK:
                have, note = 0, self._begin(_Note.of(url, answer.headers))
            with self.part.open("ab") as file:
                _receive(answer, file, have, note.length if note else None, advance)

    def _begin(self, note: _Note) -> _Note:
        """Makes room for a new part and notes what it is one of."""
        self.forget()
        require_space(self.part.parent, note.length or 0)
        self.noted.write_text(json.dumps(asdict(note)), encoding="utf-8")
        return note

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _note(self, url: str) -> _Note | None:
        """Returns what is known of the part; None, and no part, where it cannot be continued."""
        note = self._read_note()
        if note is None or note.url != url or note.validator is None or self._size() > (note.length or sys.maxsize):
            self.forget()
            return None
        return note

    def _read_note(self) -> _Note | None:
        try:
            return _Note(**json.loads(self.noted.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


class _CutError(Exception):
    """Something that another try may mend."""


class _Advance(Protocol):
    def __call__(self, done: int, total: int | None) -> None: ...


def _reason(error: Exception) -> str:
    """Returns what happened in a few words, without the layers of the libraries below."""
    if isinstance(error, _CutError):
        return str(error)
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return "the connection was cut" if cause is None else str(cause).rpartition(": ")[2]


def _range(note: _Note | None, have: int) -> dict[str, str]:
    return {} if note is None or not have else {"Range": f"bytes={have}-", "If-Range": str(note.validator)}


def _fits(answer: requests.Response, note: _Note | None, have: int) -> bool:
    """Returns whether a partial answer begins where the part ends, in a file of the same length."""
    stated = answer.headers.get("Content-Range", "")
    total = "*" if note is None or note.length is None else str(note.length)
    return bool(have) and stated.startswith(f"bytes {have}-") and (total == "*" or stated.endswith((f"/{total}", "/*")))


def _require_success(answer: requests.Response, url: str, name: str) -> None:
    if answer.status_code in PASSING:
        raise _CutError(f"the server answered {answer.status_code} {answer.reason}")
    if answer.status_code not in (OK, PARTIAL):
        raise DownloadError(
            f"cannot download {url}: the server answered {answer.status_code} {answer.reason}; fetch {name!r} by hand "
            "and name its folder with --from"
        )
    if (encoding := answer.headers.get("Content-Encoding")) not in (*PLAIN, *GZIPPED):
        raise DownloadError(
            f"expected {name!r} from {url} as it is, got it encoded as {encoding!r}; fetch it by hand and name its "
            "folder with --from"
        )
    if answer.headers.get("Content-Type", "").startswith("text/html") and not name.endswith((".html", ".htm")):
        raise DownloadError(
            f"expected the file {name!r} from {url}, got a web page (a login or a notice?); fetch the file by hand and "
            "name its folder with --from"
        )


def _is_wrapped(part: Path) -> bool:
    """Returns whether gzip is the transfer's: servers also say it of files that are gzip themselves."""
    if not part.name.removesuffix(".part").lower().endswith(GZIP_SUFFIXES):
        return True
    with gzip.open(part) as stream:
        return stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _decode(part: Path, output: Path) -> None:
    with gzip.open(part) as stream, output.open("wb") as file:
        shutil.copyfileobj(stream, file, CHUNK)


def _link(part: Path, output: Path) -> None:
    output.unlink(missing_ok=True)
    try:
        os.link(part, output)
    except OSError:  # a disk without links
        part.replace(output)


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    """Yields the bytes as they are sent: those are what lengths and ranges count, compressed or not."""
    from requests.exceptions import ChunkedEncodingError
    from urllib3.exceptions import HTTPError

    try:
        yield from answer.raw.stream(CHUNK, decode_content=False)
    except HTTPError as error:
        raise ChunkedEncodingError(error) from None


def _receive(answer: requests.Response, file: BinaryIO, have: int, length: int | None, advance: _Advance) -> None:
    for chunk in _pieces(answer):
        file.write(chunk)
        have += len(chunk)
        advance(have, length)
    if length is not None and have != length:
        raise _CutError(f"the connection was cut after {have} of {length} bytes")


@contextmanager
def _bar(name: str) -> Iterator[_Advance]:
    """Gives what shows how many bytes have come; a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty() or rank() != 0:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _readable(size: int) -> str:
    from rich.filesize import decimal

    return decimal(size)
