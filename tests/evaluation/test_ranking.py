import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from graphrec.evaluation import ranking
from graphrec.evaluation.metrics import METRICS
from graphrec.evaluation.ranking import Scorer, evaluate, rank, top_k
from tests.reference.ranking import Table, by_user, draw, interactions, reference_order

INF = float("inf")
SCORES = st.sampled_from([-INF, -2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 1.0 + 2**-23, 3e38, 1e-40, -1e-40, INF])


@given(
    rows=st.integers(1, 14).flatmap(
        lambda n: st.tuples(
            st.lists(st.lists(SCORES, min_size=n, max_size=n), min_size=1, max_size=5), st.integers(1, n)
        )
    ),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
)
@settings(max_examples=200, deadline=None)
def test_top_k_equals_a_stable_argsort(rows, dtype):
    values, k = rows
    scores = torch.tensor(values, dtype=torch.float64).to(dtype)
    order = np.argsort(-scores.double().numpy(), axis=1, kind="stable")[:, :k]
    top = top_k(scores, k)
    assert top.items.tolist() == order.tolist()
    assert torch.equal(top.values.double(), scores.double().gather(1, torch.from_numpy(order)))


@pytest.mark.parametrize("k", [1, 7, 50, 299, 300])
@pytest.mark.parametrize("levels", [1, 3, 40, 10**6])
def test_top_k_on_counts_like_popularity(k, levels):
    scores = torch.from_numpy(np.random.default_rng(k).integers(0, levels, (40, 300)).astype(np.float32))
    assert torch.equal(top_k(scores, k).items, scores.sort(dim=1, descending=True, stable=True).indices[:, :k])


def test_top_k_takes_integers_exactly():
    scores = torch.tensor([[2**40, 2**40 + 1, 5, 2**40 + 1]])
    assert top_k(scores, 3).items.tolist() == [[1, 3, 0]]


def test_top_k_of_no_rows_is_empty():
    assert top_k(torch.empty(0, 5), 2).items.shape == (0, 2)


def test_top_k_leaves_its_input_alone():
    scores = torch.tensor([[1.0, 1.0, -0.0, 0.0]])
    before = scores.clone()
    top_k(scores, 3)
    assert torch.equal(scores, before)


@pytest.mark.parametrize("k", [0, -1, 5])
def test_top_k_beyond_the_catalogue_is_refused(k):
    with pytest.raises(ValueError, match=f"1 <= k <= 4, the size of the catalogue, got k={k}"):
        top_k(torch.zeros(2, 4), k)


@pytest.mark.parametrize("k", [1, 3, 4])
def test_nan_is_refused_and_its_rows_named(k):
    scores = torch.zeros(6, 4)
    scores[2, 3] = scores[5, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN for 2 of 6 users, user rows: 2, 5;"):
        top_k(scores, k)


def test_nan_names_the_user_rows_not_the_rows_of_the_block():
    scores, train, _, test = draw(0)
    scores[17, 4] = float("nan")
    train = train.take(~((train.user == 17) & (train.item == 4)))
    with pytest.raises(ValueError, match="user rows: 17;"):
        evaluate(Table(scores), seen=train, truth=test, ks=(3,), block_size=6)
    with pytest.raises(ValueError, match="user rows: 17;"):
        rank(Table(scores), [20, 17], 3, seen=train)


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("mask_valid", [False, True])
def test_evaluate_equals_slow_loops(integer, mask_valid):
    scores, train, valid, test = draw(1, integer=integer)
    also = valid if mask_valid else None
    result = evaluate(Table(scores), seen=train, truth=test, ks=(1, 4, 31), also_mask=also, block_size=5)
    banned, truth = by_user(train), by_user(test)
    if mask_valid:
        banned = [one | other for one, other in zip(banned, by_user(valid), strict=True)]
    users = [user for user in range(len(truth)) if truth[user]]
    assert result.frame.index.tolist() == users
    assert {21, 22} <= set(users)
    for user in users:
        ranked = reference_order(scores[user].tolist(), banned[user])
        for k in (1, 4, 31):
            hits = [item in truth[user] for item in ranked[:k]]
            hits = torch.tensor([hits + [False] * (k - len(hits))])
            for name, metric in METRICS.items():
                label = next(c for c in result.frame if c.lower() == f"{name.replace('_', '')}@{k}")
                expected = metric(hits, torch.tensor([len(truth[user])]), k).item()
                assert result.frame.loc[user, label] == pytest.approx(expected, rel=1e-13), (user, label)


def test_mean_is_the_unrounded_mean_over_users_with_test_items():
    train, test = interactions([(0, 0), (1, 1), (2, 2)], 4, 5), interactions([(0, 1), (0, 2), (3, 4)], 4, 5)
    scores = torch.tensor([[9.0, 1, 0, 3, 2], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 2, 3, 4]])
    result = evaluate(Table(scores), seen=train, truth=test, metrics=("recall", "mrr"), ks=(3,))
    assert result.mean() == {"Recall@3": (1 / 2 + 1) / 2, "MRR@3": (1 / 3 + 1) / 2}
    assert list(result.by_id().index) == ["u0", "u3"]
    assert len(result) == 2


