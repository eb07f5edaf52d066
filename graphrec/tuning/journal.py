"""The journal of a study: Optuna's storage in one file, safe against processes that die in the middle of a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from graphrec.runtime import require

JOURNAL, NAME = "journal.log", "graphrec"
OUTCOME, RETRY_OF = "outcome", "retry_of"
ABOUT, SETTINGS, SPACE, BUDGET = "about", "settings", "space", "budget"


class TuningError(ValueError):
    """A study that cannot be gone on with, or that found nothing; the message says why and what to do."""


class JournalLock:
    """The lock that Optuna takes before it appends to a journal; the system frees it when its process dies.

    Optuna's own lock of a dead process holds all others up for half a minute, and the line that the process left
    unfinished would merge with the next one, after which the journal could not be read. So the line is cut off first.

    Args:
        path: The journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"), thread_local=False)

    def acquire(self) -> bool:
        """Waits for the lock and repairs the end of the journal."""
        self._lock.acquire()
        cut_unfinished_line(self.path)
        return True

    def release(self) -> None:
        """Gives the lock back."""
        self._lock.release()


def cut_unfinished_line(path: Path) -> None:
    """Cuts off what stands after the last line end of a file: what a process was writing when it died."""
    with path.open("rb+") as file:
        if not file.seek(0, 2):
            return
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.truncate(path.read_bytes().rfind(b"\n") + 1)


def open_storage(folder: Path) -> Any:
    """Returns Optuna's storage in the journal of a folder.

    Raises:
        TuningError: If the journal is damaged elsewhere than at its end.
        MissingExtraError: If Optuna is not installed.
    """
    optuna = require("optuna", extra="tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / JOURNAL
    folder.mkdir(parents=True, exist_ok=True)
    path.touch()
    backend = optuna.storages.journal.JournalFileBackend(str(path), lock_obj=JournalLock(path))
    try:
        return optuna.storages.JournalStorage(backend)
    except (ValueError, KeyError, TypeError) as error:
        raise TuningError(f"cannot read the journal {path}: {error}; restore it, or start in a new folder") from error


def open_study(folder: Path) -> Any:
    """Returns the Optuna study of a folder, to look at.

    Raises:
        TuningError: If there is none, or its journal is damaged.
    """
    if not (folder / JOURNAL).is_file():
        raise TuningError(f"expected the journal of a study in {str(folder)!r}, found none; tune writes one")
    optuna = require("optuna", extra="tune")
    try:
        return optuna.load_study(study_name=NAME, storage=open_storage(folder))
    except KeyError:
        raise TuningError(f"expected a study in {str(folder / JOURNAL)!r}, found none; tune writes one") from None


def outcome_of(trial: Any) -> dict[str, Any]:
    """Returns what was noted when a trial ended, empty if its process died before."""
    return dict(trial.user_attrs.get(OUTCOME, {}))


def is_lost(trial: Any) -> bool:
    """Returns whether the process of a trial died before the trial ended."""
    return trial.state.name == "FAIL" and not outcome_of(trial)


def counted(trials: list[Any]) -> list[Any]:
    """Returns the trials that use up the budget: all but those that are tried again."""
    again = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    return [trial for trial in trials if trial.number not in again]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns a line for every entry that is not the same.

    >>> differences({"a": 1, "b": 2}, {"a": 1, "b": 3})
    ['b: 2 before, 3 now']
    """
    names = [*before, *(name for name in now if name not in before)]
    return [
        f"{name}: {_shown(before, name)} before, {_shown(now, name)} now"
        for name in names
        if before.get(name) != now.get(name) or (name in before) != (name in now)
    ]


def _shown(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "not there"
