"""What may be marked in a table: who differs from the reference, and who is better than every other model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphrec.evaluation.differences import Differences, components
from graphrec.evaluation.metrics import MetricAt
from graphrec.evaluation.significance import (
    LEVEL,
    Comparison,
    Scores,
    agrees,
    compare_scores,
    corrected,
    p_value_by,
)
from graphrec.runs import RunFolder

ByMetric = Mapping[str, Scores]
CONFIDENCE = 0.95
MARKS, RUN_MARKS = ("▲", "▼"), ("△", "▽")  # better and worse: of models, and of single training runs only


@dataclass(frozen=True)
class Contest:
    """Whether the model with the highest mean of a column is better than every other.

    All p-values must be below the level after correction. Choosing the best by looking costs nothing more: to be
    called best wrongly, a model has to beat its equal too, which happens as rarely as the level says. Nobody wins
    against a single training run, or by one: a lucky training is no better model.

    Args:
        best: The label with the highest mean.
        p_values: The corrected p-value of its comparison with every other model, by label.
        single: The models of which there is one training run only.
    """

    best: str
    p_values: Mapping[str, float]
    single: tuple[str, ...] = ()

    @property
    def winner(self) -> str | None:
        """The best model if it is significantly better than every other, else None."""
        return self.best if self.p_values and not self.equal and not self.single else None

    @property
    def equal(self) -> tuple[str, ...]:
        """The models that the best is not significantly better than."""
        return tuple(label for label, p in self.p_values.items() if not p < LEVEL)


def mark_of(found: Comparison | None, p_value: float) -> str:
    """Returns the mark of a difference, or nothing where it is not significant or its interval holds a zero.

    Nothing either where the ranks of Wilcoxon's test point the other way than the mean.

    Args:
        found: The comparison, if there is one.
        p_value: Its corrected p-value.

    Returns:
        ``▲`` or ``▼`` for a model that is better or worse, ``△`` or ``▽`` where that is said of single training runs.
    """
    if found is None or not p_value < LEVEL or not found.agrees or found.low <= 0 <= found.high:
        return ""
    better, worse = MARKS if found.covers_training else RUN_MARKS
    return better if found.difference > 0 else worse


def read_scores(runs: Sequence[RunFolder], metrics: Sequence[str], part: str = "test") -> dict[str, Scores]:
    """Returns the values of every user in the runs of one model, by metric.

    A model that is solved has no seeds, unless it has several runs. What was not kept per user is missing, and
    everything where there are fewer than two users: nothing can be tested then.

    Args:
        runs: The runs of one model, one per seed.
        metrics: Their names.
        part: ``"valid"`` or ``"test"``.

    Raises:
        ValueError: If the runs differ in their users.
        RunFolderError: If a file is damaged.
    """
    if not all(run.has_users(part) for run in runs):
        return {}
    frames = [run.users(part) for run in runs]
    if len(frames[0]) < 2:
        return {}
    found = [run.metrics() for run in runs]
    trained = len(runs) > 1 or not is_closed_form(runs[0])
    seeds = tuple(int(one["seed"]) for one in found) if trained and found[0]["seed"] is not None else ()
    kept = [name for name in metrics if all(name in frame for frame in frames)]
    return {name: Scores.stack([frame[name] for frame in frames], name, seeds=seeds) for name in kept}


def is_closed_form(run: RunFolder) -> bool:
    """Returns whether a run is of a model that is solved, so that no seed would change it."""
    found = run.metrics().get("closed_form")
    return run.closed_form() is not None if found is None else bool(found)


def is_accuracy(metric: str) -> bool:
    """Returns whether a column is an accuracy metric: of others, more is not simply better, and none is marked."""
    try:
        MetricAt.parse(metric)
    except ValueError:
        return False
    return True


def against(
    base: ByMetric, others: Mapping[str, ByMetric], *, correction: str, test: str = "t"
) -> dict[str, dict[str, tuple[Comparison, float]]]:
    """Compares models with a reference on every metric.

    Args:
        base: The reference.
        others: The models, by label.
        correction: How p-values are corrected for the number of models in a column.
        test: A key of ``graphrec.evaluation.significance.TESTS``.

    Returns:
        The comparison and its corrected p-value, by label and metric, where both have values per user.
    """
    pairs = [(label, name) for label, found in others.items() for name in found if name in base]
    scores = [(others[label][name], base[name]) for label, name in pairs]
    compared = compare_scores(scores, [name for _, name in pairs], test=test)
    result: dict[str, dict[str, tuple[Comparison, float]]] = {label: {} for label in others}
    for metric in dict.fromkeys(name for _, name in pairs):
        column = [(label, one) for (label, name), one in zip(pairs, compared, strict=True) if name == metric]
        p_values = corrected([one.p_value for _, one in column], correction)
        for (label, one), p_value in zip(column, p_values, strict=True):
            result[label][metric] = one, float(p_value)
    return result


def contest(
    metric: str, means: Mapping[str, float], scores: Mapping[str, ByMetric], *, correction: str, test: str = "t"
) -> Contest | None:
    """Tests the best of a column against every other model.

    Args:
        metric: The column.
        means: The mean of every model, by label.
        scores: Their values per user.
        correction: How p-values are corrected for the number of the other models.
        test: A key of ``graphrec.evaluation.significance.TESTS``.

    Returns:
        None where nobody can win: fewer than two models, no accuracy metric, or values per user are missing.
    """
    if len(means) < 2 or not is_accuracy(metric) or any(metric not in scores[label] for label in means):
        return None
    best = max(means, key=lambda label: means[label])
    one = scores[best][metric]
    others = [label for label in means if label != best]
    tested = [Differences.between(one, scores[label][metric].aligned(one.users, metric)) for label in others]
    p_values = corrected([_p_of_best(sample, test) for sample in tested], correction)
    single = tuple(label for label in means if len(scores[label][metric].seeds) == 1)
    return Contest(best, dict(zip(others, map(float, p_values), strict=True)), single)


def _p_of_best(sample: Differences, test: str) -> float:
    """Returns the p-value of a difference, 1 where its mean does not say that the first is better.

    A test that is not of the mean also needs the interval of the mean on its side.
    """
    least = 0.0 if test == "t" else components(sample).quantile((1 + CONFIDENCE) / 2)
    if not sample.mean > least or not agrees(test, sample):
        return 1.0
    return p_value_by(test, sample)


def interval(scores: Scores, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Returns the t interval of a mean over users and seeds; both ends NaN where there are less than two users."""
    known = np.isfinite(scores.values).all(axis=0)
    if known.sum() < 2:
        return math.nan, math.nan
    sample = Differences((scores.values[:, known],))
    half = components(sample).quantile((1 + confidence) / 2)
    return sample.mean - half, sample.mean + half