def test_columns_follow_the_order_asked_for():
    scores, train, _, test = draw(2)
    result = evaluate(Table(scores), seen=train, truth=test, metrics=("ndcg", "hit_rate"), ks=(20, 5))
    assert list(result.frame) == ["NDCG@20", "NDCG@5", "HitRate@20", "HitRate@5"]


@pytest.mark.parametrize("integer", [False, True])
def test_block_size_changes_nothing(integer, monkeypatch):
    scores, train, _, test = draw(3, integer=integer)
    whole = evaluate(Table(scores), seen=train, truth=test)
    monkeypatch.setattr(ranking, "METRIC_BLOCK", 4)
    for size in (1, 2, 7, 100):
        assert evaluate(Table(scores), seen=train, truth=test, block_size=size).frame.equals(whole.frame)


def test_default_block_holds_a_fixed_number_of_scores(monkeypatch):
    scores, train, _, test = draw(3)
    monkeypatch.setattr(ranking, "BLOCK_CELLS", 31 * 4 + 5)
    scorer = Table(scores)
    evaluate(scorer, seen=train, truth=test)
    assert set(scorer.asked[:-1]) == {4}
    monkeypatch.setattr(ranking, "BLOCK_CELLS", 2)
    rank(scorer, [0, 1], 3, seen=train)
    assert scorer.asked[-2:] == [1, 1]


def test_permuting_users_permutes_the_values():
    scores, train, _, test = draw(4)
    order = np.random.default_rng(0).permutation(len(scores))
    place = np.argsort(order)
    moved = [interactions(np.stack([place[part.user], part.item], axis=1), 23, 31) for part in (train, test)]
    first = evaluate(Table(scores), seen=train, truth=test).frame
    second = evaluate(Table(scores[order]), seen=moved[0], truth=moved[1]).frame
    np.testing.assert_array_equal(second.set_axis(order[second.index]).loc[first.index].to_numpy(), first.to_numpy())


def test_order_and_repeats_of_interactions_do_not_matter():
    scores, train, _, test = draw(5)
    twice = [part.take(np.r_[np.arange(len(part))[::-1], np.arange(len(part))]) for part in (train, test)]
    result = evaluate(Table(scores), seen=twice[0], truth=twice[1])
    assert result.frame.equals(evaluate(Table(scores), seen=train, truth=test).frame)


def test_validation_items_are_ranked_unless_asked_otherwise():
    train, valid, test = (interactions([pair], 1, 4) for pair in ((0, 0), (0, 1), (0, 2)))
    scorer = Table(torch.tensor([[4.0, 3, 2, 1]]))
    arguments = {"seen": train, "truth": test, "metrics": ("mrr",), "ks": (3,)}
    assert evaluate(scorer, **arguments).mean() == {"MRR@3": 1 / 2}
    assert evaluate(scorer, **arguments, also_mask=valid).mean() == {"MRR@3": 1.0}


def test_half_precision_scores_are_compared_exactly():
    scores, train, _, test = draw(6)
    half = scores.bfloat16()
    result = evaluate(Table(half), seen=train, truth=test).frame
    assert result.equals(evaluate(Table(half.float()), seen=train, truth=test).frame)


