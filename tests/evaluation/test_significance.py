import numpy as np
import pandas as pd
import pytest
from scipy import stats

from graphrec.data.interactions import Ids
from graphrec.evaluation.ranking import Evaluation
from graphrec.evaluation.significance import (
    bootstrap_interval,
    compare,
    holm,
    paired_t,
    per_user,
    sign_flip,
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


def test_paired_t_and_wilcoxon_equal_scipy_on_pairs(pair):
    first, second = pair
    assert paired_t(first - second) == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-9)
    assert wilcoxon(first - second) == pytest.approx(stats.wilcoxon(first - second).pvalue, rel=1e-9)


def test_sign_flip_equals_the_exact_test_on_few_users():
    difference = np.array([0.3, 0.1, -0.05, 0.2, 0.0, 0.15, 0.4, -0.1])
    exact = stats.permutation_test((difference,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip(difference, rounds=40_000, seed=1) == pytest.approx(exact, abs=0.005)


def test_sign_flip_counts_the_observed_pattern_and_ties():
    assert sign_flip([0.1, 0.2, 0.3] * 30, rounds=99) == 1 / 100
    assert sign_flip([0.5, -0.5], rounds=50) == 1.0
    assert sign_flip([0.0, 0.0], rounds=50) == 1.0


@pytest.mark.parametrize("test", [paired_t, wilcoxon])
def test_equal_models_have_p_one(test):
    assert test([0.0, 0.0, 0.0]) == 1.0


def test_bootstrap_interval_equals_scipy_up_to_sampling_error(pair):
    difference = pair[0] - pair[1]
    low, high = bootstrap_interval(difference, rounds=20_000, seed=0)
    theirs = stats.bootstrap((difference,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.002)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.002)


def test_bootstrap_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.normal(0.3, 1, 60), confidence=0.9, rounds=300, seed=trial)
        covered += low <= 0.3 <= high
    assert 0.83 <= covered / 200 <= 0.95


def test_resampling_is_seeded_and_independent_of_its_chunks(pair, monkeypatch):
    difference = pair[0] - pair[1]
    whole = bootstrap_interval(difference, seed=4, rounds=500), sign_flip(difference, seed=4, rounds=500)
    assert whole[0] != bootstrap_interval(difference, seed=5, rounds=500)
    assert whole == (bootstrap_interval(difference, seed=4, rounds=500), sign_flip(difference, seed=4, rounds=500))
    monkeypatch.setattr("graphrec.evaluation.significance._CHUNK_CELLS", 80 * 64)
    assert whole[0] == bootstrap_interval(difference, seed=4, rounds=500)


def test_compare_series(pair):
    first, second = pair
    result = compare(series(first), series(second), "recall@20", rounds=500)
    assert (result.metric, result.num_users, result.test, result.confidence) == ("Recall@20", 80, "t", 0.95)
    assert result.difference == pytest.approx(first.mean() - second.mean())
    assert result.first - result.second == pytest.approx(result.difference)
    assert result.low < result.difference < result.high
    assert result.p_value == pytest.approx(stats.ttest_rel(first, second).pvalue)


@pytest.mark.parametrize(("test", "function"), [("wilcoxon", wilcoxon), ("t", paired_t)])
def test_compare_takes_the_named_test(test, function, pair):
    difference = series(pair[0]) - series(pair[1])
    assert compare(series(pair[0]), series(pair[1]), "ndcg@5", test=test, rounds=50).p_value == function(difference)


def test_compare_hands_rounds_and_seed_to_the_permutation_test(pair):
    result = compare(series(pair[0]), series(pair[1]), "ndcg@5", test="permutation", rounds=300, seed=9)
    assert result.p_value == sign_flip(pair[0] - pair[1], rounds=300, seed=9)


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


def test_seeds_are_averaged_per_user_before_the_test(pair):
    seeds = [series(pair[0]), series(pair[0] + 0.2).iloc[::-1]]
    np.testing.assert_allclose(per_user(seeds, "x"), pair[0] + 0.1)
    result = compare(seeds, series(pair[1]), "mrr@5", rounds=50)
    assert result.num_users == 80
    assert result.p_value == pytest.approx(paired_t(pair[0] + 0.1 - pair[1]))


def test_other_users_are_refused_by_name():
    with pytest.raises(ValueError, match=r"same 3 users.*1 missing and 1 unexpected.*'c', 'd'"):
        compare(series([1, 2, 3], ["a", "b", "c"]), series([1, 2, 3], ["a", "b", "d"]), "recall@20")


def test_repeated_users_are_refused():
    with pytest.raises(ValueError, match="repeated ids"):
        compare(series([1, 2], ["a", "a"]), series([1, 2], ["a", "a"]), "recall@20")


def test_missing_metric_test_and_runs_are_refused():
    one = evaluation([0.1, 0.2], [0, 1], ["a", "b"])
    with pytest.raises(ValueError, match="unknown metric 'Recall@10': did you mean 'Recall@20'"):
        compare(one, one, "recall@10")
    with pytest.raises(ValueError, match="unknown test 'wilcoxn': did you mean 'wilcoxon'"):
        compare(one, one, "recall@20", test="wilcoxn")
    with pytest.raises(ValueError, match="at least one run"):
        compare([], one, "recall@20")


@pytest.mark.parametrize("bad", [[0.1], [0.1, np.nan], [[0.1, 0.2]]])
def test_differences_that_cannot_be_tested_are_refused(bad):
    with pytest.raises(ValueError, match="finite differences"):
        paired_t(bad)


@pytest.mark.parametrize(("confidence", "rounds"), [(0.0, 10), (1.0, 10), (0.95, 0)])
def test_bootstrap_bounds(confidence, rounds):
    with pytest.raises(ValueError, match="0 < confidence < 1 and rounds >= 1"):
        bootstrap_interval([0.1, 0.2], confidence=confidence, rounds=rounds)


def test_holm_equals_its_step_down_definition():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.random(rng.integers(1, 8)).round(2)
        level = rng.choice([0.05, 0.2, 0.5])
        rejected = np.zeros(len(p), dtype=bool)
        for step, index in enumerate(np.argsort(p, kind="stable")):
            if p[index] * (len(p) - step) > level:
                break
            rejected[index] = True
        np.testing.assert_array_equal(holm(p) <= level, rejected)


def test_holm_is_monotone_and_capped():
    assert holm([0.6, 0.5]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.1, 1.2])
