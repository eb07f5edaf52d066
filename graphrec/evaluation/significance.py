"""Paired significance: is one model better than another, or did the draw of users and seeds do it?

Users and seeds are both samples (``differences``): pairing users alone ignores the variance of training, and calls
the difference of two lucky runs a win. For one run the tests are the usual ones. Smucker, Allan and Carterette (CIKM
2007, https://doi.org/10.1145/1321440.1321528) find that Student's paired t-test and the randomisation test agree for
retrieval metrics, while Wilcoxon's test answers another question: it looks at ranks, not at the mean.

Simulated with crossed normal effects, the t-test at a nominal 5 % errs in 3 to 5 % of cases with three seeds or more
and in up to 7 % with two, where users alone err in up to 90 %; Wilcoxon's reaches 15 % with three seeds that vary ten
times as much as the users. With one seed the variance of training is in no test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from graphrec.config import ConfigError, unknown_name
from graphrec.evaluation.corrections import benjamini_hochberg, corrected, holm
from graphrec.evaluation.differences import Components, Differences, Runs, Scores, components
from graphrec.evaluation.metrics import MetricAt
from graphrec.evaluation.resampling import bootstrap_interval, bootstrap_intervals, sign_flip

__all__ = [
    "LEVEL",
    "POWER",
    "TESTS",
    "Comparison",
    "Scores",
    "benjamini_hochberg",
    "bootstrap_interval",
    "compare",
    "compare_scores",
    "corrected",
    "holm",
    "p_value_by",
    "paired_t",
    "sign_flip",
    "smallest_detectable",
    "wilcoxon",
]

LEVEL = 0.05
POWER = 0.8
ROUNDS = 5_000
TESTS: Mapping[str, str] = MappingProxyType(
    {"t": "paired t-test", "wilcoxon": "Wilcoxon's signed-rank test", "permutation": "Fisher's randomisation test"}
)
"""The tests by name, with what a table calls them."""
ROUNDING = 1e-12  # relative; below it a standard error is nothing but the rounding of equal numbers


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
        seeds: The runs of the first and of the second model; 0 for a model without training.
        is_paired: Whether runs are paired too, both models being trained with the same seeds.
        error: The standard error of the difference, over users and seeds.
        effect: Cohen's d_z: the difference over the standard deviation of one user's difference between single runs,
            all variances counted (Westfall, Kenny and Judd 2014, https://doi.org/10.1037/xge0000014).
        detectable: The smallest true difference that the t-test at 5 % would have found in 4 of 5 such experiments,
            whatever ``test`` is.
        agrees: Whether what the test looks at points the way of the difference: the ranks of Wilcoxon's test need not.
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
    seeds: tuple[int, int]
    is_paired: bool
    error: float
    effect: float
    detectable: float
    agrees: bool = True

    @property
    def covers_training(self) -> bool:
        """Whether the variance of training is in the test: no model is a single run of a trained one."""
        return 1 not in self.seeds


def compare(
    first: Runs | Scores,
    second: Runs | Scores,
    metric: str,
    *,
    test: str = "t",
    confidence: float = 0.95,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Comparison:
    """Compares two models on the same users.

    A model is given as one run, as a list of runs (its seeds are their places), as runs by seed, or as scores:
    ``Scores.solved`` is for a model without training, such as a closed form, which meets every run of the other. Runs
    are paired where both models have the same seeds; other seeds are two independent samples, and a single run beside
    several is taken to vary as they do. Users without a value (NaN) in any of the runs are left out; ``num_users`` says
    how many were compared.

    Args:
        first: Evaluations, or series of per-user values indexed by external user id.
        second: The same for the other model; the users may come in another order.
        metric: Such as ``"recall@20"``; of series, only a name, such as ``"ILD-image@20"``.
        test: ``"t"``, ``"wilcoxon"`` or ``"permutation"``.
        confidence: Level of the bootstrap interval.
        rounds: Resamples of the bootstrap, and permutations.
        seed: Seed of both.

    Raises:
        ValueError: If the users differ, the metric is missing or the test is unknown.
    """
    label = MetricAt.label_of(metric)
    pair = Scores.of(first, label), Scores.of(second, label)
    return compare_scores([pair], [label], test=test, confidence=confidence, rounds=rounds, seed=seed)[0]


def compare_scores(
    pairs: Sequence[tuple[Scores, Scores]],
    metrics: Sequence[str],
    *,
    test: str = "t",
    confidence: float = 0.95,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> list[Comparison]:
    """Compares many pairs, which share the resampled users: far faster than one by one, with the same results.

    Args:
        pairs: The first and the second model of every comparison.
        metrics: What each of them compares.
        test: As in ``compare``.
        confidence: As in ``compare``.
        rounds: As in ``compare``.
        seed: As in ``compare``.

    Raises:
        ValueError: If the users of a pair differ, or the test is unknown.
    """
    check_test(test)
    aligned = [(one, other.aligned(one.users, name)) for (one, other), name in zip(pairs, metrics, strict=True)]
    samples = [Differences.between(one, other) for one, other in aligned]
    intervals = bootstrap_intervals(samples, confidence=confidence, rounds=rounds, seed=seed)
    return [
        _comparison(name, pair, sample, interval, confidence, test, p_value_by(test, sample, rounds=rounds, seed=seed))
        for name, pair, sample, interval in zip(metrics, aligned, samples, intervals, strict=True)
    ]


def check_test(test: str) -> None:
    """Checks that there is a test of that name.

    Raises:
        ConfigError: If there is none.
    """
    if test not in TESTS:
        raise ConfigError(unknown_name(test, TESTS, kind="test"))


def p_value_by(test: str, differences: ArrayLike | Differences, *, rounds: int = ROUNDS, seed: int = 0) -> float:
    """Returns the two-sided p-value of one of ``TESTS``.

    >>> p_value_by("t", [0.0, 0.0])
    1.0

    Args:
        test: ``"t"``, ``"wilcoxon"`` or ``"permutation"``.
        differences: Paired ``(num_users,)`` or ``(num_seeds, num_users)``, or differences with two parts.
        rounds: Permutations.
        seed: Their seed.

    Raises:
        ConfigError: If the test is unknown.
        ValueError: If it needs the same seeds of both models.
    """
    check_test(test)
    if test == "permutation":
        return sign_flip(differences, rounds=rounds, seed=seed)
    return paired_t(differences) if test == "t" else wilcoxon(differences)


def paired_t(differences: ArrayLike | Differences) -> float:
    """Returns the two-sided p-value of the t-test over users and seeds; 1 where nothing differs.

    How often chance alone, by the two variances of ``components``, is as far from 0 as the mean; of one run it is
    Student's paired t-test. Where all users differ by the same, no variance is seen, and the p-value is the least that
    signs can give, ``2 / 2^num_users``.

    Args:
        differences: Paired ``(num_users,)`` or ``(num_seeds, num_users)``, or differences with two parts.
    """
    sample = Differences.of(differences)
    found, distance = components(sample), abs(sample.mean)
    if found.error <= distance * ROUNDING:
        return 1.0 if distance == 0 else 2.0 ** (1 - sample.num_users)
    return found.tail(distance)


def wilcoxon(differences: ArrayLike | Differences) -> float:
    """Returns the two-sided p-value of Wilcoxon's signed-rank test; users without a difference are left out.

    Of several seeds, every run's differences are replaced by their signed ranks, and those go through ``paired_t``
    (the rank transformation of Conover and Iman 1981, https://doi.org/10.1080/00031305.1981.10479327).

    Args:
        differences: Paired ``(num_users,)`` or ``(num_seeds, num_users)``.

    Raises:
        ValueError: If the two models were trained with different seeds: ranks need pairs.
    """
    from scipy import stats

    sample = Differences.of(differences)
    if len(sample.parts) > 1:
        raise ValueError(
            "expected runs with the same seeds for Wilcoxon's test, got different ones; "
            "take the t-test, or the permutation test"
        )
    values = sample.parts[0]
    if not values.any():
        return 1.0
    if len(values) == 1:
        return float(stats.wilcoxon(values[values != 0]).pvalue)
    return paired_t(np.stack([_signed_ranks(run) for run in values]))


def agrees(test: str, differences: ArrayLike | Differences) -> bool:
    """Returns whether what a test looks at points the way of the mean difference.

    Always for tests of the mean. Wilcoxon's looks at ranks, so that a model can be worse for most users and better by
    the mean, which a few users made.

    >>> agrees("t", [-1.0, -1.0, -1.0, 9.0]), agrees("wilcoxon", [-1.0, -1.0, -1.0, 9.0])
    (True, False)

    Args:
        test: A key of ``TESTS``.
        differences: Paired ``(num_users,)`` or ``(num_seeds, num_users)``, or differences with two parts.
    """
    sample = Differences.of(differences)
    if test != "wilcoxon" or len(sample.parts) > 1:
        return True
    ranks = sum(float(_signed_ranks(run).sum()) for run in sample.parts[0])
    return ranks * sample.mean > 0


def smallest_detectable(differences: ArrayLike | Differences, *, level: float = LEVEL, power: float = POWER) -> float:
    """Returns the smallest true difference that the t-test would have found with the given power.

    ``(t_{1 - level / 2} + t_power) * error``, the minimum detectable effect (Bloom 1995,
    https://doi.org/10.1177/0193841X9501900504), with the quantiles of ``components`` in place of Student's: what a test
    that found nothing could have seen.

    Args:
        differences: Paired ``(num_users,)`` or ``(num_seeds, num_users)``, or differences with two parts.
        level: Of the two-sided test, not corrected for other comparisons.
        power: How often such a difference would be found.
    """
    return _detectable(components(differences), level, power)


def _comparison(
    metric: str,
    pair: tuple[Scores, Scores],
    sample: Differences,
    interval: tuple[float, float],
    confidence: float,
    test: str,
    p_value: float,
) -> Comparison:
    found, (one, other) = components(sample), pair
    known = np.isfinite(np.concatenate([one.values, other.values])).all(axis=0)
    return Comparison(
        metric=metric,
        num_users=sample.num_users,
        first=float(one.values[:, known].mean()),
        second=float(other.values[:, known].mean()),
        difference=sample.mean,
        low=interval[0],
        high=interval[1],
        confidence=confidence,
        test=test,
        p_value=p_value,
        seeds=(len(one.seeds), len(other.seeds)),
        is_paired=bool(one.seeds) and set(one.seeds) == set(other.seeds),
        error=found.error,
        effect=sample.mean / float(np.sqrt(found.single)) if found.single > 0 else 0.0,
        detectable=_detectable(found, LEVEL, POWER),
        agrees=agrees(test, sample),
    )


def _detectable(found: Components, level: float, power: float) -> float:
    return found.quantile(1 - level / 2) + found.quantile(power)


def _signed_ranks(run: np.ndarray) -> np.ndarray:
    from scipy import stats

    ranks, differs = np.zeros_like(run), run != 0
    ranks[differs] = np.sign(run[differs]) * stats.rankdata(np.abs(run[differs]))
    return ranks
