"""The index of files: which content a file had when it was last read, so that unchanged files are not read again."""

from __future__ import annotations

import os
import sqlite3
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from graphrec.runtime import logger

log = logger(__name__)
FRESH_NS = 2_000_000_000  # a file this young may still change without its times showing it (FAT counts in 2 s)
ASKED_AT_ONCE = 500  # paths of one query; SQLite allowed 999 for long
WAIT_S = 30.0
TABLE = (
    "CREATE TABLE IF NOT EXISTS file (path BLOB PRIMARY KEY, stamp BLOB NOT NULL, sha256 BLOB NOT NULL) WITHOUT ROWID"
)
STAMP = struct.Struct("<qqqQ")
PAUSE_S = 0.02  # between two attempts to open a file that others are opening
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)  # and the finer codes that end in these bytes
DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def stamp_of(status: os.stat_result) -> bytes:
    """Returns what changes when a file is written to or replaced: its bytes, times in nanoseconds, and inode.

    As bytes, because Python's garbage collector would look through a hundred thousand tuples again and again.
    """
    return STAMP.pack(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def is_settled(stamp: bytes, now_ns: int) -> bool:
    """Tells whether a change to the file after ``now_ns`` must show in its stamp.

    The rule of git, `"Racy Git" <https://git-scm.com/docs/racy-git>`_: clocks of file systems are coarse, so a file
    that was read within the same tick as it was written could be written again without a trace.
    """
    _, modified, changed, _ = STAMP.unpack(stamp)
    return bool(max(modified, changed) + FRESH_NS < now_ns)


class FileIndex:
    """What every file's content was, by absolute path: a SQLite file that several processes may use at once.

    It only saves time. Where it cannot be read or written, files are read again, and a damaged one is begun anew.

    Args:
        path: The SQLite file; its folder is made when something is first kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def lookup(self, stamps: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Returns the SHA-256 of the files that are as they were when they were indexed.

        Args:
            stamps: The stamps of files now, by absolute path as ``os.fsencode`` gives it.
        """
        if self.path.is_file():
            with self._forgiving(), self._connection() as connection:
                rows = _rows(connection, list(stamps))
                return {path: digest for path, stamp, digest in rows if stamp == stamps.get(path)}
        return {}

    def record(self, files: Mapping[bytes, tuple[bytes, bytes]], *, now_ns: int | None = None) -> None:
        """Keeps what files hold, except of those that changed within the last two seconds.

        Args:
            files: The stamp taken before reading, and the SHA-256, by absolute path.
            now_ns: A time before the first file was read, in nanoseconds of Unix time; now by default.
        """
        now_ns = time.time_ns() if now_ns is None else now_ns
        rows = [(path, *entry) for path, entry in files.items() if is_settled(entry[0], now_ns)]
        if rows:
            with self._forgiving(), self._connection(create=True) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", rows)

    def prune(self) -> int:
        """Forgets the files that are gone, and returns how many that were."""
        gone: list[bytes] = []
        if self.path.is_file():
            with self._forgiving(), self._connection() as connection, connection:
                gone = [path for (path,) in connection.execute("SELECT path FROM file") if not os.path.exists(path)]  # noqa: PTH110 - bytes
                connection.executemany("DELETE FROM file WHERE path = ?", [(path,) for path in gone])
        return len(gone)

    @contextmanager
    def _connection(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        if create:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect()
        try:
            yield connection
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        """Opens the file, waiting for others who open it too: SQLite itself does not wait while it turns to WAL."""
        until = time.monotonic() + WAIT_S
        while True:
            connection = sqlite3.connect(self.path, timeout=WAIT_S)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")  # a lost last row costs one reading of a file
                connection.execute(TABLE)
            except sqlite3.Error as error:
                connection.close()
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY and time.monotonic() < until:
                    time.sleep(PAUSE_S)
                elif isinstance(error, sqlite3.OperationalError):
                    return self._connect_to_read()
                else:
                    raise
            else:
                return connection

    def _connect_to_read(self) -> sqlite3.Connection:
        """Opens the file in a folder that can be read only: as it is, without a log beside it."""
        return sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            log.warning("the index of files %s cannot be used (%s); files are read instead", self.path, error)
            if getattr(error, "sqlite_errorcode", None) in DAMAGED:
                for suffix in ("", "-wal", "-shm"):
                    self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


def _rows(connection: sqlite3.Connection, paths: Sequence[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yields the rows of the paths, and where most of the table is asked for, all of it, which is faster."""
    (total,) = connection.execute("SELECT count(*) FROM file").fetchone()
    if total <= 2 * len(paths):
        yield from connection.execute("SELECT path, stamp, sha256 FROM file")
        return
    for start in range(0, len(paths), ASKED_AT_ONCE):
        part = paths[start : start + ASKED_AT_ONCE]
        marks = ",".join("?" * len(part))
        yield from connection.execute(f"SELECT path, stamp, sha256 FROM file WHERE path IN ({marks})", part)
