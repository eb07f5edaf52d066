import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from graphrec.evaluation.popularity import (
    HEAD,
    MID,
    TAIL,
    miscalibration,
    novelty,
    popularity_groups,
    popularity_lift,
    self_information,
)
from tests.reference import beyond as slow


@given(st.lists(st.integers(0, 8), min_size=1, max_size=15))
@settings(max_examples=200, deadline=None)
def test_popularity_groups_equal_their_slow_version(degree):
    assert popularity_groups(np.array(degree)).tolist() == [slow.group_of(item, degree) for item in range(len(degree))]


def test_head_and_tail_hold_the_share_of_the_interactions_that_they_are_named_after():
    degree = np.random.default_rng(0).zipf(1.6, 2000).clip(max=200)
    groups = popularity_groups(degree)
    shares = [degree[groups == group].sum() / degree.sum() for group in (HEAD, MID, TAIL)]
    assert shares == pytest.approx([0.2, 0.6, 0.2], abs=0.02)
    assert degree[groups == HEAD].min() >= degree[groups == MID].max()
    assert degree[groups == MID].min() >= degree[groups == TAIL].max()
    assert set(popularity_groups(degree, head=0.8)) == {HEAD, TAIL}


@pytest.mark.parametrize("shares", [{"head": 0.9}, {"tail": -0.1}])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match=r"head \+ tail <= 1"):
        popularity_groups(np.ones(3, np.int64), **shares)


def test_a_cold_item_counts_as_if_one_user_had_it():
    assert self_information(np.array([0, 1, 4, 8]), 8).tolist() == [3.0, 3.0, 1.0, 0.0]
    assert np.isnan(novelty(np.array([[-1, -1]]), np.array([1]), 8)).all()


def test_a_list_like_the_profile_has_no_lift_and_is_calibrated():
    profiles = sp.csr_array(np.array([[1, 1, 0, 0]]))
    degree = np.array([6, 2, 6, 2])
    items = np.array([[2, 3]])
    assert popularity_lift(items, profiles, degree).tolist() == [0.0]
    assert miscalibration(items, profiles, np.array([0, 1, 0, 1])).tolist() == [0.0]


def test_miscalibration_equals_scipy_and_stays_in_its_range():
    rng = np.random.default_rng(0)
    profiles = sp.csr_array((rng.random((25, 40)) < 0.3).astype(np.float32))
    items = np.stack([rng.permutation(40)[:10] for _ in range(25)])
    groups = rng.integers(0, 4, 40)
    found = miscalibration(items, profiles, groups, alpha=0.1)
    for user in range(25):
        liked = np.bincount(groups[profiles[[user]].indices], minlength=4)
        given = np.bincount(groups[items[user]], minlength=4)
        wanted = liked / liked.sum()
        expected = stats.entropy(wanted, 0.9 * given / 10 + 0.1 * wanted)
        assert found[user] == pytest.approx(expected, rel=1e-9)
    assert (found >= 0).all()
    assert (found <= -np.log(0.1)).all()


def test_a_list_of_nothing_that_the_profile_holds_is_as_far_as_can_be():
    profiles = sp.csr_array(np.array([[1, 0]]))
    assert miscalibration(np.array([[1]]), profiles, np.array([0, 1])).tolist() == [pytest.approx(-np.log(0.01))]


def test_items_without_a_group_say_nothing():
    profiles = sp.csr_array(np.array([[1, 1, 0], [0, 1, 0]]))
    found = miscalibration(np.array([[2, 1], [2, 1]]), profiles, np.array([0, -1, 0]))
    assert found[0] == 0.0
    assert np.isnan(found[1])
    assert np.isnan(miscalibration(np.array([[2]]), profiles[:1], np.full(3, -1))).all()
