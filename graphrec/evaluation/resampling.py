"""Resampling of users and seeds: Fisher's randomisation test and the bootstrap interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphrec.evaluation.differences import Components, Differences, components

FloatArray = NDArray[np.float64]
_CHUNK_CELLS = 1 << 22  # random numbers held at once


def sign_flip(differences: ArrayLike | Differences, *, rounds: int = 10_000, seed: int = 0) -> float:
    """Returns the two-sided p-value of the paired randomisation test (Fisher 1935; Smucker et al. 2007).

    Were the two models alike, each user's difference could as well have the other sign. The p-value is the share of
    random sign patterns whose mean is at least as far from 0 as the observed one, that one counted in, so it is
    never below ``1 / (rounds + 1)``.

    Only the signs of users may be flipped: what a training run adds is common to all its users and is not turned by
    them, and the signs of S whole runs have ``2^S`` patterns, too few for S < 6 ever to reach 5 %. So the part of the
    seeds is added to every pattern as a draw from Student's t with S - 1 degrees of freedom times its standard error
    (Fisher's fiducial answer to two unknown variances, known to err on the safe side).

    Args:
        differences: Paired ``(num_users,)`` or ``(num_seeds, num_users)``, or differences with two parts.
        rounds: Random sign patterns.
        seed: Their seed.
    """
    sample = Differences.of(differences)
    values = sample.per_user
    reached = abs(values.sum()) * (1 - 1e-12)  # sums of the same numbers in another order may differ in the last digit
    values = values[values != 0]  # flipping a zero changes nothing
    added = _seed_draws(components(sample), rounds, seed) * sample.num_users
    rng = np.random.default_rng(seed)
    extreme, done = 0, 0
    for size in _chunks(rounds, len(values)):
        signs = rng.integers(0, 2, (size, len(values)), dtype=np.int8).astype(np.float64) * 2 - 1
        extreme += int((np.abs(signs @ values + added[done : done + size]) >= reached).sum())
        done += size
    return (extreme + 1) / (rounds + 1)


def bootstrap_interval(
    differences: ArrayLike | Differences, *, confidence: float = 0.95, rounds: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Returns the bootstrap interval of the mean difference, as ``bootstrap_intervals`` does for several.

    Args:
        differences: Paired ``(num_users,)`` or ``(num_seeds, num_users)``, or differences with two parts.
        confidence: The level, between 0 and 1.
        rounds: Resamples.
        seed: Their seed.

    Raises:
        ValueError: If the level is not between 0 and 1, or ``rounds`` is below 2.
    """
    return bootstrap_intervals([Differences.of(differences)], confidence=confidence, rounds=rounds, seed=seed)[0]


def bootstrap_intervals(
    samples: Sequence[Differences], *, confidence: float = 0.95, rounds: int = 10_000, seed: int = 0
) -> list[tuple[float, float]]:
    """Returns bootstrap intervals of mean differences, users and seeds resampled crossed.

    The pigeonhole bootstrap (Owen 2007, https://doi.org/10.1214/07-AOAS122) draws users and, independently, seeds
    with replacement and weighs a cell by the product of its counts. It counts the noise of a cell three times, and
    percentiles of three or five seeds are far too narrow. So it gives the shape and the variance components give the
    width: the deviations of the resampled means are stretched until their standard deviation, times the normal
    quantile, is the quantile of ``components`` (in the spirit of the expanded percentile interval, Hesterberg 2015,
    https://doi.org/10.1080/00031305.2015.1089789). Of one run and many users it is the percentile interval (Efron
    1979).

    Args:
        samples: Differences; the draws of users are shared by those with the same number of users.
        confidence: The level, between 0 and 1.
        rounds: Resamples.
        seed: Their seed; the interval of a sample does not depend on the others.

    Raises:
        ValueError: If the level is not between 0 and 1, or ``rounds`` is below 2.
    """
    if not 0 < confidence < 1 or rounds < 2:
        raise ValueError(f"expected 0 < confidence < 1 and rounds >= 2, got {confidence} and {rounds}")
    found: dict[int, tuple[float, float]] = {}
    for size in sorted({sample.num_users for sample in samples}):
        group = [place for place, sample in enumerate(samples) if sample.num_users == size]
        by_run = _run_means([samples[place] for place in group], rounds, seed)
        for place, means in zip(group, by_run, strict=True):
            found[place] = _interval(samples[place], _weighted(means, rounds, seed), confidence)
    return [found[place] for place in range(len(samples))]


def _run_means(samples: Sequence[Differences], rounds: int, seed: int) -> list[list[FloatArray]]:
    """Returns, per sample and part, the mean of every run over resampled users ``(num_runs, rounds)``."""
    rows = np.concatenate([part for sample in samples for part in sample.parts])
    size = rows.shape[1]
    means, rng = np.empty((len(rows), rounds)), np.random.default_rng(seed)
    done = 0
    for chunk in _chunks(rounds, size):
        counts = np.stack([np.bincount(rng.integers(0, size, size), minlength=size) for _ in range(chunk)])
        means[:, done : done + chunk] = rows @ counts.T.astype(np.float64) / size
        done += chunk
    ends = np.cumsum([len(part) for sample in samples for part in sample.parts])[:-1]
    pieces = iter(np.split(means, ends))
    return [[next(pieces) for _ in sample.parts] for sample in samples]


def _weighted(means: Sequence[FloatArray], rounds: int, seed: int) -> FloatArray:
    """Returns the mean over resampled runs ``(rounds,)``, summed over parts."""
    rng = np.random.default_rng([seed, 1])
    total = np.zeros(rounds)
    for part in means:
        runs = len(part)
        counts = rng.multinomial(runs, np.full(runs, 1 / runs), rounds)
        total += np.einsum("rs,sr->r", counts, part) / runs
    return total


def _interval(sample: Differences, means: FloatArray, confidence: float) -> tuple[float, float]:
    from scipy import stats

    centre, found = sample.mean, components(sample)
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    spread = float(means.std(ddof=1)) * float(stats.norm.ppf(tails[1]))
    width = found.quantile(tails[1])
    low, high = centre + (np.quantile(means, tails) - means.mean()) * (width / spread if spread > 0 else 0.0)
    return float(low), float(high)


def _seed_draws(found: Components, rounds: int, seed: int) -> FloatArray:
    if found.seeds == 0:
        return np.zeros(rounds)
    return np.random.default_rng([seed, 1]).standard_t(found.seed_freedom, rounds) * np.sqrt(found.seeds)


def _chunks(rounds: int, width: int) -> Iterator[int]:
    size = max(1, _CHUNK_CELLS // max(1, width))
    for start in range(0, rounds, size):
        yield min(size, rounds - start)
