"""Where processes get their trials: each is held under a lease, and what a dead process held is handed out again."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from graphrec.runtime import derive_seed, logger, require
from graphrec.tuning.journal import (
    ABOUT,
    BUDGET,
    NAME,
    OUTCOME,
    RETRY_OF,
    SETTINGS,
    SPACE,
    TuningError,
    counted,
    differences,
    open_storage,
    outcome_of,
)
from graphrec.tuning.plan import Plan
from graphrec.tuning.study import Study, read_study
from graphrec.tuning.trial import COMPLETE, FAIL

log = logger(__name__)
LOCK, LEASES = "study.lock", "leases"
TRACKERS = "config.training.trackers"  # two sittings of one study need not agree on them: trials have none


@dataclass
class Lease:
    """A trial that is this process's to run.

    Args:
        trial: The Optuna trial, its values drawn.
        place: Which of the trials that count it is, from 0.
        lock: Held for as long as the trial runs; the system frees it when the process dies.
    """

    trial: Any
    place: int
    lock: BaseFileLock


class Desk:
    """Hands out the trials of one study to any number of processes.

    Journal storage has no heartbeat, so a trial that is under way is told from one whose process died by its lease: a
    lock on a file. Drawing a trial and taking its lease happen under one lock of the study.

    Args:
        folder: The folder of the study.
        plan: What is tuned.

    Raises:
        TuningError: If the folder holds another study, or its journal is damaged.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        optuna = require("optuna", extra="tune")
        self.folder, self.plan = folder, plan
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / LOCK, thread_local=False)
        with self._lock:
            storage, pruner = open_storage(folder), _pruner(plan)
            try:
                self.study = optuna.load_study(study_name=NAME, storage=storage, pruner=pruner)
            except KeyError:
                directions = [objective.direction for objective in plan.objectives]
                self.study = optuna.create_study(study_name=NAME, storage=storage, pruner=pruner, directions=directions)
            self._begin()

    def take(self) -> Lease | None:
        """Returns a trial to run, or None where the budget is used up, with trials that may still be under way.

        What is drawn depends on the seed of the study and on how many trials count before it, not on who draws it, so
        that a study that was interrupted goes on as if it had not been.
        """
        with self._lock:
            self._recover()
            trials = counted(self._trials())
            waiting = sum(trial.state.name == "WAITING" for trial in trials)
            if not waiting and len(trials) >= self.plan.tuning.trials:
                return None
            place = len(trials) - waiting
            self.study.sampler = _sampler(self.plan, place)
            space = {path: parameter.distribution() for path, parameter in self.plan.space.items()}
            trial = self.study.ask(space)
            lock = self._lease(trial.number)
            lock.acquire(timeout=0)
            return Lease(trial, place, lock)

    def is_busy(self) -> bool:
        """Returns whether a trial is under way, in this process or another."""
        return any(trial.state.name == "RUNNING" for trial in self._trials())

    def finish(self, lease: Lease, outcome: dict[str, Any]) -> None:
        """Notes what came of a trial and gives its lease back."""
        lease.trial.set_user_attr(OUTCOME, outcome)  # noted first: a process that dies in between loses nothing
        with self._lock:  # nobody may see it as under way, and its lease as free
            self._tell(lease.trial.number, outcome)
            self.release(lease)

    def release(self, lease: Lease) -> None:
        """Gives the lease of a trial back, also of one that has not ended: it counts as lost from then on."""
        with contextlib.suppress(OSError):  # Windows keeps a file that is open
            Path(lease.lock.lock_file).unlink(missing_ok=True)
        lease.lock.release()

    def finished_alike(self, lease: Lease) -> dict[str, Any] | None:
        """Returns the outcome of a finished trial with the same values, which need not be trained again."""
        params = lease.trial.params
        for trial in self._trials():
            if trial.state.name == COMPLETE and trial.params == params:
                return {**outcome_of(trial), "same_as": trial.number, "seconds": 0.0}
        return None

    def write(self) -> Study:
        """Writes what the study has found so far, and returns it."""
        with self._lock:
            study = read_study(self.study, self.folder)
            study.write()
        return study

    def _begin(self) -> None:
        about, before = self.plan.about(), self.study.user_attrs.get(ABOUT)
        changes = []
        if before is not None:
            before = self.plan.completed(before, self.study.user_attrs.get(SETTINGS, {}))
            changes = differences(before | {TRACKERS: about[TRACKERS]}, about)
        if changes:
            raise TuningError(
                f"the study in {str(self.folder)!r} has another space, objective, setting or data; start in a new "
                f"folder, or undo: {'; '.join(changes)}"
            )
        tuning = self.plan.tuning
        notes = {
            SETTINGS: self.plan.settings.to_mapping(),
            SPACE: {path: parameter.describe() for path, parameter in self.plan.space.items()},
            BUDGET: {"trials": tuning.trials, "timeout": tuning.timeout},
            ABOUT: about,
        }
        for name, value in notes.items():
            if self.study.user_attrs.get(name) != value:
                self.study.set_user_attr(name, value)
        if not self._trials():
            self.study.enqueue_trial(self.plan.start())

    def _recover(self) -> None:
        """Ends the trials whose process died; one that had not come to its end is queued again."""
        for trial in self._trials():
            if trial.state.name != "RUNNING" or self._is_held(trial.number):
                continue
            outcome = outcome_of(trial)
            if not outcome:
                self._queue_again(trial)
            self._tell(trial.number, outcome or {"state": FAIL})

    def _queue_again(self, trial: Any) -> None:
        trials = self._trials()
        if any(other.user_attrs.get(RETRY_OF) == trial.number for other in trials):
            return  # the process that queued it died before it could end this one
        tries, before = 1, trial.user_attrs.get(RETRY_OF)
        while before is not None:
            tries, before = tries + 1, trials[before].user_attrs.get(RETRY_OF)
        if tries > self.plan.tuning.retries:
            log.warning("trial %d: its process died %d times; it is given up", trial.number, tries)
            return
        log.warning("trial %d: its process died; it is tried again", trial.number)
        whole = set(trial.params) == set(self.plan.space)
        params = trial.params if whole else trial.system_attrs.get("fixed_params", {})
        self.study.enqueue_trial(params, user_attrs={RETRY_OF: trial.number})

    def _tell(self, number: int, outcome: dict[str, Any]) -> None:
        states = require("optuna.trial", extra="tune").TrialState
        self.study.tell(number, outcome.get("values"), states[outcome["state"]])

    def _trials(self) -> list[Any]:
        return list(self.study.get_trials(deepcopy=False))

    def _lease(self, number: int) -> BaseFileLock:
        path = self.folder / LEASES / str(number)
        path.parent.mkdir(exist_ok=True)
        return FileLock(path, thread_local=False)

    def _is_held(self, number: int) -> bool:
        if not (self.folder / LEASES / str(number)).exists():
            return False
        lock = self._lease(number)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False


def _sampler(plan: Plan, place: int) -> Any:
    samplers, rules = require("optuna.samplers", extra="tune"), plan.tuning
    seed = derive_seed(rules.seed, place) % 2**32
    return samplers.TPESampler(seed=seed, n_startup_trials=rules.startup_trials, constant_liar=True)


def _pruner(plan: Plan) -> Any:
    pruners, rules = require("optuna.pruners", extra="tune"), plan.tuning
    if not plan.prunes:
        return pruners.NopPruner()
    if rules.pruner == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=rules.warmup_epochs)
    return pruners.MedianPruner(rules.startup_trials, rules.warmup_epochs)
