import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from graphrec.config import ConfigError
from graphrec.graph import behavior
from graphrec.models.base import NoEmbeddings
from graphrec.models.ease import EASE, EASEConfig

NUM_USERS, NUM_ITEMS = 25, 12


def seen_matrix(seed=0):
    seen = (np.random.default_rng(seed).random((NUM_USERS, NUM_ITEMS)) < 0.25).astype(np.float64)
    seen[7], seen[:, 5] = 0, 0  # a user and an item without interactions
    return seen


def graph_of(seen):
    graph = HeteroData()
    graph["user"].num_nodes, graph["item"].num_nodes = seen.shape
    graph["user", "interacts", "item"].edge_index = torch.from_numpy(np.stack(seen.nonzero()))
    return graph


def fitted(graph, **settings):
    model = EASE(graph, EASEConfig(**settings))
    model.fit(graph)
    return model


@pytest.fixture
def graph():
    return graph_of(seen_matrix())


def test_scores_equal_the_dense_formula(graph):
    seen = seen_matrix()
    inverse = np.linalg.inv(seen.T @ seen + 5.0 * np.eye(NUM_ITEMS))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    scores = fitted(graph, regularization=5.0).score(torch.arange(NUM_USERS))
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores, seen @ weights, atol=1e-5)


def test_a_known_answer():
    """Two items, both seen by two users: the one weight is 2 / (2 + lambda)."""
    model = fitted(graph_of(np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])), regularization=2.0)
    np.testing.assert_allclose(model.weights, [[0.0, 2 / 5], [2 / 4, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(model.score(torch.tensor([2])), [[0.0, 2 / 5]], rtol=1e-6)


@pytest.mark.parametrize("users", [[], [7], [7, 7], [3, 7, 0, 3], list(range(NUM_USERS))[::-1]])
def test_users_may_be_given_in_any_order(graph, users):
    model = fitted(graph)
    scores = model.score(torch.tensor(users, dtype=torch.long))
    np.testing.assert_allclose(scores, seen_matrix()[users] @ model.weights.double().numpy(), atol=1e-6)
    assert scores.shape == (len(users), NUM_ITEMS)


def test_a_user_without_interactions_gets_zeros(graph):
    assert not fitted(graph).score(torch.tensor([7])).any()


def test_relabelling_permutes_the_scores():
    seen, rng = seen_matrix(), np.random.default_rng(1)
    users, items = rng.permutation(NUM_USERS), rng.permutation(NUM_ITEMS)
    original = fitted(graph_of(seen)).score(torch.arange(NUM_USERS))
    relabelled = fitted(graph_of(seen[users][:, items])).score(torch.arange(NUM_USERS))
    np.testing.assert_allclose(relabelled, original[users][:, items], atol=1e-6)


def test_the_order_of_edges_and_repeated_edges_change_nothing(graph):
    expected = fitted(graph).score(torch.arange(NUM_USERS))
    edges = graph["user", "interacts", "item"]
    edges.edge_index = torch.cat([edges.edge_index.flip(1), edges.edge_index[:, :3]], dim=1)
    assert torch.equal(fitted(graph).score(torch.arange(NUM_USERS)), expected)


def test_fitting_twice_changes_nothing(graph):
    model = fitted(graph)
    first = model.score(torch.arange(NUM_USERS))
    model.fit(graph)
    assert torch.equal(model.score(torch.arange(NUM_USERS)), first)


def test_it_moves_with_the_module_and_saves_nothing(graph):
    model = fitted(graph)
    assert model.state_dict() == {}
    assert {name for name, _ in model.named_buffers()} == {f"scores.{name}" for name in ("weights", "start", "seen")}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_scores_on_a_gpu_equal_those_on_the_cpu(graph):
    model = fitted(graph)
    users = torch.arange(NUM_USERS)
    expected = model.score(users)
    torch.testing.assert_close(model.cuda().score(users.cuda()).cpu(), expected)
    assert fitted(graph.clone().to("cuda")).score(users.cuda()).is_cuda


def test_block_data_recommends_within_the_block():
    rng = np.random.default_rng(2)
    block = np.arange(NUM_ITEMS) % 2
    seen = ((np.arange(NUM_USERS)[:, None] % 2 == block) & (rng.random((NUM_USERS, NUM_ITEMS)) < 0.6)).astype(float)
    scores = fitted(graph_of(seen), regularization=1.0).score(torch.arange(NUM_USERS)).numpy()
    scores[seen > 0] = -np.inf
    unseen = (block == np.arange(NUM_USERS)[:, None] % 2) & (seen == 0)
    active = unseen.any(axis=1) & (seen.sum(axis=1) >= 2)
    assert active.sum() > 10
    assert (block[scores.argmax(axis=1)] == np.arange(NUM_USERS) % 2)[active].all()


def test_too_little_memory_is_said_before_the_work(graph, monkeypatch):
    monkeypatch.setattr(behavior, "available_memory", lambda: 100)
    with pytest.raises(MemoryError, match="EASE over 12 rows needs"):
        fitted(graph)


def test_it_must_be_fitted_first(graph):
    with pytest.raises(RuntimeError, match="expected a fitted EASE"):
        EASE(graph, EASEConfig()).score(torch.tensor([0]))


def test_it_has_no_embeddings(graph):
    with pytest.raises(NoEmbeddings, match="EASE"):
        fitted(graph).embed()


def test_the_regularization_must_be_positive():
    with pytest.raises(ConfigError, match="regularization"):
        EASEConfig.parse({"regularization": 0})


def evaluate(model, parts, k=20):
    """Recall and NDCG at k on test, training items masked, as plain as can be."""
    recall, ndcg = [], []
    discount = 1 / np.log2(np.arange(2, k + 2))
    users = np.flatnonzero(parts[2].any(axis=1))
    for block in np.array_split(users, 1 + len(users) // 1024):
        scores = model.score(torch.from_numpy(block)).numpy()
        scores[parts[0][block]] = -np.inf
        top = torch.from_numpy(scores).topk(k).indices.numpy()
        hits, total = np.take_along_axis(parts[2][block], top, axis=1), parts[2][block].sum(axis=1)
        recall += list(hits.sum(axis=1) / total)
        ndcg += list(hits @ discount / np.cumsum(discount)[np.minimum(total, k) - 1])
    return np.mean(recall), np.mean(ndcg)


@pytest.mark.data
def test_the_published_numbers_on_lfm2k():
    path = Path(os.environ.get("GRAPHREC_DATA", "data")) / "lfm2k" / "lfm2k.inter"
    if not path.is_file():
        pytest.skip("needs lfm2k under GRAPHREC_DATA")
    user, item, _, label = np.loadtxt(path, skiprows=1, dtype=np.int64).T
    parts = np.zeros((3, user.max() + 1, item.max() + 1), dtype=bool)
    parts[label, user, item] = True
    recall, ndcg = evaluate(fitted(graph_of(parts[0]), regularization=100.0), parts)
    assert (recall, ndcg) == pytest.approx((0.3955, 0.2711), abs=1e-4)
