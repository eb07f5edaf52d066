"""Tuning: Optuna over the declared ranges, on train and valid only, in any number of processes and sittings."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from time import sleep, time
from typing import Any

import pandas as pd

from graphrec.data.dataset import Dataset
from graphrec.pipeline.parallel import run_parallel
from graphrec.pipeline.prepare import Prepared
from graphrec.runtime import logger
from graphrec.tuning.config import TuningConfig
from graphrec.tuning.desk import Desk, Lease
from graphrec.tuning.journal import TuningError
from graphrec.tuning.plan import Plan, Settings, make_plan
from graphrec.tuning.space import Entry
from graphrec.tuning.study import Study
from graphrec.tuning.trial import COMPLETE, PRUNED, run_trial

log = logger(__name__)
PAUSE = 0.5  # seconds between looks at a trial that another process runs


@dataclass(frozen=True, eq=False)
class Sitting:
    """One call of ``tune``, as its processes see it.

    Args:
        plan: What is tuned.
        folder: Where the study is kept.
        until: The time in seconds since the epoch after which no new trial is begun.
    """

    plan: Plan
    folder: Path
    until: float


def tune(
    config: Settings,
    folder: str | Path,
    *,
    tuning: TuningConfig | Mapping[str, Any] | None = None,
    search: Mapping[str, Entry] | None = None,
    jobs: int = 1,
    data: Dataset | None = None,
    prepared: Prepared | None = None,
) -> Study:
    """Looks for the settings that are best on validation; called again with the same folder, it goes on.

    What the config sets is fixed, and a hyper-parameter with a declared range that it leaves open is tuned; see
    ``search_space``. The first trial is the config as it is. The test split is taken away before anything else. The
    folder gets the journal, ``best.yaml``, which reproduces the best trial, and ``study.json``, after every trial.
    ``training.trackers`` are for the runs that follow, not for trials.

    Args:
        config: A mapping or the path of a YAML file: the settings of a run that are fixed, and the sections ``search``
            and ``tuning``. In a ``RunConfig`` everything is fixed but what ``search`` names.
        folder: Where the study is kept.
        tuning: Budget and rules, in place of the section of the config, or as a mapping laid over it.
        search: Ranges, laid over the section of the config.
        jobs: Processes at once. Several calls on one folder share the work as well, and all wait for the last trial.
        data: A data set to use in place of ``config.data.name``.
        prepared: A data set whose features and graph were made already, used without its test split.

    Raises:
        ConfigError: If a setting is unknown or wrong, a range is empty, or there is nothing to tune.
        TuningError: If the folder holds another study, its journal is damaged, or no trial came to its end.
        ValueError: If the data is not what was expected, or has no validation interactions.
        FileNotFoundError: If the data is missing.
        MissingExtraError: If Optuna is not installed.
    """
    began = time()
    plan = make_plan(config, tuning=tuning, search=search, data=data, prepared=prepared)
    sitting = Sitting(plan, Path(folder).resolve(), began + (plan.tuning.timeout or float("inf")))
    Desk(sitting.folder, plan)  # whatever stands against the folder is said before processes are started
    seats = range(min(jobs, plan.tuning.trials))
    results = [result for _, result in run_parallel(_sit, seats, jobs=jobs, shared=sitting)]
    errors = [result for result in results if isinstance(result, Exception)]
    if len(errors) == len(seats):  # else others have done its work
        raise _readable(errors[0], sitting.folder)
    return Desk(sitting.folder, plan).write().checked()


def _readable(error: Exception, folder: Path) -> Exception:
    if not isinstance(error, BrokenProcessPool):
        return error
    return TuningError(
        f"the processes of the study in {str(folder)!r} were killed, perhaps for want of memory; run tune again with "
        "fewer jobs, or smaller settings"
    )


def _sit(task: int, sitting: Sitting) -> None:
    """Runs trials until the budget or the time is used up, and no other process is at work on one."""
    desk = Desk(sitting.folder, sitting.plan)
    while time() < sitting.until:
        lease = desk.take()
        if lease is None and not desk.is_busy():
            return
        if lease is None:
            sleep(PAUSE)  # what is best is not known before; and its process may die
            continue
        try:
            desk.finish(lease, desk.finished_alike(lease) or run_trial(sitting.plan, lease.trial))
        finally:
            desk.release(lease)
        _say(sitting.plan, desk.write(), lease)


def _say(plan: Plan, study: Study, lease: Lease) -> None:
    row = study.row(lease.trial.number)
    best = f" (best {_short(study.best_value)})" if study.front else ""
    if row["state"] == COMPLETE.lower():
        values = study.values_of(lease.trial.number)
        found = ", ".join(f"{name} {_short(value)}" for name, value in values.items())
        twin = "" if pd.isna(row["same_as"]) else f", the settings of trial {row['same_as']}"
        text = f"{found}{best}{twin}"
    elif row["state"] == PRUNED.lower():
        text = f"ended early at epoch {row['epochs']}{best}"
    else:
        text = f"failed: {row['error']}"
    log.info("trial %d of %d: %s, %.0f s", lease.place + 1, plan.tuning.trials, text, row["seconds"])


def _short(value: float) -> str:
    """Returns a number as tables show it: ``.0912`` below 1."""
    return f"{value:.4f}".removeprefix("0") if abs(value) < 1 else f"{value:.1f}"
