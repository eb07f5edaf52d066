"""Which models of a study are looked at closely: the best on validation, and those to see it beside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from graphrec.models.base import Recommender
from graphrec.pipeline import Run, load
from graphrec.pipeline.config import model_class
from graphrec.report.page.study import Study
from graphrec.runs import RunFolder, RunFolderError
from graphrec.runtime import logger

log = logger(__name__)


def by_validation(study: Study) -> list[str]:
    """Returns the labels of models, the best mean validation metric over seeds first; those without one last.

    The metric is the one that the main table tests. Known ceilings and fused scores are no models that can be loaded.
    """
    score = {label: _validation(runs, study.table.tested) for label, runs in study.groups.items() if _model(runs)}
    return sorted(score, key=lambda label: -score[label])


def is_validated(study: Study, label: str) -> bool:
    """Returns whether ``by_validation`` had something to go by."""
    return math.isfinite(_validation(study.groups[label], study.table.tested))


def first_model(study: Study, label: str) -> RunFolder:
    """Returns the first run of a label that holds a model."""
    return next(run for run in study.groups[label] if run.metrics()["kind"] == "model")


def with_embeddings(study: Study) -> list[str]:
    """Returns the labels of trained models, in the order of ``by_validation``: closed forms have no embeddings."""
    return [label for label in by_validation(study) if not first_model(study, label).metrics()["closed_form"]]


def loaded(study: Study, labels: Iterable[str]) -> Iterator[tuple[str, Run]]:
    """Yields the models of labels, the first seed of each; one that cannot be loaded is left out and logged."""
    for label in labels:
        try:
            yield label, load(first_model(study, label).path)
        except (RunFolderError, ValueError, MemoryError, ImportError, OSError) as error:
            log.warning("%s is left out of maps and lists: %s", label, error)


def with_parts(study: Study) -> list[str]:
    """Returns those of ``with_embeddings`` whose scores have parts, such as one per modality."""
    return [label for label in with_embeddings(study) if _has_parts(first_model(study, label))]


def _has_parts(run: RunFolder) -> bool:
    try:
        return model_class(run.config()["model"]["name"]).parts is not Recommender.parts
    except (ValueError, KeyError, TypeError, ImportError, OSError):
        return False


def _model(runs: tuple[RunFolder, ...]) -> bool:
    return any(run.metrics()["kind"] == "model" for run in runs)


def _validation(runs: tuple[RunFolder, ...], metric: str) -> float:
    values = [(run.metrics()["valid"] or {}).get(metric, math.nan) for run in runs]
    mean = float(np.mean(values))
    return -math.inf if math.isnan(mean) else mean
