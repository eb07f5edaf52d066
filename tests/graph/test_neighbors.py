import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from graphrec.config import ConfigError
from graphrec.graph.neighbors import (
    content_neighbors,
    flagged_nodes,
    item_features,
    item_modalities,
    knn_between,
    knn_graph,
    largest,
    similar_nodes,
)

METRICS = ("cosine", "dot", "euclidean")


def dense_similarity(x, metric):
    x = x.double().numpy()
    if metric == "dot":
        return x @ x.T
    if metric == "cosine":
        unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        return np.round(unit @ unit.T * 2**24) / 2**24
    return -np.linalg.norm(x[:, None] - x[None], axis=2)


def slow_knn(x, k, metric, include_self):
    """Sorts every row by falling similarity, then by row."""
    similarity = dense_similarity(x, metric).astype(np.float32)
    edges = []
    for node in range(len(x)):
        others = [j for j in range(len(x)) if include_self or j != node]
        others.sort(key=lambda j, node=node: (-similarity[node, j], j))
        edges += [(j, node, similarity[node, j]) for j in others[:k]]
    return edges


def random_vectors(n, dim, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("block_size", [None, 1, 7, 1000])
def test_knn_graph_equals_a_full_sort(metric, include_self, block_size):
    x = random_vectors(23, 5)
    edge_index, similarity = knn_graph(x, 4, metric=metric, include_self=include_self, block_size=block_size)
    expected = slow_knn(x, 4, metric, include_self)
    assert edge_index.T.tolist() == [[source, target] for source, target, _ in expected]
    np.testing.assert_allclose(similarity, [value for *_, value in expected], rtol=1e-6, atol=1e-6)


def test_knn_graph_agrees_with_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    x = random_vectors(200, 16)
    edge_index, similarity = knn_graph(x, 10, metric="euclidean")
    distance, index = neighbors.NearestNeighbors(n_neighbors=10).fit(x.numpy()).kneighbors()
    np.testing.assert_array_equal(edge_index[0].view(200, 10), index)
    np.testing.assert_allclose(-similarity.view(200, 10), distance, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.lists(st.integers(-1, 1), min_size=2, max_size=2), min_size=3, max_size=12),
    metric=st.sampled_from(METRICS),
    block_size=st.integers(1, 13),
    include_self=st.booleans(),
)
def test_ties_go_to_the_lowest_row(values, metric, block_size, include_self):
    x = torch.tensor(values, dtype=torch.float32)
    edge_index, _ = knn_graph(x, 2, metric=metric, block_size=block_size, include_self=include_self)
    expected = [[source, target] for source, target, _ in slow_knn(x, 2, metric, include_self)]
    assert edge_index.T.tolist() == expected


def test_scaled_copies_of_a_vector_tie_under_cosine():
    x = random_vectors(1, 64) * torch.tensor([[1.0], [0.1], [7.0], [123.0], [0.03]])
    edge_index, similarity = knn_graph(x, 2)
    assert edge_index[0].view(5, 2).tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
    assert torch.equal(similarity, torch.ones(10))


def test_a_zero_vector_has_cosine_zero_with_every_row():
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    edge_index, similarity = knn_graph(x, 1)
    assert similarity.tolist() == [1.0, 0.0, 0.0, 1.0]
    assert edge_index.tolist() == [[3, 0, 1, 0], [0, 1, 2, 3]]


def test_equal_vectors_have_distance_zero_exactly():
    x = random_vectors(1, 50).repeat(4, 1) * 1e3
    _, similarity = knn_graph(x, 3, metric="euclidean")
    assert torch.equal(similarity, torch.zeros(12))


