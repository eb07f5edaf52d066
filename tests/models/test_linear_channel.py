"""The linear channel on its own, and beside the graph of HeteroLightGCN."""

import gc
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F

from graphrec.config import ConfigError
from graphrec.graph import behavior
from graphrec.graph.build import GraphConfig, build_graph
from graphrec.models import linear_channel as module
from graphrec.models.base import InnerProduct
from graphrec.models.hetero_lightgcn import HeteroLightGCN
from graphrec.models.linear_channel import LinearChannel, LinearConfig, linear_channel
from graphrec.testing import small_graph
from tests.reference.models import DATA, GRAPH, TRAIN, build, dense_interactions, graph_only, steps
from tests.reference.propagation import dense_light_gcn, dense_matrix, dense_row_norm

COLD = 33  # has content and no training interactions
NUM_USERS, NUM_ITEMS = TRAIN.num_users, TRAIN.num_items
ALL = torch.arange(NUM_USERS)
SEEN = TRAIN.csr().toarray().astype(np.float64)
SETTINGS = {"weight": 0.6, "filter": 0, "regularization": 5.0}


def channel(graph=GRAPH, **settings):
    return LinearChannel(graph, LinearConfig(**SETTINGS | settings))


def neighbor_graph(seed=0):
    """Returns a graph of weighted neighbours without vectors, in which the cold item takes part."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((NUM_ITEMS, NUM_ITEMS), np.float32)
    for row in range(0, NUM_ITEMS, 3):
        matrix[row, rng.choice(np.setdiff1d(np.arange(NUM_ITEMS), [row]), 4, replace=False)] = rng.uniform(0.2, 1, 4)
    matrix[COLD, 0], matrix[0, COLD] = 0.9, 0.3
    return small_graph(replace(DATA, vectors={}, neighbors={"tags": sp.csr_array(matrix)})), matrix


def vector_gram(name, graph=GRAPH):
    """The inner products of the unit vectors of a modality, in item rows."""
    vectors = graph[name].x.double().numpy()
    rows = np.zeros((NUM_ITEMS, vectors.shape[1]))
    rows[graph[name].item_id] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return rows @ rows.T


def neighbor_gram(matrix):
    """The inner products of the unit rows of the symmetrised adjacency with self-loops."""
    nodes = np.flatnonzero(matrix.any(0) | matrix.any(1))
    rows = ((matrix > 0) | (matrix.T > 0)).astype(np.float64)
    rows[nodes, nodes] = 1.0
    rows[nodes] /= np.linalg.norm(rows[nodes], axis=1, keepdims=True)
    return rows @ rows.T


def dense_weights(gram):
    """EASE by the inverse of a Gram matrix with its L2 weight."""
    inverse = np.linalg.inv(gram)
    weights = np.eye(NUM_ITEMS) - inverse / np.diag(inverse)
    assert np.abs(np.diag(weights)).max() < 1e-12
    return weights


def dense_scores(content, weight=0.6, regularization=5.0):
    """The channel by a dense inverse, for inner products of the content."""
    scores = SEEN @ dense_weights(SEEN.T @ SEEN + content + regularization * np.eye(NUM_ITEMS))
    return weight / np.median(scores[SEEN.any(axis=1)].std(axis=1)) * scores


@pytest.mark.parametrize("regularization", [2.0, 300.0])
@pytest.mark.parametrize("weight", [0.15, 2.0])
def test_scores_equal_the_dense_inverse(weight, regularization):
    content = {"image": 3.0, "text": 0.5}
    expected = dense_scores(3.0 * vector_gram("image") + 0.5 * vector_gram("text"), weight, regularization)
    scores = channel(weight=weight, regularization=regularization, content=content).score(ALL)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_neighbours_without_vectors_are_content_too():
    graph, matrix = neighbor_graph()
    np.testing.assert_allclose(
        channel(graph, content={"tags": 10.0}).score(ALL),
        dense_scores(10.0 * neighbor_gram(matrix)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_what_is_not_given_is_chosen():
    chosen = channel(regularization=None)
    content = sum((weight * vector_gram(name) for name, weight in chosen.content.items()), np.zeros((1, 1)))
    expected = dense_scores(content, regularization=chosen.regularization)
    np.testing.assert_allclose(chosen.score(ALL), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content", [{"text": 4.0}, {"text": 4.0, "image": 0.0}])
def test_modalities_left_out_or_at_zero_do_not_count(content):
    expected = dense_scores(4.0 * vector_gram("text"))
    np.testing.assert_allclose(channel(content=content).score(ALL), expected, rtol=1e-4, atol=1e-5)


def test_without_modalities_it_is_ease():
    bare = small_graph(replace(DATA, vectors={}))
    np.testing.assert_allclose(channel(bare).score(ALL), dense_scores(0.0), rtol=1e-4, atol=1e-5)


def filter_scores(weight):
    """GF-CF's linear filter from its definition."""
    users, items = (1 / np.sqrt(np.maximum(SEEN.sum(axis=axis, keepdims=True), 1)) for axis in (1, 0))
    normalized = users * SEEN * items
    gram = normalized.T @ normalized
    scores = SEEN @ (gram - np.diag(np.diag(gram)))
    return weight / np.median(scores[SEEN.any(axis=1)].std(axis=1)) * scores


