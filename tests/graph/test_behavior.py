import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import HeteroData

from graphrec.graph import behavior
from graphrec.graph.behavior import (
    add_gram,
    available_memory,
    check_memory,
    co_occurrence,
    ease_neighbors,
    ease_weights,
    filter_weights,
    gram_matrix,
    interaction_matrix,
    ridge_inverse,
)


def random_matrix(users=30, items=18, density=0.2, seed=0):
    rng = np.random.default_rng(seed)
    return sp.csr_array((rng.random((users, items)) < density).astype(np.float32))


def slow_co_occurrence(matrix, k, target, normalization, shrinkage):
    rows = matrix.toarray() if target == "user" else matrix.toarray().T
    edges = []
    for node, own in enumerate(rows):
        found = []
        for other, values in enumerate(rows):
            shared = float(((own > 0) & (values > 0)).sum())
            if other == node or not shared:
                continue
            left, right = (own > 0).sum(), (values > 0).sum()
            divisor = {"count": 1.0, "cosine": np.sqrt(left * right), "jaccard": left + right - shared}
            weight = shared / divisor[normalization] * (shared / (shared + shrinkage))
            found.append((float(np.float32(weight)), other))
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        edges += [(other, node, weight) for weight, other in found[:k]]
    return edges


def dense_ease(gram, regularization):
    inverse = np.linalg.inv(gram + regularization * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def test_interaction_matrix_counts_a_pair_once():
    graph = HeteroData()
    graph["user"].num_nodes, graph["item"].num_nodes = 3, 4
    graph["user", "interacts", "item"].edge_index = torch.tensor([[0, 0, 2, 0], [1, 3, 0, 1]])
    matrix = interaction_matrix(graph)
    assert matrix.toarray().tolist() == [[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert matrix.dtype == np.float32


@pytest.mark.parametrize("target", ["item", "user"])
@pytest.mark.parametrize("normalization", ["count", "cosine", "jaccard"])
@pytest.mark.parametrize("shrinkage", [0.0, 3.0])
@pytest.mark.parametrize("k", [1, 4, 100])
def test_co_occurrence_equals_a_loop(target, normalization, shrinkage, k):
    matrix = random_matrix()
    arguments = {"target": target, "normalization": normalization, "shrinkage": shrinkage}
    edge_index, weight = co_occurrence(matrix, k, **arguments)
    expected = slow_co_occurrence(matrix, k, **arguments)
    assert edge_index.T.tolist() == [[source, node] for source, node, _ in expected]
    np.testing.assert_allclose(weight, [value for *_, value in expected], rtol=1e-6)


def test_co_occurrence_does_not_depend_on_the_blocks(monkeypatch):
    matrix = random_matrix(users=60, items=40)
    expected = co_occurrence(matrix, 5)
    widths = []
    original = behavior._block_edges
    monkeypatch.setattr(behavior, "BLOCK_ENTRIES", 100)

    def recorded(shared, *rest):
        widths.append(shared.nnz)
        return original(shared, *rest)

    monkeypatch.setattr(behavior, "_block_edges", recorded)
    edge_index, weight = co_occurrence(matrix, 5)
    assert len(widths) > 10
    assert max(widths) <= 100
    assert torch.equal(edge_index, expected[0])
    assert torch.equal(weight, expected[1])


def test_co_occurrence_reads_entries_as_ones_and_skips_stored_zeros():
    weighted = sp.csr_array(np.array([[5.0, 2.0, 0.0], [0.0, 1.0, 1.0]]))
    weighted.data[-1] = 0.0
    edge_index, weight = co_occurrence(weighted, 5, normalization="count")
    assert edge_index.tolist() == [[1, 0], [0, 1]]
    assert weight.tolist() == [1.0, 1.0]
    assert weighted.data.tolist() == [5.0, 2.0, 1.0, 0.0]


@pytest.mark.parametrize("target", ["item", "user"])
def test_no_interactions_give_no_edges(target):
    edge_index, weight = co_occurrence(sp.csr_array((4, 3)), 2, target=target)
    assert edge_index.shape == (2, 0)
    assert len(weight) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "got k=0"),
        ({"k": 1, "shrinkage": -1.0}, "shrinkage=-1.0"),
        ({"k": 1, "normalization": "pmi"}, "got 'pmi'"),
        ({"k": 1, "target": "text"}, "got 'text'"),
    ],
)
def test_co_occurrence_explains_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        co_occurrence(random_matrix(), **arguments)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("block_size", [1, 7, 512])
def test_gram_matrix_equals_the_dense_product(sparse, block_size):
    features = random_matrix().astype(np.float64)
    dense = features.toarray()
    gram = gram_matrix(features if sparse else dense, block_size=block_size)
    np.testing.assert_allclose(gram, dense @ dense.T)
    add_gram(gram, features if sparse else dense, 0.5, block_size=block_size)
    np.testing.assert_allclose(gram, 1.5 * dense @ dense.T)


def test_add_gram_explains_a_wrong_shape():
    with pytest.raises(ValueError, match=r"of 30 feature rows, got shape \(3, 3\)"):
        add_gram(np.zeros((3, 3)), random_matrix())


