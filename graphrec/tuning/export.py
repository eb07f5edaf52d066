"""A study for others to look at: its trials as Parquet, and Optuna's plots as pages that need nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphrec.data.files import write_text
from graphrec.runtime import logger, require
from graphrec.tuning.config import Objective
from graphrec.tuning.journal import open_study
from graphrec.tuning.study import Study, load_study

log = logger(__name__)
IMPORTANCE, HISTORY, PARETO = "importance.html", "history.html", "front.html"


def export(folder: str | Path) -> list[Path]:
    """Writes the trials of a study as ``trials.parquet``, and plots as self-contained pages, beside its journal.

    ``history.html`` shows the trials in the order they came, ``importance.html`` how much of the first objective each
    setting explains, and with several objectives ``front.html`` the Pareto front. A plot that so few or so equal trials
    do not allow is left out, and the reason logged.

    Args:
        folder: The folder of the study.

    Returns:
        The files that were written.

    Raises:
        TuningError: If there is no study, or its journal is damaged.
        MissingExtraError: If Optuna is not installed.
    """
    study = load_study(folder)
    written = [study.write_trials()]
    for name in (HISTORY, IMPORTANCE, *([PARETO] if len(study.objectives) > 1 else [])):
        try:
            page = _figure(name, study).to_html(include_plotlyjs=True)
        except (ValueError, RuntimeError, ZeroDivisionError) as error:
            log.warning("%s left out: %s", name, " ".join(str(error).split()))
            (study.folder / name).unlink(missing_ok=True)
        else:
            write_text(study.folder / name, page)
            written.append(study.folder / name)
    return written


def _figure(name: str, study: Study) -> Any:
    plots = require("optuna.visualization", extra="tune")
    found, first = open_study(study.folder), study.objectives[0]
    if not study.front:
        raise ValueError("no trial was finished")
    if name == PARETO:
        return plots.plot_pareto_front(found, target_names=list(study.objectives))
    target = None if len(study.objectives) == 1 else lambda trial: trial.values[0]
    if name == HISTORY:
        return plots.plot_optimization_history(found, target=target, target_name=first)
    complete = study.trials[study.trials["state"] == "complete"]
    if len(complete) < 2 or complete["value"].nunique() < 2:
        raise ValueError(f"expected two finished trials that differ, got {len(complete)} with equal values")
    sign = -1 if target is not None and Objective.parse(first).direction == "maximize" else 1  # it explains low values
    explained = None if target is None else lambda trial: sign * trial.values[0]
    return plots.plot_param_importances(found, target=explained, target_name=first)
