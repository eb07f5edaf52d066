import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from graphrec.evaluation.exposure import (
    coverage,
    entropy,
    exposure,
    exposure_shares,
    fairness_gap,
    gap_p_value,
    gini,
    group_means,
)

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any)


@given(COUNTS)
@settings(deadline=None)
def test_gini_is_half_the_relative_mean_difference(counts):
    difference = np.mean([abs(one - other) for one, other in itertools.product(counts, counts)])
    assert gini(counts) == pytest.approx(difference / (2 * np.mean(counts)), abs=1e-12)
    assert gini(counts) == pytest.approx(gini([3 * count for count in counts][::-1]), abs=1e-12)


@given(COUNTS)
@settings(deadline=None)
def test_entropy_equals_scipy(counts):
    assert entropy(counts) == pytest.approx(stats.entropy(counts, base=2), abs=1e-12)
    assert entropy(counts) >= 0


def test_no_exposure_has_no_shape():
    assert coverage([0, 0]) == 0.0
    assert np.isnan(gini([0, 0]))
    assert np.isnan(entropy([0, 0]))


def test_exposure_counts_lists_and_knows_items_that_are_in_none():
    assert exposure(np.array([[0, 1], [1, -1]], dtype=np.int32), 4).tolist() == [1, 2, 0, 0]
    assert exposure(np.empty((0, 3), np.int32), 2).tolist() == [0, 0]


def test_exposure_shares_of_a_partition_add_up():
    rng = np.random.default_rng(0)
    counts, degree, group = rng.integers(0, 9, 30), rng.integers(0, 9, 30), rng.integers(0, 3, 30)
    found = exposure_shares(counts, degree, {str(name): group == name for name in range(3)})
    assert found[["items", "interactions", "exposure"]].sum().tolist() == pytest.approx([1, 1, 1])
    assert found.loc["1", "interactions"] == degree[group == 1].sum() / degree.sum()
    assert found["num_items"].sum() == 30
    assert exposure_shares(counts * 0, degree, {"0": group == 0})["exposure"].isna().all()


def values(*numbers) -> pd.Series:
    return pd.Series(numbers, index=np.arange(len(numbers)) * 3)


def test_group_means_leave_out_users_without_a_value_or_a_group():
    found = group_means(values(1.0, 2.0, np.nan, 5.0, 7.0), ["a", "a", "a", None, "b"])
    assert found["mean"].to_dict() == {"a": 1.5, "b": 7.0}
    assert found["num_users"].to_dict() == {"a": 2, "b": 1}


def test_small_groups_are_left_out_of_the_gap():
    numbers, groups = values(1.0, 1.0, 3.0, 3.0, 9.0), [0, 0, 1, 1, 2]
    assert fairness_gap(numbers, groups, smallest=2) == 2.0
    assert fairness_gap(numbers, groups, smallest=1) == 8.0
    assert np.isnan(fairness_gap(numbers, groups))
    assert np.isnan(gap_p_value(numbers, groups))


def test_gap_p_value_equals_every_regrouping():
    numbers, groups = values(0.9, 0.8, 0.4, 0.3, 0.1), np.array(["a", "a", "b", "b", "b"])
    observed = fairness_gap(numbers, groups, smallest=1)
    reached = [
        fairness_gap(numbers, groups[list(order)], smallest=1) >= observed - 1e-12
        for order in itertools.permutations(range(5))
    ]
    found = gap_p_value(numbers, groups, smallest=1, rounds=4000, seed=0)
    assert found == pytest.approx(np.mean(reached), abs=0.02)
    assert found == gap_p_value(numbers, groups, smallest=1, rounds=4000, seed=0)


def test_groups_drawn_at_random_are_called_unfair_no_more_often_than_the_level_says():
    rng = np.random.default_rng(0)
    found = [
        gap_p_value(pd.Series(rng.random(60)), rng.integers(0, 3, 60), smallest=5, rounds=99, seed=trial)
        for trial in range(200)
    ]
    assert sum(p <= 0.05 for p in found) <= 20
    unlike = pd.Series(np.r_[rng.random(30), rng.random(30) + 0.5])
    assert gap_p_value(unlike, np.repeat(["a", "b"], 30)) == 1 / 1000


def test_bad_groups_are_refused():
    with pytest.raises(ValueError, match=r"one group per user \(2,\), got \(3,\)"):
        fairness_gap(values(1.0, 2.0), [1, 2, 3])
    with pytest.raises(ValueError, match="rounds >= 1, got 0"):
        gap_p_value(values(1.0, 2.0), [1, 2], rounds=0)
