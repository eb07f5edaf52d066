import numpy as np
import pytest
import torch

from graphrec.evaluation.ranking import evaluate
from graphrec.evaluation.slices import mean_by_degree, split_by_coldness
from tests.reference.ranking import Table, draw, interactions


def test_mean_by_degree():
    train = interactions([(1, 0)] + [(2, i) for i in range(4)] + [(3, i) for i in range(5)], 5, 12)
    test = interactions([(user, 11) for user in (0, 1, 2, 3)], 5, 12)
    scores = torch.zeros(5, 12)
    scores[[1, 3], 11] = 1.0
    result = evaluate(Table(scores), seen=train, truth=test, metrics=("recall",), ks=(1,))
    frame = mean_by_degree(result, train.user_degree())
    assert frame.index.tolist() == ["0", "1–4", "5–9"]
    assert frame["num_users"].tolist() == [1, 2, 1]
    assert frame["Recall@1"].tolist() == [0.0, 0.5, 1.0]
    assert mean_by_degree(result, train.user_degree(), edges=(5,)).index.tolist() == ["0–4", "5+"]
    with pytest.raises(ValueError, match="each of 5 users, got 3"):
        mean_by_degree(result, np.zeros(3, np.int64))


def test_slices_by_degree_average_back_to_the_mean():
    scores, train, _, test = draw(13)
    result = evaluate(Table(scores), seen=train, truth=test, metrics=("ndcg",), ks=(10,))
    frame = mean_by_degree(result, train.user_degree(), edges=(1, 3, 5))
    assert np.average(frame["NDCG@10"], weights=frame["num_users"]) == pytest.approx(result.mean()["NDCG@10"])


def test_cold_items_are_scored_apart_but_ranked_among_all():
    train = interactions([(0, 0), (1, 1), (2, 1)], 3, 4)
    test = interactions([(0, 2), (0, 1), (1, 3), (2, 0)], 3, 4)
    cold, warm = split_by_coldness(test, train)
    assert sorted(cold.item.tolist()) == [2, 3]
    assert sorted(warm.item.tolist()) == [0, 1]
    scores = torch.tensor([[0.0, 3, 2, 1], [2, 0, 1, 3], [0, 0, 0, 0]])
    result = evaluate(Table(scores), seen=train, truth=cold, metrics=("mrr",), ks=(3,))
    assert result.frame["MRR@3"].to_dict() == {0: 1 / 2, 1: 1.0}
    assert sorted(split_by_coldness(test, train, threshold=1)[0].item.tolist()) == [0, 2, 3]