@pytest.mark.parametrize("share", [0.3, 2.0])
def test_the_filter_of_gf_cf_joins_in_the_same_spread(share):
    scores = channel(content={"text": 4.0}, filter=share).score(ALL)
    expected = dense_scores(4.0 * vector_gram("text")) + filter_scores(0.6 * share)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content", [{}, {"text": 4.0}, {"tags": 4.0}])
@pytest.mark.parametrize("share", [0, 0.4])
def test_of_a_large_catalogue_the_items_most_interacted_with_take_part(content, share, caplog):
    graph, matrix = neighbor_graph() if "tags" in content else (GRAPH, None)
    caplog.set_level("INFO", logger="graphrec")
    found = channel(graph, max_items=20, content=content, filter=share)
    assert "of 34 items the 20 most interacted with" in caplog.text
    items = np.sort(np.argsort(-SEEN.sum(axis=0), kind="stable")[:20])
    assert COLD not in items
    seen = SEEN[:, items]
    gram = neighbor_gram(matrix) if "tags" in content else vector_gram("text")
    system = seen.T @ seen + 4.0 * bool(content) * gram[np.ix_(items, items)] + 5.0 * np.eye(20)
    inverse = np.linalg.inv(system)
    parts = [np.eye(20) - inverse / np.diag(inverse)]
    users, degrees = (1 / np.sqrt(np.maximum(seen.sum(axis=axis, keepdims=True), 1)) for axis in (1, 0))
    walk = (users * seen * degrees).T @ (users * seen * degrees)
    parts.append(walk - np.diag(np.diag(walk)))
    expected = np.zeros_like(SEEN)
    for part, weight in zip(parts, (0.6, 0.6 * share), strict=True):
        scores = seen @ part
        expected[:, items] += weight / np.median(scores[seen.any(axis=1)].std(axis=1)) * scores
    np.testing.assert_allclose(found.score(ALL), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(
        channel(graph, max_items=34, content=content).score(ALL), channel(graph, content=content).score(ALL)
    )


def test_a_graph_without_interactions_has_scores_of_zero():
    graph = small_graph(DATA)
    graph["user", "interacts", "item"].edge_index = torch.zeros(2, 0, dtype=torch.long)
    assert not channel(graph, filter=0.1).score(ALL).any()


def test_an_unknown_modality_is_refused_with_a_hint():
    with pytest.raises(ConfigError, match="unknown modality 'imgae': did you mean 'image'"):
        channel(content={"text": 1.0, "imgae": 1.0})


def test_a_weight_of_zero_is_no_channel():
    assert linear_channel(GRAPH, LinearConfig(weight=0)) is None
    assert isinstance(linear_channel(GRAPH, LinearConfig()), LinearChannel)
    assert build(HeteroLightGCN, linear={"weight": 0}).linear is None


def test_an_open_weight_is_settled_on_validation_and_a_given_one_is_not():
    given, left = channel(weight=0.6), channel(weight=None)
    assert not given.settle(lambda: pytest.fail("there was nothing to choose"))
    assert not left.settle(lambda: torch.zeros(9))
    assert given.resolved()["weight"] == 0.6
    assert left.resolved()["weight"] == 0.14
    torch.testing.assert_close(left.score(ALL), 0.14 / 0.6 * given.score(ALL))
    assert left.settle(lambda: torch.full((9,), -abs(left.weight - 0.7)))
    assert left.resolved()["weight"] == 0.7
    torch.testing.assert_close(left.score(ALL), 0.7 / 0.6 * given.score(ALL))
    left.settle(lambda: torch.full((9,), -left.weight))
    assert not left.score(ALL).any()


def test_too_little_memory_names_the_setting_before_the_work(monkeypatch):
    monkeypatch.setattr(behavior, "available_memory", lambda: 100)
    for name in ("gram_matrix", "choose_channel"):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("worked before it asked"))
    for limit, rows in ((25_000, 34), (9, 9)):
        with pytest.raises(
            MemoryError, match=rf"linear\.weight > 0\) over {rows} rows needs .* lower linear\.max_items"
        ):
            build(HeteroLightGCN, small_graph(DATA), linear={"max_items": limit})