def test_no_gradient_is_recorded_and_grad_mode_is_left_as_it_was():
    scores, train, _, test = draw(7)
    scores.requires_grad_()
    assert evaluate(Table(scores), seen=train, truth=test).mean()["Recall@10"] > 0
    top = rank(Table(scores), [1, 2], 4, seen=train)
    assert not top.scores.requires_grad
    users = torch.arange(4)
    masks = ranking._selected([train.csr()], users)
    for _ in ranking._blocks(Table(scores), users, 2, masks, None, 2, False, lambda block: block.start):
        assert torch.is_grad_enabled()


class Popularity:
    """Returns one stored row for everyone, as views."""

    def __init__(self, count: Tensor) -> None:
        self.count = count

    def score(self, users: Tensor) -> Tensor:
        return self.count.expand(len(users), -1)


@pytest.mark.parametrize("size", [1, 2, 50])
def test_masking_never_writes_into_a_view_of_the_model(size):
    _, train, _, test = draw(8)
    count = torch.from_numpy(train.item_degree()).float()
    before = count.clone()
    result = evaluate(Popularity(count), seen=train, truth=test, block_size=size)
    assert torch.equal(count, before)
    assert result.frame.equals(evaluate(Table(before.repeat(23, 1)), seen=train, truth=test).frame)


def test_scorer_is_a_protocol():
    assert isinstance(Table(torch.zeros(1, 1)), Scorer)
    assert not isinstance(object(), Scorer)


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("filters", ["none", "candidates", "items", "pairs", "matrix", "both"])
def test_rank_equals_slow_loops(filters, integer):
    scores, train, valid, _ = draw(9, integer=integer)
    candidates, items = [3, 1, 4, 15, 9, 26, 5, 1], [1, 4, 30]
    chosen = {
        "none": {},
        "candidates": {"candidates": candidates},
        "items": {"exclude": np.array(items)},
        "pairs": {"exclude": valid},
        "matrix": {"exclude": valid.csr()},
        "both": {"candidates": torch.tensor(candidates), "exclude": items},
    }[filters]
    users = np.random.default_rng(1).permutation(23)[:9].tolist()
    result = rank(Table(scores), users, 6, seen=train, block_size=4, **chosen)
    assert result.users.tolist() == users
    for row, user in enumerate(users):
        banned = by_user(train)[user] | (by_user(valid)[user] if filters in ("pairs", "matrix") else set())
        banned |= set(items) if filters in ("items", "both") else set()
        banned |= set(range(31)) - set(candidates) if filters in ("candidates", "both") else set()
        expected = reference_order(scores[user].tolist(), banned)[:6]
        padding = 6 - len(expected)
        assert result.items[row].tolist() == expected + [-1] * padding
        assert result.scores[row].tolist() == [scores[user, item].item() for item in expected] + [-INF] * padding


def test_user_with_every_item_seen_gets_only_padding():
    seen = interactions([(0, 0), (0, 1), (0, 2), (1, 0)], 2, 3)
    result = rank(Table(torch.ones(2, 3)), [0, 1], 3, seen=seen)
    assert result.items.tolist() == [[-1, -1, -1], [1, 2, -1]]
    assert result.scores.tolist() == [[-INF] * 3, [1.0, 1.0, -INF]]


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("mask_valid", [False, True])
def test_auc_of_evaluate_equals_sklearn_per_user(integer, mask_valid):
    scores, train, valid, test = draw(15, integer=integer)
    also = {"also_mask": valid} if mask_valid else {}
    result = evaluate(Table(scores), seen=train, truth=test, metrics=("recall", "auc"), ks=(4, 2), block_size=5, **also)
    assert list(result.frame) == ["Recall@4", "Recall@2", "AUC"]
    banned, truth = by_user(train), by_user(test)
    for user in result.frame.index:
        masked = banned[user] | (by_user(valid)[user] if mask_valid else set())
        eligible = [item for item in range(31) if item not in masked]
        expected = roc_auc_score([item in truth[user] for item in eligible], scores[user, eligible])
        assert result.frame.loc[user, "AUC"] == pytest.approx(expected, rel=1e-12)


def test_auc_changes_nothing_else_and_no_block_size_changes_it():
    scores, train, _, test = draw(16, integer=True)
    plain = evaluate(Table(scores), seen=train, truth=test)
    both = evaluate(Table(scores), seen=train, truth=test, metrics=(*METRICS, "auc"))
    assert both.frame.drop(columns="AUC").equals(plain.frame)
    assert np.array_equal(both.lists, plain.lists)
    for size in (1, 7, 100):
        alone = evaluate(Table(scores), seen=train, truth=test, metrics=("auc",), ks=(1,), block_size=size)
        assert alone.frame["AUC"].equals(both.frame["AUC"])