def test_half_precision_vectors_are_accepted():
    x = random_vectors(9, 4).half()
    assert torch.equal(knn_graph(x, 3)[0], knn_graph(x.float(), 3)[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("metric", METRICS)
def test_knn_graph_is_the_same_on_a_gpu(metric):
    x = random_vectors(300, 32)
    edge_index, _ = knn_graph(x.cuda(), 10, metric=metric)
    assert edge_index.is_cuda
    assert torch.equal(edge_index.cpu(), knn_graph(x, 10, metric=metric)[0])


@pytest.mark.parametrize(
    ("x", "arguments", "message"),
    [
        (torch.ones(3, 2), {"k": 3}, "expected 1 <= k <= 2, the number of other rows, got k=3"),
        (torch.ones(3, 2), {"k": 4, "include_self": True}, "expected 1 <= k <= 3, the number of rows, got k=4"),
        (torch.ones(3, 2), {"k": 0}, "got k=0"),
        (torch.ones(3), {"k": 1}, r"got shape \(3,\)"),
        (torch.tensor([[1.0], [torch.nan]]), {"k": 1}, "finite"),
        (torch.ones(3, 2), {"k": 1, "metric": "cos"}, "got 'cos'"),
        (torch.ones(3, 2), {"k": 1, "block_size": 0}, "block_size >= 1, got 0"),
    ],
)
def test_knn_graph_explains_bad_input(x, arguments, message):
    with pytest.raises(ValueError, match=message):
        knn_graph(x, **arguments)


def test_largest_takes_and_orders_ties_by_column():
    values = torch.tensor([[1.0, 2.0, 2.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 3.0]])
    column, entry = largest(values, 3)
    assert column.tolist() == [[1, 2, 0], [4, 0, 1]]
    assert entry.tolist() == [[2.0, 2.0, 1.0], [3.0, 0.0, 0.0]]


def content_graph():
    """Five items; text vectors for items 1, 3, 4; given tag edges for items 0, 2, 4."""
    graph = HeteroData()
    graph["user"].num_nodes, graph["item"].num_nodes = 2, 5
    graph["text"].num_nodes, graph["text"].item_id = 3, torch.tensor([1, 3, 4])
    graph["text"].x = torch.tensor([[3.0, 4.0], [4.0, 3.0], [-1.0, 0.0]])
    graph["tags"].num_nodes, graph["tags"].item_id = 3, torch.tensor([0, 2, 4])
    graph["tags", "similar", "tags"].edge_index = torch.tensor([[0, 1, 2, 0], [0, 0, 1, 2]])
    return graph


def test_item_modalities_lists_or_checks_them():
    graph = content_graph()
    assert item_modalities(graph) == ("tags", "text")
    assert item_modalities(graph, ["text"]) == ("text",)
    with pytest.raises(ValueError, match=r"among \['tags', 'text'\], got \['image'\]"):
        item_modalities(graph, ["text", "image"])


def test_content_neighbors_of_vectors_are_the_nearest_positive_ones():
    matrix = content_neighbors(content_graph(), "text", k=10).toarray()
    expected = np.zeros((5, 5))
    expected[1, 3] = expected[3, 1] = 0.96  # (3, 4) and (4, 3); the third vector points away from both
    np.testing.assert_allclose(matrix, expected, rtol=1e-6)


def test_content_neighbors_of_edges_run_from_neighbor_to_item_without_loops():
    graph = content_graph()
    matrix = content_neighbors(graph, "tags", k=1)
    assert matrix.toarray().nonzero() == pytest.approx(np.array([[0, 2, 4], [4, 0, 2]]))
    assert set(matrix.data) == {1.0}
    graph["tags", "similar", "tags"].edge_weight = torch.tensor([9.0, 0.5, 0.25, -1.0])
    weighted = content_neighbors(graph, "tags", k=1).toarray()
    assert (weighted[2, 0], weighted[4, 2], weighted.sum()) == (0.5, 0.25, 0.75)


def test_edges_can_be_preferred_to_vectors():
    graph = content_graph()
    graph["tags"].x = torch.eye(3)
    assert content_neighbors(graph, "tags", k=1).nnz == 0
    assert content_neighbors(graph, "tags", k=1, source="edges").nnz == 3
    assert item_features(graph, "tags", source="edges").shape == (5, 3)


def test_a_modality_of_one_item_has_no_neighbors():
    graph = content_graph()
    graph["text"].num_nodes, graph["text"].item_id, graph["text"].x = 1, torch.tensor([2]), torch.ones(1, 2)
    graph["text", "similar", "text"].edge_index = torch.zeros(2, 0, dtype=torch.long)
    assert content_neighbors(graph, "text", k=3).nnz == 0


def test_item_features_of_vectors_have_unit_rows_or_none():
    features = item_features(content_graph(), "text")
    expected = [[0, 0], [0.6, 0.8], [0, 0], [0.8, 0.6], [-1, 0]]
    np.testing.assert_allclose(features, expected, atol=1e-12)


def test_item_features_are_centred_over_the_items_that_have_them():
    features = item_features(content_graph(), "text", center=True)
    vectors = np.array([[3.0, 4.0], [4.0, 3.0], [-1.0, 0.0]])
    centred = vectors - vectors.mean(axis=0)
    np.testing.assert_allclose(features[[1, 3, 4]], centred / np.linalg.norm(centred, axis=1, keepdims=True))
    assert not features[[0, 2]].any()


def test_item_features_of_edges_are_the_neighbourhoods():
    features = item_features(content_graph(), "tags").toarray()
    adjacency = np.ones((3, 3))  # 0–1, 1–2 and 0–2 in either direction, with self-loops
    expected = np.zeros((5, 3))
    expected[[0, 2, 4]] = adjacency / np.sqrt(3)
    np.testing.assert_allclose(features, expected)


def slow_knn_between(source, target, k, metric, excluded):
    """Sorts the rows of the source for every row of the target, on the similarities within both together."""
    similarity = dense_similarity(torch.cat([target, source]), metric).astype(np.float32)[: len(target), len(target) :]
    edges = []
    for node in range(len(target)):
        others = [row for row in range(len(source)) if row != excluded[node]]
        others.sort(key=lambda row, node=node: (-similarity[node, row], row))
        edges += [(row, node, similarity[node, row]) for row in others[:k]]
    return edges


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("block_size", [None, 1, 4])
def test_knn_between_two_sets_equals_a_full_sort(metric, block_size):
    source, target = random_vectors(17, 5), random_vectors(9, 5, seed=1)
    excluded = [-1, 3, 3, -1, 16, 0, 5, -1, 2]
    edge_index, similarity = knn_between(
        source, target, 4, metric=metric, excluded=torch.tensor(excluded), block_size=block_size
    )
    expected = slow_knn_between(source, target, 4, metric, excluded)
    assert edge_index.T.tolist() == [[row, node] for row, node, _ in expected]
    np.testing.assert_allclose(similarity, [value for *_, value in expected], rtol=1e-6, atol=1e-6)
    plain = slow_knn_between(source, target, 17, metric, [-1] * 9)
    assert knn_between(source, target, 17, metric=metric)[0].T.tolist() == [[row, node] for row, node, _ in plain]


def test_knn_between_explains_bad_input():
    with pytest.raises(ValueError, match="vectors of equal length, got 2 and 3"):
        knn_between(torch.ones(4, 2), torch.ones(4, 3), 1)
    with pytest.raises(ValueError, match="expected 1 <= k <= 4, the number of rows, got k=5"):
        knn_between(torch.ones(4, 2), torch.ones(9, 2), 5, excluded=torch.full((9,), -1))
    with pytest.raises(ValueError, match="finite"):
        knn_between(torch.ones(4, 1), torch.full((1, 1), torch.inf), 1)


def test_nodes_given_one_vector_choose_but_are_not_chosen_and_zeros_do_neither():
    x = random_vectors(8, 3)
    x[[2, 5]] = x.mean(0)
    x[7] = 0.0
    constant = torch.tensor([row in (2, 5, 7) for row in range(8)])
    edges, _ = similar_nodes(x, 2, constant=constant)
    real = [0, 1, 3, 4, 6]
    among = knn_graph(x[real], 2)[0]
    expected = {(real[s], real[t]) for s, t in among.T.tolist()}
    expected |= {(real[s], node) for node in (2, 5) for s, _ in knn_between(x[real], x[[2]], 2)[0].T.tolist()}
    assert {*map(tuple, edges.T.tolist())} == expected
    assert torch.equal(similar_nodes(x[:7], 2, constant=torch.zeros(7, dtype=torch.bool))[0], knn_graph(x[:7], 2)[0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("constant", [None, torch.tensor([False, False, False, False, True])])
def test_zero_vectors_are_nobodys_neighbours_unless_distances_are_compared(metric, constant):
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.9, 0.1], [-1.0, 0.0], [-1.0, -0.1]])
    edges, similarity = similar_nodes(x, 2, constant=constant, metric=metric)
    assert edges.shape[1] == len(similarity)
    assert {*edges.flatten().tolist()} == ({0, 1, 2, 3, 4} if metric == "euclidean" else {1, 2, 3, 4})
    lists = [source for source, target in edges.T.tolist() if target == 1]
    assert lists == ([2, 0] if metric == "euclidean" else [2])  # the zero vector's place stays empty


def imputed_graph(flag, value):
    """The text of item 4 is imputed."""
    graph = content_graph()
    graph["text"].x[2] = torch.as_tensor(value)
    graph["text"].missing = torch.tensor([False, False, True])
    graph["text"][flag] = graph["text"].missing.clone()
    return graph


def test_flags_are_false_where_nothing_was_imputed():
    assert flagged_nodes(content_graph(), "text").tolist() == [False, False, False]
    assert flagged_nodes(imputed_graph("constant", [0.0, 0.0]), "text", "constant").tolist() == [False, False, True]


def test_constant_nodes_are_no_neighbors_in_closed_forms():
    matrix = content_neighbors(imputed_graph("constant", [3.5, 3.5]), "text", k=10).toarray()
    assert set(zip(*matrix.nonzero(), strict=True)) == {(1, 3), (3, 1), (1, 4)}
    assert content_neighbors(imputed_graph("constant", [0.0, 0.0]), "text", k=10).nnz == 2


def test_centring_ignores_imputed_vectors_and_leaves_an_imputed_mean_zero():
    features = item_features(imputed_graph("constant", [3.5, 3.5]), "text", center=True)
    np.testing.assert_allclose(features[[1, 3]], np.array([[-1, 1], [1, -1]]) / 2**0.5)
    assert not features[[0, 2, 4]].any()


def test_imputed_nodes_without_edges_are_described_by_nothing():
    graph = imputed_graph("constant", [0.0, 0.0])
    graph["text", "similar", "text"].edge_index = torch.tensor([[0, 1], [1, 0]])
    features = item_features(graph, "text", source="edges").toarray()
    np.testing.assert_allclose(features[[1, 3]], np.array([[1, 1, 0], [1, 1, 0]]) / 2**0.5)
    assert not features[[0, 2, 4]].any()


def test_tokens_are_refused_where_nothing_is_learned():
    graph = imputed_graph("token", [0.0, 0.0])
    for ask in (lambda: item_features(graph, "text"), lambda: content_neighbors(graph, "text", k=1)):
        with pytest.raises(
            ConfigError, match=r"got 1 tokens .* choose graph.missing: absent, drop, zero, mean, neighbors"
        ):
            ask()


@pytest.mark.parametrize("flag", ["constant", "token", "missing"])
def test_imputed_vectors_left_out_have_zeros(flag):
    graph = imputed_graph(flag, [3.5, 3.5])
    features = item_features(graph, "text", imputed=False)
    np.testing.assert_allclose(features, [[0, 0], [0.6, 0.8], [0, 0], [0.8, 0.6], [0, 0]], atol=1e-12)
    assert graph["text"].x[2].tolist() == [3.5, 3.5]


def test_leaving_imputed_vectors_out_changes_nothing_where_none_was_imputed():
    for modality in ("text", "tags"):
        whole, own = (item_features(content_graph(), modality, imputed=imputed) for imputed in (True, False))
        np.testing.assert_array_equal(own if modality == "text" else own.toarray(), sp.csr_array(whole).toarray())