@pytest.fixture
def solved(monkeypatch):
    """Returns the regularizations that were solved for so far."""
    found = []

    def counted(gram, regularization):
        found.append(regularization)
        return behavior.ease_weights(gram, regularization)

    monkeypatch.setattr(module, "ease_weights", counted)
    return found


def test_the_weights_of_a_graph_are_solved_once_until_a_setting_changes(solved):
    graph = small_graph(DATA)
    first, second = (build(HeteroLightGCN, graph, seed, linear=SETTINGS) for seed in (0, 1))
    assert solved == [5.0]
    assert torch.equal(first.linear.score(ALL), second.linear.score(ALL))
    stronger = channel(graph, weight=1.2)  # the weight of the channel is no setting of the solution
    assert solved == [5.0]
    torch.testing.assert_close(stronger.score(ALL), 2 * first.linear.score(ALL))
    other = channel(graph, regularization=7.0)
    assert solved == [5.0, 7.0]
    assert not torch.allclose(other.score(ALL), first.linear.score(ALL))
    channel(graph, regularization=7.0, content={"text": 1.0})
    assert solved == [5.0, 7.0, 7.0]
    channel(graph, regularization=7.0, content={"text": 1.0, "image": 0.0}, filter=0.1)
    assert solved == [5.0, 7.0, 7.0]  # the filter joins a solution that is there
    channel(graph, regularization=9.0, content={})
    channel(graph, regularization=9.0, content={"text": 0.0})
    assert solved == [5.0, 7.0, 7.0, 9.0]
    channel(graph, regularization=9.0, content={}, max_items=10)
    assert solved == [5.0, 7.0, 7.0, 9.0, 9.0]


def test_every_graph_has_weights_of_its_own(solved):
    graph, tags = small_graph(DATA), neighbor_graph()[0]
    scores = [channel(each).score(ALL) for each in (graph, tags, graph)]
    assert len(solved) == 2
    assert torch.equal(scores[0], scores[2])
    assert not torch.allclose(scores[0], scores[1])


def test_the_kept_weights_go_with_their_graph_and_not_with_the_model():
    graph = small_graph(DATA)
    key, before = id(graph), len(module.KEPT)
    model = build(HeteroLightGCN, graph, linear=SETTINGS)
    build(HeteroLightGCN, graph, linear={"regularization": 7.0})
    expected = model.score(ALL)
    assert key in module.KEPT
    assert len(module.KEPT) == before + 1
    del graph
    gc.collect()
    assert key not in module.KEPT
    assert torch.equal(model.score(ALL), expected)


def test_a_cold_item_is_scored_through_its_vectors():
    scores = channel().score(ALL)
    assert SEEN[:, COLD].sum() == 0
    assert scores[:-1, COLD].abs().min() > 0
    assert not channel(content={}).score(ALL)[:, COLD].any()


def test_a_cold_item_is_scored_through_its_neighbours():
    graph, matrix = neighbor_graph()
    scores = channel(graph).score(ALL)
    near = SEEN[:, 0] > 0
    assert matrix[0, COLD] > 0
    assert scores[:-1, COLD].abs().min() > 0
    assert scores[near, COLD].mean() > scores[~near, COLD].mean()
    assert not channel(graph, content={}).score(ALL)[:, COLD].any()


@pytest.mark.parametrize("policy", ["zero", "mean", "token", "neighbors", "propagate"])
def test_imputed_vectors_and_tokens_count_as_zero_rows(policy):
    graph = build_graph(DATA, GraphConfig(neighbors=4, missing=policy))
    assert graph["image"].num_nodes > GRAPH["image"].num_nodes
    torch.testing.assert_close(channel(graph).score(ALL), channel().score(ALL), rtol=1e-5, atol=1e-6)


