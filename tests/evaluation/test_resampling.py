"""Randomisation and bootstrap against SciPy and against loops that resample cell by cell."""

import numpy as np
import pytest
from scipy import stats

from graphrec.evaluation import resampling
from graphrec.evaluation.differences import Differences, components
from graphrec.evaluation.resampling import bootstrap_interval, bootstrap_intervals, sign_flip


@pytest.fixture
def difference():
    rng = np.random.default_rng(3)
    return (0.04 + rng.normal(0, 0.15, 80)).round(1)


@pytest.fixture
def matrix():
    rng = np.random.default_rng(4)
    return rng.normal(0, 1, (1, 40)) + rng.normal(0, 0.3, (5, 1)) + rng.normal(0, 0.5, (5, 40)) + 0.2


def test_sign_flip_equals_the_exact_test_on_few_users():
    difference = np.array([0.3, 0.1, -0.05, 0.2, 0.0, 0.15, 0.4, -0.1])
    exact = stats.permutation_test((difference,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip(difference, rounds=40_000, seed=1) == pytest.approx(exact, abs=0.005)


def test_sign_flip_counts_the_observed_pattern_and_ties():
    assert sign_flip([0.1, 0.2, 0.3] * 30, rounds=99) == 1 / 100
    assert sign_flip([0.5, -0.5], rounds=50) == 1.0
    assert sign_flip([0.0, 0.0], rounds=50) == 1.0


def test_sign_flip_adds_the_part_of_the_seeds(matrix):
    """The user part is nearly normal: the p-value is that of a normal plus a scaled t, here by numerical sampling."""
    found = components(matrix)
    rng = np.random.default_rng(0)
    users = np.sqrt((matrix.mean(axis=0) ** 2).sum()) / 40 * rng.normal(size=400_000)
    seeds = np.sqrt(found.seeds) * rng.standard_t(4, 400_000)
    expected = (np.abs(users + seeds) >= abs(matrix.mean())).mean()
    assert found.seeds > 0
    assert sign_flip(matrix, rounds=40_000) == pytest.approx(expected, abs=0.01)
    assert sign_flip(matrix, rounds=40_000) > sign_flip(matrix.mean(axis=0), rounds=40_000)


def test_interval_of_one_run_is_the_percentile_interval_up_to_sampling_error(difference):
    low, high = bootstrap_interval(difference, rounds=20_000, seed=0)
    theirs = stats.bootstrap((difference,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.002)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.002)


def test_users_and_seeds_are_resampled_crossed(matrix):
    rng = np.random.default_rng(11)
    slow = [matrix[rng.integers(0, 5, 5)][:, rng.integers(0, 40, 40)].mean() for _ in range(6_000)]
    sample = Differences.of(matrix)
    (means,) = resampling._run_means([sample], 6_000, 0)
    ours = resampling._weighted(means, 6_000, 0)
    assert ours.std() == pytest.approx(np.std(slow), rel=0.05)
    np.testing.assert_allclose(np.quantile(ours, [0.025, 0.975]), np.quantile(slow, [0.025, 0.975]), atol=0.04)


def test_the_width_of_several_runs_is_that_of_the_variance_components(matrix):
    found = components(matrix)
    low, high = bootstrap_interval(matrix, rounds=20_000)
    assert high - low == pytest.approx(2 * found.quantile(0.975), rel=0.05)
    assert low < matrix.mean() < high


def test_two_parts_are_resampled_apart(matrix):
    rng = np.random.default_rng(12)
    other = rng.normal(0, 1, (2, 40))
    slow = [
        (matrix[rng.integers(0, 5, 5)].mean(axis=0) - other[rng.integers(0, 2, 2)].mean(axis=0))[
            rng.integers(0, 40, 40)
        ].mean()
        for _ in range(6_000)
    ]
    (means,) = resampling._run_means([Differences((matrix, -other))], 6_000, 0)
    assert resampling._weighted(means, 6_000, 0).std() == pytest.approx(np.std(slow), rel=0.05)


def test_many_samples_share_draws_without_touching_each_other(matrix, difference):
    samples = [Differences.of(values) for values in (matrix, difference, matrix[:, :9], -matrix)]
    together = bootstrap_intervals(samples, rounds=300, seed=2)
    np.testing.assert_allclose(together, [bootstrap_interval(one, rounds=300, seed=2) for one in samples], rtol=1e-12)
    assert bootstrap_intervals([], rounds=300) == []


def test_an_interval_of_equal_differences_is_a_point():
    assert bootstrap_interval(np.full((3, 10), 0.25), rounds=50) == (0.25, 0.25)


def test_resampling_is_seeded_and_independent_of_its_chunks(matrix, monkeypatch):
    whole = bootstrap_interval(matrix, seed=4, rounds=500), sign_flip(matrix, seed=4, rounds=500)
    assert whole[0] != bootstrap_interval(matrix, seed=5, rounds=500)
    assert whole == (bootstrap_interval(matrix, seed=4, rounds=500), sign_flip(matrix, seed=4, rounds=500))
    monkeypatch.setattr(resampling, "_CHUNK_CELLS", 40 * 64)
    np.testing.assert_allclose(bootstrap_interval(matrix, seed=4, rounds=500), whole[0], rtol=1e-12)


@pytest.mark.parametrize(("confidence", "rounds"), [(0.0, 10), (1.0, 10), (0.95, 1)])
def test_impossible_levels_and_rounds_are_refused(confidence, rounds):
    with pytest.raises(ValueError, match="0 < confidence < 1 and rounds >= 2"):
        bootstrap_interval([0.1, 0.2], confidence=confidence, rounds=rounds)
