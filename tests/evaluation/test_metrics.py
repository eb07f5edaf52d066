import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from graphrec.evaluation.metrics import METRICS, MetricAt, auc, ndcg, recall


def slow(name: str, hits: list[bool], relevant: int, k: int) -> float:
    """The definitions, rank by rank."""
    top = hits[:k]
    if name == "recall":
        return sum(top) / relevant
    if name == "precision":
        return sum(top) / k
    if name == "hit_rate":
        return float(any(top))
    if name == "mrr":
        return next((1 / rank for rank, hit in enumerate(top, 1) if hit), 0.0)
    if name == "map":
        return sum(sum(top[:rank]) / rank for rank, hit in enumerate(top, 1) if hit) / relevant
    gain = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(top, 1) if hit)
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(k, relevant) + 1))


@pytest.fixture(scope="module")
def grid() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    hits = rng.random((60, 12)) < rng.uniform(0, 0.8, (60, 1))
    hits[0], hits[1] = False, True
    relevant = np.maximum(hits.sum(axis=1) + rng.integers(0, 15, 60), 1)
    return torch.from_numpy(hits), torch.from_numpy(relevant)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("k", [1, 3, 12])
def test_metric_equals_its_slow_definition(name, k, grid):
    hits, relevant = grid
    expected = [slow(name, row, int(count), k) for row, count in zip(hits.tolist(), relevant, strict=True)]
    values = METRICS[name](hits, relevant, k)
    assert values.dtype == torch.float64
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_metrics_equal_ranx(ranx, k):
    rng = np.random.default_rng(1)
    num_items, depth = 60, 10
    users = [f"u{user:02d}" for user in range(40)]
    ranked = {user: rng.permutation(num_items)[:depth] for user in users}
    truth = {user: rng.choice(num_items, rng.integers(1, 25), replace=False) for user in users}
    qrels = ranx.Qrels({user: {f"i{item}": 1 for item in truth[user]} for user in users})
    run = ranx.Run({user: {f"i{item}": 1 / (1 + r) for r, item in enumerate(ranked[user])} for user in users})
    hits = torch.from_numpy(np.stack([np.isin(ranked[user], truth[user]) for user in users]))
    relevant = torch.tensor([len(truth[user]) for user in users])
    for name, metric in METRICS.items():
        ranx.evaluate(qrels, run, f"{name}@{k}", return_mean=False)
        theirs = [run.scores[f"{name}@{k}"][user] for user in users]
        np.testing.assert_allclose(metric(hits, relevant, k).numpy(), theirs, rtol=1e-12, atol=1e-15, err_msg=name)


def test_ideal_ranking_is_cut_at_k_but_recall_is_not():
    hits, relevant = torch.ones(1, 2, dtype=torch.bool), torch.tensor([8])
    assert ndcg(hits, relevant, 2).item() == 1.0
    assert recall(hits, relevant, 2).item() == 0.25


@pytest.mark.parametrize("name", METRICS)
def test_user_without_relevant_items_gets_zero(name):
    values = METRICS[name](torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, dtype=torch.int64), 3)
    assert values.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("k", [0, -1, 4])
def test_cut_off_outside_the_ranks_is_refused(k):
    with pytest.raises(ValueError, match=rf"cut-off in \[1, 3\].*k={k}"):
        recall(torch.zeros(2, 3, dtype=torch.bool), torch.ones(2), k)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3,\)"):
        recall(torch.zeros(2, 3, dtype=torch.bool), torch.ones(3), 2)


@pytest.mark.parametrize(
    ("text", "label"),
    [("recall@20", "Recall@20"), ("auc", "AUC"), (" AUC", "AUC"),
     ("NDCG@5", "NDCG@5"), ("HitRate@10", "HitRate@10"), ("hit_rate@1", "HitRate@1"),
     ("map@3", "MAP@3"), ("MRR@3", "MRR@3"), (" precision@7 ", "Precision@7")],
)  # fmt: skip
def test_parse_and_label(text, label):
    metric = MetricAt.parse(text)
    assert metric.label == label
    assert MetricAt.parse(metric.label) == metric


def test_parsed_metric_computes(grid):
    assert torch.equal(MetricAt.parse("ndcg@7")(*grid), ndcg(*grid, 7))


def test_unknown_metric_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"unknown metric 'recal': did you mean 'recall'\?"):
        MetricAt.parse("recal@20")


@pytest.mark.parametrize("text", ["recall", "recall@", "recall@x", "recall@-5", "@"])
def test_metric_without_cut_off_is_refused(text):
    with pytest.raises(ValueError, match="like 'recall@20'"):
        MetricAt.parse(text)


