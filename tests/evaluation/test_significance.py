import numpy as np
import pandas as pd
import pytest
from scipy import stats

from graphrec.data.interactions import Ids
from graphrec.evaluation.differences import Scores, components
from graphrec.evaluation.ranking import Evaluation
from graphrec.evaluation.significance import (
    bootstrap_interval,
    compare,
    compare_scores,
    paired_t,
    sign_flip,
    smallest_detectable,
    wilcoxon,
)


def series(values, ids=None) -> pd.Series:
    return pd.Series(values, index=pd.Index(ids if ids is not None else [f"u{i}" for i in range(len(values))]))


def evaluation(values, rows, names) -> Evaluation:
    frame = pd.DataFrame({"Recall@20": values}, index=pd.Index(rows, name="user"))
    return Evaluation(frame, Ids(names, name="user"))


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    first = rng.random(80).round(1)
    return first, (first - 0.04 + rng.normal(0, 0.15, 80)).round(1)


@pytest.fixture
def seeds(pair) -> tuple[list[pd.Series], list[pd.Series]]:
    rng = np.random.default_rng(4)
    return tuple([series(values + rng.normal(0, 0.05) + rng.normal(0, 0.1, 80)) for _ in range(3)] for values in pair)


def test_with_one_seed_paired_t_and_wilcoxon_equal_scipy_on_pairs(pair):
    first, second = pair
    assert paired_t(first - second) == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-9)
    assert wilcoxon(first - second) == pytest.approx(stats.wilcoxon(first - second).pvalue, rel=1e-9)


def test_paired_t_of_several_seeds_uses_the_variance_components(seeds):
    matrix = np.array(seeds[0]) - np.array(seeds[1])
    found = components(matrix)
    assert paired_t(matrix) == found.tail(abs(matrix.mean()))
    assert paired_t(matrix) > paired_t(matrix.mean(axis=0))


def test_wilcoxon_of_several_seeds_is_the_t_test_of_signed_ranks(seeds):
    matrix = (np.array(seeds[0]) - np.array(seeds[1])).round(1)
    ranks = np.zeros_like(matrix)
    for run in range(3):
        differing = [user for user in range(80) if matrix[run, user] != 0]
        for user, rank in zip(differing, stats.rankdata(np.abs(matrix[run, differing])), strict=True):
            ranks[run, user] = rank * np.sign(matrix[run, user])
    assert wilcoxon(matrix) == pytest.approx(paired_t(ranks))


@pytest.mark.parametrize("test", [paired_t, wilcoxon, sign_flip])
@pytest.mark.parametrize("shape", [5, (3, 5)])
def test_equal_models_have_p_one(test, shape):
    assert test(np.zeros(shape)) == 1.0


def test_the_same_difference_of_all_users_is_as_sure_as_their_signs():
    assert paired_t(np.full((3, 5), 0.25)) == 2 / 2**5
    assert paired_t(np.array([0.4, 0.5, 0.6]) - np.array([0.1, 0.2, 0.3])) == 0.25  # but for rounding the same


def test_smallest_detectable_is_nearly_what_the_noncentral_t_says():
    difference = np.random.default_rng(1).normal(0, 1, 30)
    found = smallest_detectable(difference)
    shift = found / stats.sem(difference)
    power = stats.nct.sf(stats.t.ppf(0.975, 29), 29, shift) + stats.nct.cdf(stats.t.ppf(0.025, 29), 29, shift)
    assert power == pytest.approx(0.8, abs=0.01)
    assert smallest_detectable(difference, power=0.9) > found
    assert smallest_detectable(difference, level=0.1) < found


def test_compare_series(pair):
    first, second = pair
    result = compare(series(first), series(second), "recall@20", rounds=500)
    assert (result.metric, result.num_users, result.test, result.confidence) == ("Recall@20", 80, "t", 0.95)
    assert (result.seeds, result.is_paired, result.covers_training) == ((1, 1), True, False)
    assert result.difference == pytest.approx(first.mean() - second.mean())
    assert result.first - result.second == pytest.approx(result.difference)
    assert result.low < result.difference < result.high
    assert result.p_value == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert result.error == pytest.approx(stats.sem(first - second))
    assert result.effect == pytest.approx((first - second).mean() / (first - second).std(ddof=1))
    assert result.detectable == pytest.approx(smallest_detectable(first - second))


def test_compare_pairs_users_and_seeds(seeds):
    matrix = np.array(seeds[0]) - np.array(seeds[1])
    result = compare(*seeds, "mrr@5", rounds=200)
    assert (result.num_users, result.seeds, result.is_paired, result.covers_training) == (80, (3, 3), True, True)
    assert result.p_value == paired_t(matrix)
    assert (result.low, result.high) == bootstrap_interval(matrix, rounds=200)
    assert result.effect == pytest.approx(matrix.mean() / np.sqrt(components(matrix).single))


