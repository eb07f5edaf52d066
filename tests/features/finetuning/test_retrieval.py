import numpy as np
import pytest
from scipy.stats import wilcoxon

from graphrec.features.finetuning.retrieval import compare_ranks, ranks, retrieval, summary


def slow_ranks(first, second, same=()):
    """Returns the ranks by sorting every query's candidates, one query at a time."""
    found = []
    for row, query in enumerate(first):
        cosines = [float(query @ other) / np.linalg.norm(query) / np.linalg.norm(other) for other in second]
        rivals = [k for k in range(len(second)) if k == row or not any(label[k] == label[row] for label in same)]
        order = sorted(rivals, key=lambda k: (-round(cosines[k], 9), k))
        found.append(1 + order.index(row))
    return found


def vectors(seed, rows=40, dim=6):
    generator = np.random.default_rng(seed)
    first = generator.normal(size=(rows, dim))
    return first, first + generator.normal(size=(rows, dim))


@pytest.mark.parametrize("block", [1, 7, 40, 1000])
def test_ranks_equal_a_sort_of_every_query_whatever_the_block(block):
    first, second = vectors(0)
    assert ranks(first, second, block=block).tolist() == slow_ranks(first, second)


def test_the_length_of_a_vector_does_not_matter():
    first, second = vectors(1)
    lengths = np.random.default_rng(2).uniform(0.1, 10, (len(first), 1))
    np.testing.assert_array_equal(ranks(first * lengths, second * lengths[::-1]), ranks(first, second))


@pytest.mark.parametrize("block", [2, 3, 100])
def test_of_equal_scores_the_lower_row_comes_first(block):
    equal = np.tile(np.random.default_rng(0).normal(size=6), (10, 1))
    assert ranks(equal, equal, block=block).tolist() == list(range(1, 11))


def test_items_that_are_not_told_apart_do_not_count_against_each_other():
    first, second = vectors(3)
    pictures, words = (np.random.default_rng(seed).integers(0, 10, len(first)) for seed in (4, 5))
    found = ranks(first, second, same=(pictures, words), block=9)
    assert found.tolist() == slow_ranks(first, second, (pictures, words))
    assert (found <= ranks(first, second)).all()
    assert ranks(first, second, same=(np.zeros(len(first)),)).tolist() == [1] * len(first)


def test_a_vector_of_zeros_is_like_nothing():
    assert ranks(np.zeros((3, 2)), np.eye(3)[:, :2]).tolist() == [1, 2, 3]


def test_the_measures_are_those_worked_out_by_hand():
    # the first item's counterpart is ranked first, the second's second and the third's second
    first = np.eye(3)
    second = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 2.0], [0.0, 2.0, 1.0]])
    expected = {"recall@1": 1 / 3, "recall@2": 1.0, "mrr": (1 + 1 / 2 + 1 / 2) / 3, "median_rank": 2.0}
    assert retrieval(first, second, ks=(1, 2))["forward"] == pytest.approx(expected)


def test_the_two_directions_are_each_others_mirror():
    first, second = vectors(6)
    there, back = retrieval(first, second), retrieval(second, first)
    assert there["forward"] == back["backward"]
    assert there["backward"] == back["forward"]
    assert there["forward"] != there["backward"]


def test_vectors_of_equal_items_find_each_other():
    first, _ = vectors(7)
    perfect = {"recall@1": 1.0, "recall@5": 1.0, "recall@10": 1.0, "mrr": 1.0, "median_rank": 1.0}
    assert retrieval(first, first) == {"forward": perfect, "backward": perfect}


def test_random_vectors_have_the_recall_of_chance():
    generator = np.random.default_rng(8)
    first, second = generator.normal(size=(2, 2000, 8))
    assert retrieval(first, second, ks=(100,))["forward"]["recall@100"] == pytest.approx(0.05, abs=0.02)


def test_the_paired_test_is_wilcoxons_on_the_items_that_moved():
    generator = np.random.default_rng(9)
    before = generator.integers(1, 100, 60)
    after = np.maximum(1, before - generator.integers(-5, 15, 60))
    after[:10] = before[:10]
    found = compare_ranks(before, after)
    moved = before != after
    assert found["p_value"] == wilcoxon(before[moved], after[moved]).pvalue
    assert found["better"] == (after < before).sum()
    assert found["worse"] == (after > before).sum()
    assert found["better"] + found["worse"] + found["equal"] == 60


def test_unchanged_ranks_are_no_evidence():
    assert compare_ranks(np.arange(1, 5), np.arange(1, 5)) == {"better": 0, "worse": 0, "equal": 4, "p_value": 1.0}


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: ranks(np.eye(3), np.eye(2)), "same shape"),
        (lambda: ranks(np.ones(3), np.ones(3)), "same shape"),
        (lambda: ranks(np.full((2, 2), np.nan), np.eye(2)), "finite"),
        (lambda: ranks(np.eye(2), np.eye(2), same=(np.zeros(3),)), "2 labels"),
        (lambda: retrieval(np.empty((0, 2)), np.empty((0, 2))), "got none"),
        (lambda: summary(np.empty(0, np.int64)), "got none"),
        (lambda: compare_ranks(np.ones(2), np.ones(3)), "same items"),
    ],
)
def test_bad_input_is_a_clear_error(call, reason):
    with pytest.raises(ValueError, match=reason):
        call()
