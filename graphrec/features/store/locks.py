"""Locks beside the files that they guard; the system releases them when their process dies, but leaves their files."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

LEFTOVER = re.compile(r"[0-9a-f]{32}(\.safetensors\.tmp|\.lock)|manifest\.json(\.tmp|\.lock)")
SUFFIX, TEMPORARY, LOCK = ".safetensors", ".tmp", ".lock"


def lock_of(path: Path, *, timeout: float = -1) -> BaseFileLock:
    """Returns the lock of a file of a shelf, which also guards its temporary file.

    Args:
        path: The file, its temporary file, or the file of its lock.
        timeout: How many seconds to wait for it; for ever by default.
    """
    name = path.name.removesuffix(LOCK).removesuffix(TEMPORARY).removesuffix(SUFFIX)
    return FileLock(path.with_name(name + LOCK), timeout=timeout, thread_local=False)


def unlock(lock: BaseFileLock) -> None:
    """Gives a lock back and removes its file: whoever waits for it looks next whether the guarded file is there."""
    with contextlib.suppress(OSError):  # Windows keeps a file that is open
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def is_held(path: Path) -> bool:
    """Tells whether a process holds the lock of a file."""
    lock = lock_of(path, timeout=0)
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock:
            return False
    except Timeout:
        return True


def leftovers(folder: Path) -> list[Path]:
    """Returns temporary files and locks whose process is dead."""
    return sorted(path for path in folder.iterdir() if LEFTOVER.fullmatch(path.name) and not is_held(path))


def remove(path: Path) -> None:
    """Removes a file, and its lock, unless a process holds that."""
    lock = lock_of(path, timeout=0)
    with contextlib.suppress(Timeout), lock:
        path.unlink(missing_ok=True)
        unlock(lock)
