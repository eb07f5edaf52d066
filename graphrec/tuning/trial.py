"""One trial: a run of the pipeline on train and valid, and what came of it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from graphrec.evaluation.metrics import MetricAt
from graphrec.pipeline.result import Run
from graphrec.pipeline.train import execute
from graphrec.runtime import logger, require
from graphrec.tuning.config import SECONDS, Objective
from graphrec.tuning.plan import Plan, as_trial

log = logger(__name__)
COMPLETE, PRUNED, FAIL = "COMPLETE", "PRUNED", "FAIL"


class Reporter:
    """A tracker that tells Optuna the validation metric, and ends training where Optuna says so.

    Args:
        trial: The Optuna trial; None where nothing is to be pruned.
        metric: The name of the metric among the values of an epoch.
    """

    def __init__(self, trial: Any, metric: str) -> None:
        self.trial, self.metric, self.epoch = trial, metric, 0

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Takes the values of an epoch.

        Raises:
            optuna.TrialPruned: If the trial is not worth going on with.
        """
        self.epoch = epoch
        if self.trial is None or self.metric not in values:
            return
        self.trial.report(values[self.metric], epoch)
        if self.trial.should_prune():
            raise require("optuna", extra="tune").TrialPruned

    def close(self) -> None:
        """Does nothing."""


def run_trial(plan: Plan, trial: Any) -> dict[str, Any]:
    """Trains with the settings of a trial.

    Args:
        plan: What is tuned.
        trial: The Optuna trial, with its values drawn.

    Returns:
        The outcome: ``state``, ``seconds``, ``epochs``, ``threads``, and ``values`` and ``best_epoch``, or the
        ``error``.
    """
    pruned = require("optuna", extra="tune").TrialPruned
    reporter = Reporter(trial if plan.prunes else None, plan.settings.training.metric)
    began = time.perf_counter()
    try:
        outcome = _complete(plan, trial, reporter)
    except pruned:
        outcome = {"state": PRUNED}
    except Exception as error:  # whatever is wrong with these settings, the study goes on with others
        log.debug("trial %d failed", trial.number, exc_info=True)
        outcome = {"state": FAIL, "error": f"{type(error).__name__}: {error}"}
    seconds = time.perf_counter() - began
    return {"epochs": reporter.epoch or None, **outcome, "seconds": seconds, "threads": torch.get_num_threads()}


def value_of(objective: Objective, run: Run) -> float:
    """Returns what a run on validation reaches.

    Seconds are those of the training epochs up to the chosen one, or of solving, without validation: what training
    costs once the number of epochs is known. Coverage is the share of all items that is among the first k of anyone.
    """
    result, valid = run.result, run.record.valid
    if objective.label == SECONDS:
        if result is None:
            return float(run.record.seconds["training"])
        return float(sum(row["seconds"] for row in result.history[: result.best_epoch]))
    if valid is None or valid.lists is None:
        raise ValueError("expected the validation metrics of the run, got none")
    if objective.metric is None:
        shown = np.unique(valid.lists[:, : objective.k])
        return float(np.count_nonzero(shown >= 0) / run.data.num_items)
    chosen = MetricAt.parse(run.config.training.metric).label
    return result.best_value if result is not None and objective.label == chosen else valid.mean()[objective.label]


def _complete(plan: Plan, trial: Any, reporter: Reporter) -> dict[str, Any]:
    config = as_trial(plan.config(trial.params), plan.objectives)
    with _quiet():
        run = execute(config, plan.prepared_for(config), None, tracker=reporter)
    values = [value_of(objective, run) for objective in plan.objectives]
    if not all(math.isfinite(value) for value in values):
        raise FloatingPointError(
            f"expected finite validation values, got {dict(zip(plan.labels, values, strict=True))}"
        )
    result = run.result
    return {
        "state": COMPLETE,
        "values": values,
        "best_epoch": None if result is None else result.best_epoch,
        "epochs": None if result is None else result.epochs,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the pipeline from announcing every phase of every trial."""
    pipeline = logging.getLogger("graphrec.pipeline")
    level = pipeline.level
    if pipeline.isEnabledFor(logging.INFO) and not pipeline.isEnabledFor(logging.DEBUG):
        pipeline.setLevel(logging.WARNING)
    try:
        yield
    finally:
        pipeline.setLevel(level)
