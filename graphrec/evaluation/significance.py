"""Paired significance: is one model better than another on the same users, or did chance do it?

All tests take the per-user differences of two models. Smucker, Allan and Carterette (CIKM 2007,
https://doi.org/10.1145/1321440.1321528) find that Student's paired t-test and the randomisation test agree for
retrieval metrics, while Wilcoxon's test answers another question: it looks at ranks, not at the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from graphrec.config import unknown_name
from graphrec.evaluation.metrics import MetricAt
from graphrec.evaluation.ranking import Evaluation

FloatArray = NDArray[np.float64]
Values = Evaluation | pd.Series
_CHUNK_CELLS = 1 << 22  # random numbers held at once


@dataclass(frozen=True)
class Comparison:
    """The paired comparison of two models on one metric.

    Args:
        metric: What was compared, such as ``Recall@20``.
        num_users: The users both were measured on.
        first: Mean of the first model.
        second: Mean of the second model.
        difference: ``first - second``.
        low: Lower end of the bootstrap confidence interval of the difference.
        high: Its upper end.
        confidence: Its level.
        test: ``"t"``, ``"wilcoxon"`` or ``"permutation"``.
        p_value: Two-sided; for several comparisons in one table, correct them with ``holm``.
    """

    metric: str
    num_users: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    confidence: float
    test: str
    p_value: float


def compare(
    first: Values | Sequence[Values],
    second: Values | Sequence[Values],
    metric: str,
    *,
    test: str = "t",
    confidence: float = 0.95,
    rounds: int = 5_000,
    seed: int = 0,
) -> Comparison:
    """Compares two models on the same users.

    Several runs of a model (its seeds) are first averaged per user and then tested: users, not seeds, are the sample.

    Args:
        first: An evaluation, or a series of per-user values indexed by external user id; or one of them per seed.
        second: The same for the other model; the users may come in another order.
        metric: Such as ``"recall@20"``; of series, only the name.
        test: ``"t"``, ``"wilcoxon"`` or ``"permutation"``.
        confidence: Level of the bootstrap interval.
        rounds: Resamples of the bootstrap, and permutations.
        seed: Seed of both.

    Raises:
        ValueError: If the users differ, the metric is missing or the test is unknown.
    """
    label = MetricAt.parse(metric).label
    one, other = per_user(first, label), per_user(second, label)
    difference = (one - _aligned(other, one, label)).to_numpy(dtype=np.float64)
    tests: Mapping[str, Callable[[FloatArray], float]] = {
        "t": paired_t,
        "wilcoxon": wilcoxon,
        "permutation": partial(sign_flip, rounds=rounds, seed=seed),
    }
    if test not in tests:
        raise ValueError(unknown_name(test, tests, kind="test"))
    low, high = bootstrap_interval(difference, confidence=confidence, rounds=rounds, seed=seed)
    return Comparison(
        metric=label,
        num_users=len(difference),
        first=float(one.mean()),
        second=float(other.mean()),
        difference=float(difference.mean()),
        low=low,
        high=high,
        confidence=confidence,
        test=test,
        p_value=tests[test](difference),
    )


def per_user(runs: Values | Sequence[Values], metric: str) -> pd.Series:
    """Returns one value per external user id, averaged over the runs of a model.

    Raises:
        ValueError: If there is no run, the runs differ in their users, or one lacks the metric.
    """
    columns = [_column(run, metric) for run in ([runs] if isinstance(runs, Evaluation | pd.Series) else runs)]
    if not columns:
        raise ValueError(f"expected at least one run with {metric!r}, got none")
    aligned = [_aligned(column, columns[0], metric) for column in columns]
    return pd.Series(np.mean(aligned, axis=0), index=columns[0].index, name=metric)


def paired_t(difference: ArrayLike) -> float:
    """Returns the two-sided p-value of Student's paired t-test; 1 where nothing differs.

    Args:
        difference: First minus second per user ``(num_users,)``, at least two.
    """
    from scipy import stats

    values = _checked(difference)
    return float(stats.ttest_1samp(values, 0.0).pvalue) if values.any() else 1.0


def wilcoxon(difference: ArrayLike) -> float:
    """Returns the two-sided p-value of Wilcoxon's signed-rank test; users without a difference are left out.

    Args:
        difference: First minus second per user ``(num_users,)``, at least two.
    """
    from scipy import stats

    values = _checked(difference)
    return float(stats.wilcoxon(values[values != 0]).pvalue) if values.any() else 1.0


def sign_flip(difference: ArrayLike, *, rounds: int = 10_000, seed: int = 0) -> float:
    """Returns the two-sided p-value of the paired randomisation test (Fisher; Smucker et al. 2007).

    Were the two models alike, each user's difference could as well have the other sign. The p-value is the share of
    random sign patterns whose mean is at least as far from 0 as the observed one, that one counted in, so it is
    never below ``1 / (rounds + 1)``.

    Args:
        difference: First minus second per user ``(num_users,)``, at least two.
        rounds: Random sign patterns.
        seed: Their seed.
    """
    values = _checked(difference)
    values = values[values != 0]  # flipping a zero changes nothing
    rng = np.random.default_rng(seed)
    reached = abs(values.sum()) * (1 - 1e-12)  # sums of the same numbers in another order may differ in the last digit
    extreme = 0
    for size in _chunks(rounds, len(values)):
        signs = rng.integers(0, 2, (size, len(values)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ values) >= reached).sum())
    return (extreme + 1) / (rounds + 1)


def bootstrap_interval(
    difference: ArrayLike, *, confidence: float = 0.95, rounds: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of the mean difference (Efron 1979, https://doi.org/10.1214/aos/1176344552).

    Args:
        difference: First minus second per user ``(num_users,)``, at least two; users are resampled in pairs thereby.
        confidence: The level, between 0 and 1.
        rounds: Resamples.
        seed: Their seed.

    Raises:
        ValueError: If the level is not between 0 and 1, or ``rounds`` is below 1.
    """
    values = _checked(difference)
    if not 0 < confidence < 1 or rounds < 1:
        raise ValueError(f"expected 0 < confidence < 1 and rounds >= 1, got {confidence} and {rounds}")
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(values), (size, len(values))) for size in _chunks(rounds, len(values)))
    means = np.concatenate([values[drawn].mean(axis=1) for drawn in draws])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def holm(p_values: ArrayLike) -> FloatArray:
    """Returns p-values corrected for their number, in the given order (Holm 1979, https://www.jstor.org/stable/4615733).

    Sorted upwards, the i-th of m is multiplied by ``m - i + 1`` and never falls below its predecessor; comparing the
    results with 0.05 keeps the chance of any false claim in the table below 5 %.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]

    Args:
        p_values: One per comparison ``(num_comparisons,)``.

    Raises:
        ValueError: If a value is not between 0 and 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"expected p-values between 0 and 1, got {p_values!r}")
    order = np.argsort(p, kind="stable")
    scaled = np.minimum(p[order] * np.arange(len(p), 0, -1), 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(scaled)
    return adjusted


def _column(run: Values, metric: str) -> pd.Series:
    if isinstance(run, pd.Series):
        column = run
    else:
        frame = run.by_id()
        if metric not in frame:
            raise ValueError(unknown_name(metric, map(str, frame.columns), kind="metric"))
        column = frame[metric]
    if not column.index.is_unique:
        raise ValueError(f"expected one value of {metric!r} per user id, got repeated ids")
    return column


def _aligned(column: pd.Series, reference: pd.Series, metric: str) -> pd.Series:
    if column.index.equals(reference.index):
        return column
    missing = reference.index.difference(column.index, sort=False)
    extra = column.index.difference(reference.index, sort=False)
    if len(missing) or len(extra):
        examples = ", ".join(map(repr, [*missing[:3], *extra[:3]]))
        raise ValueError(
            f"expected {metric!r} of the same {len(reference)} users in both, got {len(column)}: "
            f"{len(missing)} missing and {len(extra)} unexpected, e.g. {examples}; compare runs on the same split"
        )
    return column.reindex(reference.index)


def _checked(difference: ArrayLike) -> FloatArray:
    values = np.asarray(difference, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"expected finite differences (num_users,) of at least 2 users, got shape {values.shape}")
    return values


def _chunks(rounds: int, width: int) -> Iterator[int]:
    size = max(1, _CHUNK_CELLS // max(1, width))
    for start in range(0, rounds, size):
        yield min(size, rounds - start)
