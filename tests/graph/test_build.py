from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import HeteroData

from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids
from graphrec.features.table import FeatureTable
from graphrec.graph.build import CO_CONSUMED, CO_USER, GraphConfig, build_graph, item_operator, item_relations
from graphrec.graph.neighbors import item_modalities
from graphrec.models.hetero_lightgcn import HeteroLightGCN, HeteroLightGCNConfig
from graphrec.testing import block_data, other_held_out

CONFIG = GraphConfig(neighbors=4)


@pytest.fixture
def data():
    return block_data()


@pytest.fixture
def graph(data):
    return build_graph(data, CONFIG)


def given_graph(size=34, seed=0, weighted=False):
    """Returns a directed kNN graph: row = item, columns = its neighbours; items 3 and 7 have no part in it."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((size, size), np.float32)
    others = np.setdiff1d(np.arange(size), [3, 7])
    for row in others:
        chosen = rng.choice(np.setdiff1d(others, [row]), 3, replace=False)
        matrix[row, chosen] = rng.uniform(0.1, 1, 3) if weighted else 1.0
    return sp.csr_array(matrix)


def edges_of(store):
    return set(map(tuple, store.edge_index.T.tolist()))


def assert_same_graph(one, other):
    assert one.node_types == other.node_types
    assert one.edge_types == other.edge_types
    for first, second in zip(one.stores, other.stores, strict=True):
        assert set(first.keys()) == set(second.keys())
        for key, value in first.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(second[key])), key


def test_node_and_edge_types_with_their_reverses(graph):
    assert set(graph.node_types) == {"user", "item", "image", "text"}
    assert item_modalities(graph) == ("image", "text")
    forward = {("user", "interacts", "item")}
    for name in ("image", "text"):
        forward |= {("item", f"has_{name}", name), (name, "similar", name)}
    assert set(graph.edge_types) == forward | {(t, f"rev_{r}", s) for s, r, t in forward}
    for source, relation, target in forward:
        back = graph[target, f"rev_{relation}", source].edge_index
        assert torch.equal(back, graph[source, relation, target].edge_index.flip(0))


def test_only_training_interactions_become_edges(data, graph):
    train = data.split.train
    pairs = set(zip(train.user.tolist(), train.item.tolist(), strict=True))
    assert edges_of(graph["user", "interacts", "item"]) == pairs
    assert (graph["user"].num_nodes, graph["item"].num_nodes) == (43, 34)
    assert_same_graph(graph, build_graph(other_held_out(data), CONFIG))


def test_modality_nodes_are_compact_and_mapped(data, graph):
    for name, vectors in data.vectors.items():
        present = sorted(data.split.items.rows(vectors.ids.index).tolist())
        store = graph[name]
        assert store.item_id.tolist() == present
        assert store.num_nodes == len(present) < data.num_items
        has = graph["item", f"has_{name}", name].edge_index
        assert torch.equal(has, torch.stack([store.item_id, torch.arange(len(present))]))
        for node, item in enumerate(present):
            row = vectors.ids.rows([data.split.items.ids([item])[0]])[0]
            assert store.x[node].tolist() == vectors.values[row].tolist()


def test_similar_edges_are_the_nearest_by_cosine(graph):
    x = torch.nn.functional.normalize(graph["image"].x.double(), dim=1)
    similarity = x @ x.T
    similarity.fill_diagonal_(-2)
    neighbours = similarity.topk(4, dim=1).indices
    expected = {(int(n), node) for node, row in enumerate(neighbours) for n in row}
    assert edges_of(graph["image", "similar", "image"]) == expected
    assert "edge_weight" not in graph["image", "similar", "image"]


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_the_metric_is_taken_from_the_config(data, graph, metric):
    other = build_graph(data, GraphConfig(neighbors=4, metric=metric))
    assert edges_of(other["text", "similar", "text"]) != edges_of(graph["text", "similar", "text"])


def test_shuffled_feature_rows_give_the_same_graph(data, graph):
    rng = np.random.default_rng(5)
    shuffled = {}
    for name, vectors in data.vectors.items():
        order = rng.permutation(len(vectors.ids))
        shuffled[name] = Vectors(Ids(vectors.ids.ids(order)), vectors.values[order])
    assert_same_graph(graph, build_graph(replace(data, vectors=shuffled), CONFIG))


def test_a_given_graph_makes_a_modality_without_vectors(data):
    matrix = given_graph()
    graph = build_graph(replace(data, vectors={}, neighbors={"image": matrix}))
    assert graph["image"].item_id.tolist() == [row for row in range(34) if row not in (3, 7)]
    assert "x" not in graph["image"]
    edge_index, weight = item_operator(graph, "image")
    assert weight is None
    rows, columns = matrix.nonzero()
    assert set(map(tuple, edge_index.T.tolist())) == set(zip(columns.tolist(), rows.tolist(), strict=True))


def test_given_weights_are_kept_and_go_with_their_edges(data):
    matrix = given_graph(weighted=True)
    graph = build_graph(replace(data, vectors={}, neighbors={"image": matrix}))
    edge_index, weight = item_operator(graph, "image")
    expected = [matrix[node, neighbour] for neighbour, node in edge_index.T.tolist()]
    assert weight.tolist() == pytest.approx(expected)
    assert torch.equal(graph["image", "rev_similar", "image"].edge_weight, weight)


def test_a_given_graph_comes_before_one_made_from_vectors(data):
    matrix = given_graph()
    graph = build_graph(replace(data, neighbors={"image": matrix}), CONFIG)
    present = graph["image"].item_id.tolist()
    assert graph["image"].x.shape == (len(present), 9)
    edges = set(map(tuple, item_operator(graph, "image")[0].T.tolist()))
    rows, columns = matrix.nonzero()
    both = {(c, r) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if r in present and c in present}
    assert edges == both


def test_modalities_are_chosen_by_config(data):
    graph = build_graph(data, GraphConfig(neighbors=4, modalities=("text",)))
    assert item_modalities(graph) == ("text",)
    assert item_modalities(build_graph(data, GraphConfig(modalities=()))) == ()


def test_feature_tables_may_be_handed_over(data):
    ids = data.split.items
    table = FeatureTable(ids, np.arange(10), np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32))
    graph = build_graph(data, CONFIG, features={"audio": table})
    assert item_modalities(graph) == ("audio",)
    assert graph["audio"].x.tolist() == table.values.tolist()


def test_weight_and_time_of_interactions_are_carried(data):
    train = data.split.train
    weight, time = np.arange(len(train), dtype=np.float32) + 1, np.arange(len(train))
    split = replace(data.split, train=replace(train, weight=weight, time=time))
    store = build_graph(replace(data, split=split), CONFIG)["user", "interacts", "item"]
    assert store.edge_weight.tolist() == weight.tolist()
    assert store.time.tolist() == time.tolist()


def test_the_graph_is_validated_at_the_end(data, monkeypatch):
    seen = []
    monkeypatch.setattr(HeteroData, "validate", lambda self, raise_on_error: seen.append((self, raise_on_error)))
    graph = build_graph(data, CONFIG)
    assert seen == [(graph, True)]


def test_an_unknown_modality_is_refused_with_a_hint(data):
    with pytest.raises(ValueError, match="unknown modality 'imgae': did you mean 'image'"):
        build_graph(data, GraphConfig(modalities=("imgae",)))


def test_a_small_modality_connects_each_node_to_all_others(data, caplog):
    graph = build_graph(data, GraphConfig(neighbors=30, modalities=("image",)))
    assert graph["image", "similar", "image"].num_edges == 27 * 26
    assert "image has 27 nodes: each is connected to all others, not to 30" in caplog.text
    one = Vectors(Ids(data.split.items.index[:1]), np.ones((1, 3), np.float32))
    graph = build_graph(replace(data, vectors={"image": one}, neighbors={}), GraphConfig())
    assert (graph["image"].num_nodes, graph["image", "similar", "image"].num_edges) == (1, 0)


def test_features_of_unknown_items_are_refused(data):
    strange = Vectors(Ids(["i1", "nobody"]), np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="1 unknown ids: 'nobody'"):
        build_graph(replace(data, vectors={"image": strange}), CONFIG)


def test_a_catalogue_without_content_gives_a_bipartite_graph(data):
    bare = replace(data, vectors={}, items=Catalog.empty(data.split.items))
    assert set(build_graph(bare).node_types) == {"user", "item"}


def test_behavior_edges_are_built_on_demand_and_take_part(data):
    graph = build_graph(data, GraphConfig(modalities=(), co_consumed=2, co_user=3))
    assert item_relations(graph) == ("co_consumed",)
    shared = data.split.train.csr().toarray()
    counts = shared.T @ shared
    edge_index, weight = graph[CO_CONSUMED].edge_index, graph[CO_CONSUMED].edge_weight
    degree = counts.diagonal()
    for (source, target), value in zip(edge_index.T.tolist(), weight.tolist(), strict=True):
        assert source != target
        assert value == pytest.approx(counts[source, target] / (degree[source] * degree[target]) ** 0.5, rel=1e-5)
    assert torch.bincount(edge_index[1]).max() <= 2
    assert torch.bincount(graph[CO_USER].edge_index[1]).max() <= 3
    model = HeteroLightGCN(graph, HeteroLightGCNConfig(embedding_dim=4))
    assert set(model.coupling) == {"interacts", "co_consumed"}
    assert CO_CONSUMED not in build_graph(data, GraphConfig(modalities=())).edge_types


def test_user_vectors_become_compact_user_nodes(data):
    ids = data.split.users.index[[4, 1, 2, 7]]
    vectors = Vectors(Ids(ids, name="user"), np.arange(8, dtype=np.float32).reshape(4, 2))
    people = replace(data, user_vectors={"text": vectors})
    graph = build_graph(people, GraphConfig(modalities=(), user_neighbors=2))
    assert graph["user_text"].user_id.tolist() == [1, 2, 4, 7]
    assert graph["user_text"].x.tolist() == [[2, 3], [4, 5], [0, 1], [6, 7]]
    assert graph["user", "has_user_text", "user_text"].edge_index.tolist() == [[1, 2, 4, 7], [0, 1, 2, 3]]
    assert graph["user_text", "similar", "user_text"].num_edges == 8
    assert ("user_text", "similar", "user_text") not in build_graph(people, GraphConfig(modalities=())).edge_types
    assert item_modalities(graph) == ()


def test_an_item_modality_called_like_one_of_the_users_is_refused():
    data, rng = block_data(), np.random.default_rng(0)
    users, items = (
        {"user_text": FeatureTable(ids, np.arange(len(ids)), rng.normal(size=(len(ids), 4)).astype(np.float32))}
        for ids in (data.split.users, data.split.items)
    )
    with pytest.raises(ValueError, match=r"other than those of the users, got user_text; rename one"):
        build_graph(data, features=items, user_features=users)


def test_a_zero_vector_has_a_node_and_no_neighbours():
    data = block_data()
    ids, x = data.split.items, np.random.default_rng(0).normal(size=(data.num_items, 4)).astype(np.float32)
    x[5] = 0.0
    graph = build_graph(data, GraphConfig(neighbors=3), features={"text": FeatureTable(ids, np.arange(len(ids)), x)})
    assert graph["text"].num_nodes == data.num_items
    assert 5 not in item_operator(graph, "text")[0]
    assert HeteroLightGCN(graph, HeteroLightGCNConfig()).embed().item.isfinite().all()
