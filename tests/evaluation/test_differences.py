"""Where a difference varies: the variance components against loops over the cells."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from graphrec.evaluation.differences import Components, Differences, Scores, components


def series(values, ids=None) -> pd.Series:
    return pd.Series(values, index=pd.Index(ids if ids is not None else [f"u{i}" for i in range(len(values))]))


def mean_squares(matrix):
    """Returns MS of users, of seeds and of what is left, by loops."""
    seeds, users = matrix.shape
    mean = sum(matrix[s, u] for s in range(seeds) for u in range(users)) / matrix.size
    by_user = [sum(matrix[s, u] for s in range(seeds)) / seeds for u in range(users)]
    by_seed = [sum(matrix[s, u] for u in range(users)) / users for s in range(seeds)]
    left = [matrix[s, u] - by_user[u] - by_seed[s] + mean for s in range(seeds) for u in range(users)]
    return (
        seeds * sum((value - mean) ** 2 for value in by_user) / (users - 1),
        users * sum((value - mean) ** 2 for value in by_seed) / (seeds - 1),
        sum(value**2 for value in left) / ((users - 1) * (seeds - 1)),
    )


@pytest.fixture
def matrix():
    rng = np.random.default_rng(4)
    return rng.normal(0, 1, (1, 12)) + rng.normal(0, 0.8, (4, 1)) + rng.normal(0, 0.5, (4, 12)) + 0.2


def test_components_are_those_of_the_mean_squares(matrix):
    users, seeds, left = mean_squares(matrix)
    found = components(matrix)
    variance = (users + seeds - left) / 48
    assert found.error**2 == pytest.approx(variance)
    assert found.seeds == pytest.approx((seeds - left) / 48)
    assert found.single == pytest.approx((users - left) / 4 + (seeds - left) / 12 + left)
    assert (found.user_freedom, found.seed_freedom) == pytest.approx((11, 3))


def test_a_negative_part_of_the_seeds_is_cut(matrix):
    equal = matrix - matrix.mean(axis=1, keepdims=True)
    found = components(equal)
    assert found.seeds == 0
    assert found.error == pytest.approx(stats.sem(equal.mean(axis=0)))


def test_chance_is_the_sum_of_two_t_distributions():
    found = Components(users=1.0, seeds=0.5, user_freedom=9, seed_freedom=2, single=1.0)
    rng = np.random.default_rng(0)
    drawn = np.abs(rng.standard_t(9, 1_000_000) + np.sqrt(0.5) * rng.standard_t(2, 1_000_000))
    for distance in (0.1, 1.0, 3.0, 10.0):
        assert found.tail(distance) == pytest.approx((drawn >= distance).mean(), abs=0.002)
    assert found.quantile(0.975) == pytest.approx(np.quantile(drawn, 0.95), rel=0.01)
    assert found.quantile(0.5) == pytest.approx(0.0, abs=1e-9)


def test_the_quantile_is_that_of_the_tables_of_behrens_and_fisher():
    """Six degrees of freedom in both and equal variances: 2.435 (Fisher and Yates, Statistical Tables, VI)."""
    found = Components(users=0.5, seeds=0.5, user_freedom=6, seed_freedom=6, single=1.0)
    assert found.quantile(0.975) == pytest.approx(2.435, abs=0.0015)


@pytest.mark.parametrize(("users", "seeds", "freedom"), [(4.0, 0.0, 9), (0.0, 4.0, 2), (1e-9, 4.0, 2), (4.0, 1e-9, 9)])
def test_one_variance_alone_gives_students_t(users, seeds, freedom):
    found = Components(users, seeds, user_freedom=9, seed_freedom=2, single=1.0)
    assert found.tail(3.0) == pytest.approx(2 * stats.t.sf(1.5, freedom), rel=1e-4)
    assert found.quantile(0.9) == pytest.approx(2 * stats.t.ppf(0.9, freedom), rel=1e-4)


def test_one_seed_leaves_the_variance_over_users(matrix):
    found = components(matrix[0])
    assert (found.error, found.user_freedom) == pytest.approx((stats.sem(matrix[0]), 11))
    assert found.single == pytest.approx(matrix[0].var(ddof=1))
    assert found.seeds == 0


def test_two_parts_add_the_variances_of_their_seeds(matrix):
    other = np.random.default_rng(5).normal(0, 1, (3, 12))
    found = components(Differences((matrix, -other)))
    part = [(seeds - left) / size for _, seeds, left, size in ((*mean_squares(m), m.size) for m in (matrix, other))]
    users = stats.sem(matrix.mean(axis=0) - other.mean(axis=0)) ** 2
    assert found.error**2 == pytest.approx(users + sum(max(0, value) for value in part))


def test_a_single_trained_run_is_taken_to_vary_as_the_runs_beside_it(matrix):
    single = np.random.default_rng(6).normal(0, 1, 12)
    alone = components(Differences((matrix, -single[None])))
    _, seeds, left = mean_squares(matrix)
    assert alone.seeds == pytest.approx((seeds - left) / 48 * 5)  # of four runs a quarter, of one the whole
    assert alone.seeds > components(matrix - single).seeds


def test_components_do_not_depend_on_the_unit(matrix):
    small, large = components(matrix), components(matrix * 1000)
    assert large.error == pytest.approx(small.error * 1000)
    assert large.tail(1000) == pytest.approx(small.tail(1))


def test_nothing_varies_where_all_is_equal():
    found = components(np.full((3, 4), 0.25))
    assert (found.error, found.single) == (0, 0)
    assert (found.tail(0.1), found.quantile(0.975)) == (0, 0)


def test_runs_are_paired_by_seed_whatever_their_order():
    rng = np.random.default_rng(7)
    first, second = rng.random((3, 5)), rng.random((3, 5))
    one = Scores.of({4: series(first[0]), 1: series(first[1]), 2: series(first[2])}, "x")
    other = Scores.of({1: series(second[1]), 2: series(second[2]), 4: series(second[0])}, "x")
    (found,) = Differences.between(one, other).parts
    np.testing.assert_array_equal(found, first - second)


def test_a_model_without_training_meets_every_run():
    rng = np.random.default_rng(8)
    runs, closed = rng.random((3, 5)), rng.random(5)
    one, other = Scores.of([series(run) for run in runs], "x"), Scores.solved(series(closed), "x")
    np.testing.assert_array_equal(Differences.between(one, other).parts[0], runs - closed)
    np.testing.assert_array_equal(Differences.between(other, one).parts[0], closed - runs)
    assert (one.seeds, other.seeds) == ((0, 1, 2), ())


@pytest.mark.parametrize("seeds", [(0, 1), (0, 1, 3), (0, 1, 2, 3)])
def test_other_seeds_are_two_samples(seeds):
    rng = np.random.default_rng(9)
    one = Scores.of([series(row) for row in rng.random((3, 5))], "x")
    other = Scores.of({seed: series(rng.random(5)) for seed in seeds}, "x")
    found = Differences.between(one, other)
    assert [len(part) for part in found.parts] == [3, len(seeds)]
    assert found.mean == pytest.approx(one.values.mean() - other.values.mean())


def test_users_without_a_value_are_left_out():
    one, other = series([0.5, np.nan, 0.25, 1.0]), series([0.0, 0.5, np.nan, 0.5])
    found = Differences.between(Scores.of(one, "x"), Scores.of(other, "x"))
    assert found.parts[0].tolist() == [[0.5, 0.5]]
    with pytest.raises(ValueError, match="at least 2 users with values in every run"):
        Differences.between(Scores.of(one, "x"), Scores.of(other.shift(3), "x"))


def test_users_are_aligned_by_id():
    runs = [series([1.0, 2.0, 3.0], ["a", "b", "c"]), series([6.0, 4.0, 5.0], ["c", "a", "b"])]
    found = Scores.of(runs, "x")
    assert found.values.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found.aligned(pd.Index(["b", "c", "a"]), "x").values.tolist() == [[2, 3, 1], [5, 6, 4]]


def test_other_repeated_and_missing_users_are_refused():
    with pytest.raises(ValueError, match=r"same 3 users.*1 missing and 1 unexpected.*'c', 'd'"):
        Scores.of([series([1, 2, 3], ["a", "b", "c"]), series([1, 2, 3], ["a", "b", "d"])], "x")
    with pytest.raises(ValueError, match="repeated ids"):
        Scores.of(series([1, 2], ["a", "a"]), "x")
    with pytest.raises(ValueError, match="at least one run"):
        Scores.of([], "x")


@pytest.mark.parametrize("bad", [[0.1], [0.1, np.nan], [[0.1], [0.2]], [[[0.1, 0.2]]], np.zeros((0, 4))])
def test_differences_that_cannot_be_tested_are_refused(bad):
    with pytest.raises(ValueError, match="finite differences"):
        Differences.of(bad)