def test_the_score_is_the_inner_product_plus_the_channel():
    model = build(HeteroLightGCN, linear=SETTINGS)
    users, (user, item) = torch.tensor([5, 0, 42, 5]), model.embed()
    expected = user[users] @ item.T + channel().score(users)
    torch.testing.assert_close(model.score(users), expected)
    assert torch.equal(model.score(users), model.frozen().score(users))


def test_what_is_frozen_is_propagated_once(monkeypatch):
    model = build(HeteroLightGCN)
    expected, frozen = model.score(ALL), model.frozen()
    monkeypatch.setattr(HeteroLightGCN, "embed", lambda self: pytest.fail("embedded again"))
    assert torch.equal(frozen.score(ALL), expected)


def test_without_the_channel_the_inner_product_is_left():
    model = graph_only()
    assert isinstance(model.frozen(), InnerProduct)
    assert "linear" not in model.parts()
    assert torch.equal(model.score(ALL), model.frozen().score(ALL))


def test_the_channel_is_a_part_and_the_parts_add_up():
    model = build(HeteroLightGCN, linear=SETTINGS, coupling={"image": 0.7, "text": -0.4})
    found = {name: part.score(ALL) for name, part in model.parts().items()}
    assert list(found) == ["behavior", "image", "text", "linear"]
    assert torch.equal(found["linear"], channel().score(ALL))
    torch.testing.assert_close(sum(found.values()), model.score(ALL), rtol=1e-4, atol=1e-5)


def test_the_graph_is_trained_alone():
    model, alone = build(HeteroLightGCN, linear=SETTINGS), build(HeteroLightGCN, linear={"weight": 0})
    assert steps(model) == steps(alone)
    for own, other in zip(model.embed(), alone.embed(), strict=True):
        assert torch.equal(own, other)
    assert not torch.allclose(model.score(ALL), alone.score(ALL))


def test_the_channel_is_neither_trained_nor_saved():
    model = build(HeteroLightGCN, linear=SETTINGS)
    before = model.linear.score(ALL)
    steps(model)
    assert torch.equal(model.linear.score(ALL), before)
    assert not list(model.linear.parameters())
    assert set(model.state_dict()) == set(graph_only().state_dict())


def dense_embeddings(model, graph, coupling):
    """The formula of the model on dense matrices, with every kNN edge both ways at the mean of its weights."""
    warm = torch.ones(NUM_ITEMS, 1, dtype=torch.float64)
    warm[COLD] = 0.0
    item = model.item_embedding.double() * warm
    message = torch.zeros_like(item)
    for name, weight in coupling.items():
        nodes, edges = graph[name].item_id, graph[name, "similar", name]
        one_way = dense_matrix(nodes[edges.edge_index], edges.get("edge_weight"), NUM_ITEMS, NUM_ITEMS)
        times = (one_way != 0).double() + (one_way.T != 0).double()
        start = torch.zeros_like(item)
        if "x" in graph[name]:
            start[nodes] = model.modalities[name].projection(F.normalize(graph[name].x, dim=1)).double()
        message = message + weight * dense_row_norm((one_way + one_way.T) / times.clamp(min=1)) @ (start + item)
    user, readout = dense_light_gcn(dense_interactions(), model.user_embedding.double(), item, model.config.num_layers)
    return user, readout + message


def test_edges_both_ways_equal_dense_algebra():
    coupling = {"image": 0.5, "text": -0.3}
    model = build(HeteroLightGCN, coupling=coupling, linear={"weight": 0})
    for own, other in zip(model.embed(), dense_embeddings(model, GRAPH, coupling), strict=True):
        torch.testing.assert_close(own.double(), other, rtol=1e-4, atol=1e-5)


def test_weighted_edges_both_ways_equal_dense_algebra():
    graph, _ = neighbor_graph()
    assert graph["tags", "similar", "tags"].edge_weight.unique().numel() > 4
    model = build(HeteroLightGCN, graph, relations=["tags"], coupling={"tags": 0.5}, linear={"weight": 0})
    for own, other in zip(model.embed(), dense_embeddings(model, graph, {"tags": 0.5}), strict=True):
        torch.testing.assert_close(own.double(), other, rtol=1e-4, atol=1e-5)


def test_edges_of_shared_users_keep_their_direction():
    graph = build_graph(DATA, GraphConfig(neighbors=4, co_consumed=3))
    one_way, both = (graph_only(graph, symmetric=symmetric).modalities for symmetric in (False, True))
    same = {name: torch.equal(one_way[name].similar.to_dense(), both[name].similar.to_dense()) for name in both}
    assert same == {"image": False, "text": False, "co_consumed": True}