def test_cut_off_zero_is_refused():
    with pytest.raises(ValueError, match="k >= 1 for 'recall', got 0"):
        MetricAt.parse("recall@0")


@pytest.mark.parametrize("text", ["auc@20", "AUC@", "auc@x"])
def test_auc_has_no_cut_off(text):
    with pytest.raises(ValueError, match="cut-off"):
        MetricAt.parse(text)


def test_auc_is_not_computed_from_hits(grid):
    with pytest.raises(ValueError, match="'AUC', which needs the scores"):
        MetricAt("auc")(*grid)


def test_expand_gives_auc_once_and_repeats_nothing():
    found = MetricAt.expand(["ndcg", "auc", "ndcg"], [5, 10, 5])
    assert [metric.label for metric in found] == ["NDCG@5", "NDCG@10", "AUC"]
    with pytest.raises(ValueError, match="unknown metric 'au': did you mean 'auc'"):
        MetricAt.expand(["au"], [5])
    with pytest.raises(ValueError, match="without a cut-off, such as 'recall', got 'Recall@20'"):
        MetricAt.expand(["Recall@20"], [5])


def test_expand_takes_metrics_as_tables_write_them():
    found = MetricAt.expand(["Recall", "HitRate", "AUC", "hit_rate"], [5])
    assert [metric.label for metric in found] == ["Recall@5", "HitRate@5", "AUC"]


def slow_auc(scores, relevant, eligible) -> float:
    """Pair by pair."""
    won = [
        1.0 if scores[one] > scores[other] else 0.5 if scores[one] == scores[other] else 0.0
        for one in range(len(scores))
        for other in range(len(scores))
        if relevant[one] and eligible[other] and not relevant[other]
    ]
    return sum(won) / len(won) if won else 0.5


AUC_SCORES = st.sampled_from([-math.inf, -3.0, -0.0, 0.0, 0.5, 1.0, 1.0 + 2**-23, 3e38, math.inf])
AUC_CELLS = st.tuples(AUC_SCORES, st.sampled_from(["held out", "other", "masked"]))


@given(
    rows=st.integers(1, 9).flatmap(
        lambda width: st.lists(
            st.lists(
                st.tuples(AUC_SCORES, st.sampled_from(["held out", "other", "masked"])), min_size=width, max_size=width
            ),
            min_size=1,
            max_size=6,
        )
    ),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=200, deadline=None)
def test_auc_equals_the_pairs_one_by_one(rows, dtype):
    scores = torch.tensor([[score for score, _ in row] for row in rows], dtype=dtype)
    relevant = torch.tensor([[kind == "held out" for _, kind in row] for row in rows])
    eligible = torch.tensor([[kind != "masked" for _, kind in row] for row in rows])
    expected = [slow_auc(*row) for row in zip(scores.tolist(), relevant.tolist(), eligible.tolist(), strict=True)]
    np.testing.assert_allclose(auc(scores, relevant, eligible).numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("levels", [3, 10**6])
def test_auc_equals_sklearn(levels):
    rng = np.random.default_rng(levels)
    scores = torch.from_numpy(rng.integers(0, levels, (30, 200)).astype(np.float32))
    kind = torch.from_numpy(rng.choice(3, (30, 200), p=[0.2, 0.7, 0.1]))
    values = auc(scores, kind == 2, kind > 0)
    for user in range(30):
        eligible = kind[user] > 0
        expected = roc_auc_score((kind[user] == 2)[eligible], scores[user][eligible])
        assert values[user].item() == pytest.approx(expected, rel=1e-12)


def test_auc_without_a_pair_is_chance():
    scores = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    relevant = torch.tensor([[True, True], [False, False], [True, False]])
    eligible = torch.tensor([[True, True], [True, True], [True, False]])
    assert auc(scores, relevant, eligible).tolist() == [0.5, 0.5, 0.5]
    assert auc(scores[:0], relevant[:0], eligible[:0]).shape == (0,)


def test_auc_leaves_its_scores_alone_and_checks_shapes():
    scores = torch.tensor([[3.0, 1.0, 2.0]])
    mask = torch.tensor([[True, False, False]])
    auc(scores, mask, torch.ones(1, 3, dtype=torch.bool))
    assert scores.tolist() == [[3.0, 1.0, 2.0]]
    with pytest.raises(ValueError, match=r"one shape.*\(1, 3\), \(1, 3\), \(1, 2\)"):
        auc(scores, mask, torch.ones(1, 2, dtype=torch.bool))