def test_padding_is_never_a_hit():
    # user 1 is padded; the last item of user 0 is a test item, one position before user 1's first
    seen, truth = interactions([(1, 0), (1, 1)], 2, 4), interactions([(0, 3), (1, 2)], 2, 4)
    scores = torch.tensor([[1.0, 2, 3, 0], [0, 0, 1, -INF]])
    result = evaluate(Table(scores), seen=seen, truth=truth, metrics=("precision",), ks=(4,), block_size=2)
    assert result.frame["Precision@4"].tolist() == [0.25, 0.25]


def test_rank_takes_a_matrix_no_users_and_repeated_users():
    scores, train, _, _ = draw(10)
    assert rank(Table(scores), [], 3, seen=train).items.shape == (0, 3)
    twice = rank(Table(scores), torch.tensor([4, 4]), 5, seen=train.csr())
    assert torch.equal(twice.items[0], twice.items[1])
    assert torch.equal(twice.items[0], rank(Table(scores), [4], 5, seen=train).items[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 32}, "1 <= k <= 31, the size of the catalogue, got k=32"),
        ({"k": 0}, "got k=0"),
        ({"users": [0, 23]}, r"user rows in \[0, 23\), got \[0, 23\]"),
        ({"users": [-1]}, r"user rows in \[0, 23\), got \[-1, -1\]"),
        ({"candidates": [31]}, r"candidate item rows in \[0, 31\)"),
        ({"exclude": [-1]}, r"excluded item rows in \[0, 31\)"),
        ({"exclude": sp.csr_array((23, 30))}, r"shape \(23, 31\) \(users, items\), got \(23, 30\)"),
        ({"block_size": 0}, "block_size >= 1, got 0"),
    ],
)
def test_rank_refuses_bad_input(arguments, message):
    scores, train, _, _ = draw(11)
    with pytest.raises(ValueError, match=message):
        rank(**{"scorer": Table(scores), "users": [0, 1], "k": 3, "seen": train} | arguments)


def test_evaluate_refuses_bad_input():
    scores, train, valid, test = draw(12)
    scorer = Table(scores)
    with pytest.raises(ValueError, match="empty split"):
        evaluate(scorer, seen=train, truth=test.take(np.zeros(0, np.int64)))
    with pytest.raises(ValueError, match="k=32"):
        evaluate(scorer, seen=train, truth=test, ks=(10, 32))
    with pytest.raises(ValueError, match="unknown metric 'recal': did you mean 'recall'"):
        evaluate(scorer, seen=train, truth=test, metrics=("recal",))
    with pytest.raises(ValueError, match="at least one metric"):
        evaluate(scorer, seen=train, truth=test, ks=())
    with pytest.raises(ValueError, match="expected seen and truth to be disjoint"):
        evaluate(scorer, seen=train, truth=train)
    with pytest.raises(ValueError, match="expected also_mask and truth to be disjoint"):
        evaluate(scorer, seen=train, truth=valid, also_mask=valid)
    with pytest.raises(ValueError, match=r"scores of shape \(\d+, 31\), got \(\d+, 30\)"):
        evaluate(Table(scores[:, :30]), seen=train, truth=test)
    assert scorer.asked == []


@pytest.mark.gpu
@pytest.mark.parametrize("integer", [False, True])
def test_gpu_equals_cpu(integer):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    scores, train, valid, test = draw(14, integer=integer)
    chosen = {"seen": train, "truth": test, "metrics": (*METRICS, "auc")}
    expected = evaluate(Table(scores), **chosen).frame
    for device in ("cpu", "cuda"):
        assert evaluate(Table(scores.cuda()), **chosen, device=device, block_size=7).frame.equals(expected)
    chosen = {"seen": train, "exclude": valid, "candidates": range(3, 20)}
    result, ours = (rank(Table(table), [5, 2], 6, **chosen) for table in (scores, scores.cuda()))
    assert ours.items.is_cuda
    assert torch.equal(ours.items.cpu(), result.items)
