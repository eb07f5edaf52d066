"""Tuning: Optuna over the declared ranges, on train and valid only, in any number of processes and sittings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from graphrec.data.dataset import Dataset
from graphrec.pipeline.parallel import run_parallel
from graphrec.pipeline.prepare import Prepared
from graphrec.runtime import logger
from graphrec.tuning.config import TuningConfig
from graphrec.tuning.desk import Desk, Lease
from graphrec.tuning.plan import Plan, Settings, make_plan
from graphrec.tuning.space import Entry
from graphrec.tuning.study import Study
from graphrec.tuning.trial import COMPLETE, PRUNED, run_trial

log = logger(__name__)


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

    Args:
        config: A mapping or the path of a YAML file: the settings of a run that are fixed, and the sections ``search``
            and ``tuning``. In a ``RunConfig`` everything is fixed but what ``search`` names.
        folder: Where the study is kept.
        tuning: Budget and rules, in place of the section of the config, or as a mapping laid over it.
        search: Ranges, laid over the section of the config.
        jobs: Processes at once. Several calls on one folder share the work as well.
        data: A data set to use in place of ``config.data.name``.
        prepared: A data set whose features and graph were made already, used without its test split.

    Raises:
        ConfigError: If a setting is unknown or wrong, a range is empty, or there is nothing to tune.
        TuningError: If the folder holds another study, its journal is damaged, or no trial came to its end.
        ValueError: If the data is not what was expected, or has no validation interactions.
        FileNotFoundError: If the data is missing.
        MissingExtraError: If Optuna is not installed.
    """
    began = time.time()
    plan = make_plan(config, tuning=tuning, search=search, data=data, prepared=prepared)
    sitting = Sitting(plan, Path(folder).resolve(), began + (plan.tuning.timeout or float("inf")))
    Desk(sitting.folder, plan)  # whatever stands against the folder is said before processes are started
    for _, result in run_parallel(_sit, range(jobs), jobs=jobs, shared=sitting):
        if isinstance(result, Exception):
            raise result
    return Desk(sitting.folder, plan).write().checked()


def _sit(task: int, sitting: Sitting) -> None:
    """Runs trials until the budget or the time is used up."""
    desk = Desk(sitting.folder, sitting.plan)
    while time.time() < sitting.until:
        lease = desk.take()
        if lease is None:
            return
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