@pytest.mark.parametrize(
    ("first", "second", "counts", "paired", "covered"),
    [
        (3, None, (3, 0), False, True),
        (None, 1, (0, 1), False, False),
        (1, 1, (1, 1), True, False),
        (1, 3, (1, 3), False, False),
        (2, 3, (2, 3), False, True),
    ],
)
def test_compare_says_what_it_covers(seeds, first, second, counts, paired, covered):
    chosen = [
        Scores.solved(part[0], "MRR@5") if size is None else part[:size]
        for part, size in zip(seeds, (first, second), strict=True)
    ]
    result = compare(*chosen, "mrr@5", rounds=50)
    assert (result.seeds, result.is_paired, result.covers_training) == (counts, paired, covered)
    assert result.difference == pytest.approx(result.first - result.second)


def test_a_measure_that_some_users_lack_is_compared_on_those_who_have_it_in_both():
    first, second = series([0.5, np.nan, 0.2, 0.6, 0.9]), series([0.1, 0.9, np.nan, 0.3, 0.4])
    found = compare([first], [second], "ILD-image@20", rounds=50)
    assert (found.metric, found.num_users) == ("ILD-image@20", 3)
    assert found.p_value == pytest.approx(stats.ttest_rel([0.5, 0.6, 0.9], [0.1, 0.3, 0.4]).pvalue)


def test_runs_given_by_seed_are_paired_by_it(seeds):
    first = dict(zip((7, 8, 9), seeds[0], strict=True))
    second = dict(zip((9, 7, 8), (seeds[1][2], seeds[1][0], seeds[1][1]), strict=True))
    found = compare(first, second, "mrr@5", rounds=50)
    assert found.is_paired
    assert found.p_value == compare(*seeds, "mrr@5", rounds=50).p_value
    assert not compare(first, seeds[1], "mrr@5", rounds=50).is_paired


@pytest.mark.parametrize(("test", "function"), [("wilcoxon", wilcoxon), ("t", paired_t)])
def test_compare_takes_the_named_test(test, function, pair):
    difference = series(pair[0]) - series(pair[1])
    assert compare(series(pair[0]), series(pair[1]), "ndcg@5", test=test, rounds=50).p_value == function(difference)


def test_compare_hands_rounds_and_seed_to_the_permutation_test(pair):
    result = compare(series(pair[0]), series(pair[1]), "ndcg@5", test="permutation", rounds=300, seed=9)
    assert result.p_value == sign_flip(pair[0] - pair[1], rounds=300, seed=9)


def test_many_comparisons_at_once_are_those_made_one_by_one(seeds, pair):
    first, second = (Scores.of(part, "Recall@20") for part in seeds)
    closed = Scores.solved(series(pair[0]), "Recall@20")
    together = compare_scores([(first, second), (second, closed)], ["Recall@20", "Recall@20"], rounds=100)
    alone = [compare(*both, "recall@20", rounds=100) for both in ((first, second), (second, closed))]
    for one, other in zip(together, alone, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-9)
        assert one.p_value == other.p_value


def test_compare_aligns_by_user_id_not_by_row(pair):
    first, second = series(pair[0]), series(pair[1])
    shuffled = second.sample(frac=1, random_state=0)
    assert compare(first, shuffled, "ndcg@5", rounds=50) == compare(first, second, "ndcg@5", rounds=50)


def test_compare_evaluations_by_external_id():
    first = evaluation([0.1, 0.9, 0.4], [0, 1, 3], ["a", "b", "x", "c"])
    second = evaluation([0.3, 0.2, 0.1], [0, 1, 2], ["c", "a", "b"])
    expected = np.array([0.1 - 0.2, 0.9 - 0.1, 0.4 - 0.3])
    result = compare(first, second, "recall@20", rounds=50)
    assert result.difference == pytest.approx(expected.mean())
    assert result.p_value == pytest.approx(paired_t(expected))


def test_means_are_those_of_the_users_compared():
    result = compare(series([0.5, np.nan, 0.2, 0.6]), series([0.1, 0.9, 0.1, 0.3]), "recall@20", rounds=50)
    assert (result.num_users, result.first, result.second) == pytest.approx((3, 1.3 / 3, 0.5 / 3))


def test_other_users_are_refused_by_name():
    with pytest.raises(ValueError, match=r"same 3 users.*1 missing and 1 unexpected.*'c', 'd'"):
        compare(series([1, 2, 3], ["a", "b", "c"]), series([1, 2, 3], ["a", "b", "d"]), "recall@20")


def test_missing_metric_test_and_runs_are_refused(seeds):
    one = evaluation([0.1, 0.2], [0, 1], ["a", "b"])
    with pytest.raises(ValueError, match="unknown metric 'Recall@10': did you mean 'Recall@20'"):
        compare(one, one, "recall@10")
    with pytest.raises(ValueError, match="unknown test 'wilcoxn': did you mean 'wilcoxon'"):
        compare(one, one, "recall@20", test="wilcoxn")
    with pytest.raises(ValueError, match="at least one run"):
        compare([], one, "recall@20")
    with pytest.raises(ValueError, match="same seeds for Wilcoxon"):
        compare(seeds[0], seeds[1][:2], "recall@20", test="wilcoxon", rounds=50)