@pytest.mark.parametrize("n", [1, 5, 700])
def test_ridge_inverse_is_computed_in_place(n):
    features = np.random.default_rng(0).normal(size=(n, 40))
    gram = features @ features.T
    expected = np.linalg.inv(gram + 2.0 * np.eye(n))
    inverse = ridge_inverse(gram, 2.0)
    assert inverse is gram
    np.testing.assert_allclose(inverse, expected, atol=1e-10)
    np.testing.assert_array_equal(inverse, inverse.T)


@pytest.mark.parametrize(
    ("gram", "regularization", "message"),
    [
        (np.eye(3), 0.0, "regularization > 0, got 0.0"),
        (np.eye(3), float("nan"), "got nan"),
        (-5 * np.eye(3), 1.0, "positive definite"),
        (np.eye(3, dtype=np.float32), 1.0, "got float32 of shape"),
        (np.ones((2, 3)), 1.0, r"got float64 of shape \(2, 3\)"),
        (np.asfortranarray(np.arange(9.0).reshape(3, 3)), 1.0, "C-contiguous"),
    ],
)
def test_ridge_inverse_explains_bad_input(gram, regularization, message):
    with pytest.raises(ValueError, match=message):
        ridge_inverse(gram, regularization)


def test_ease_weights_equal_the_formula():
    gram = gram_matrix(random_matrix().T.tocsr())
    expected = dense_ease(gram, 3.0)
    weights = ease_weights(gram, 3.0)
    assert weights.dtype == np.float32
    assert not weights.diagonal().any()
    np.testing.assert_allclose(weights, expected, atol=1e-6)


def test_ease_weights_solve_every_column_as_a_ridge_regression_on_the_others():
    matrix = random_matrix()
    seen, weights = matrix.toarray().astype(np.float64), ease_weights(gram_matrix(matrix.T.tocsr()), 2.0)
    for item in range(seen.shape[1]):
        others = np.delete(seen, item, axis=1)
        solution = np.linalg.solve(others.T @ others + 2.0 * np.eye(others.shape[1]), others.T @ seen[:, item])
        np.testing.assert_allclose(np.delete(weights[:, item], item), solution, atol=1e-6)


@pytest.mark.parametrize("target", ["item", "user"])
@pytest.mark.parametrize("k", [1, 5, 18])
def test_ease_neighbors_are_the_largest_positive_weights(target, k, monkeypatch):
    monkeypatch.setattr(behavior, "BLOCK_ENTRIES", 90)  # several blocks
    matrix = random_matrix()
    edge_index, weight = ease_neighbors(matrix, k, regularization=4.0, target=target)
    rows = matrix.toarray() if target == "user" else matrix.toarray().T
    weights = dense_ease(rows.astype(np.float64) @ rows.T, 4.0)
    expected = []
    for node in range(len(weights)):
        order = np.argsort(-weights[:, node], kind="stable")[:k]
        expected += [(source, node) for source in order if weights[source, node] > 1e-9]
    assert edge_index.T.tolist() == [list(pair) for pair in expected]
    np.testing.assert_allclose(weight, [weights[pair] for pair in expected], atol=1e-6)


@pytest.mark.parametrize("k", [0, 19])
def test_ease_neighbors_explains_a_wrong_k(k):
    with pytest.raises(ValueError, match=f"expected 1 <= k <= 18, the number of items, got {k}"):
        ease_neighbors(random_matrix(), k, regularization=1.0)


def test_check_memory_says_what_is_needed_and_what_there_is(monkeypatch):
    monkeypatch.setattr(behavior, "available_memory", lambda: 4 * 2**30)
    check_memory(10_000)
    with pytest.raises(MemoryError, match=r"EASE over 20000 rows needs 5.2 GiB of memory, got 4.0 GiB"):
        check_memory(20_000)
    monkeypatch.setattr(behavior, "available_memory", lambda: None)
    check_memory(10**9)


def test_available_memory_is_the_tightest_limit_known(monkeypatch):
    monkeypatch.setattr(behavior, "_from_meminfo", lambda: 100)
    monkeypatch.setattr(behavior, "_from_cgroup", lambda: 60)
    assert available_memory() == 60
    monkeypatch.setattr(behavior, "_from_meminfo", lambda: None)
    monkeypatch.setattr(behavior, "_from_cgroup", lambda: None)
    monkeypatch.setattr(behavior, "_from_sysconf", lambda: 80)
    assert available_memory() == 80
    monkeypatch.setattr(behavior, "_from_sysconf", lambda: None)
    assert available_memory() is None


def test_available_memory_of_this_machine_is_plausible():
    available = available_memory()
    assert available is None or 2**20 < available < 2**50


def test_filter_weights_are_two_steps_over_the_normalised_interactions():
    dense = random_matrix().toarray()
    dense[3], dense[:, 5] = 0, 0  # a user and an item without interactions
    users, items = (np.sqrt(np.maximum(dense.sum(axis=axis), 1)) for axis in (1, 0))
    normalized = dense / users[:, None] / items
    expected = normalized.T @ normalized
    np.fill_diagonal(expected, 0)
    stored = sp.csr_array(dense * 3)  # every entry that is not zero counts as one
    stored.data[:] = np.where(np.arange(len(stored.data)) % 2, 3, 1)
    found = filter_weights(sp.csr_matrix(stored))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found, found.T)
    assert found.dtype == np.float32
    assert not found[5].any()
    zeros = sp.csr_array((np.zeros(1, np.float32), ([0], [1])), shape=(2, 3))
    assert not filter_weights(zeros).any()
