import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec.graph.transforms import both_ways, degree, prune_by_degree, row_norm, symmetric_norm
from tests.reference.propagation import dense_matrix, dense_row_norm, dense_symmetric_norm


def random_edges(num_sources, num_targets, seed, density=0.4):
    """Returns distinct edges and positive weights."""
    rng = np.random.default_rng(seed)
    source, target = np.nonzero(rng.random((num_sources, num_targets)) < density)
    weight = rng.uniform(0.1, 3.0, len(source)).astype(np.float32)
    return torch.from_numpy(np.stack([source, target])), torch.from_numpy(weight)


def hub_edges():
    """Returns edges of 40 users, all of whom have one popular item and one item of their own."""
    users = torch.arange(40)
    return torch.cat([torch.stack([users, torch.zeros_like(users)]), torch.stack([users, users + 1])], dim=1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 10**6), st.booleans())
def test_symmetric_norm_equals_dense(num_sources, num_targets, seed, weighted):
    edge_index, weight = random_edges(num_sources, num_targets, seed)
    weight = weight if weighted else None
    values = symmetric_norm(edge_index, num_sources, num_targets, weight)
    expected = dense_symmetric_norm(dense_matrix(edge_index, weight, num_sources, num_targets))
    got = dense_matrix(edge_index, values, num_sources, num_targets)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(0, 10**6), st.booleans())
def test_row_norm_equals_dense(num_nodes, seed, weighted):
    edge_index, weight = random_edges(num_nodes, num_nodes, seed)
    weight = weight if weighted else None
    expected = dense_row_norm(dense_matrix(edge_index, weight, num_nodes, num_nodes))
    got = dense_matrix(edge_index, row_norm(edge_index, num_nodes, weight), num_nodes, num_nodes)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


def test_row_norm_of_a_knn_graph_is_one_over_k():
    edge_index = torch.tensor([[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]])
    torch.testing.assert_close(row_norm(edge_index, 3), torch.full((6,), 0.5))
    torch.testing.assert_close(row_norm(edge_index, 3, torch.full((6,), 4.0)), torch.full((6,), 0.5))


def test_an_edge_from_a_node_without_neighbours_weighs_nothing():
    assert row_norm(torch.tensor([[2, 1], [0, 0]]), 3).tolist() == [0.0, 0.0]


def test_degree_counts_or_adds_weights():
    index = torch.tensor([0, 0, 2])
    assert degree(index, 4).tolist() == [2.0, 0.0, 1.0, 0.0]
    assert degree(index, 4, torch.tensor([0.5, 2.0, 3.0])).tolist() == [2.5, 0.0, 3.0, 0.0]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(0, 10**6), st.booleans())
def test_both_ways_is_the_union_with_the_mean_of_the_weights(num_nodes, seed, weighted):
    edge_index, weight = random_edges(num_nodes, num_nodes, seed)
    there = dense_matrix(edge_index, weight if weighted else None, num_nodes, num_nodes)
    edges, values = both_ways(edge_index, weight if weighted else None)
    times = (there > 0).double() + (there.T > 0).double()
    expected = (there + there.T) / times.clamp(min=1)
    torch.testing.assert_close(dense_matrix(edges, values, num_nodes, num_nodes), expected, rtol=1e-5, atol=1e-7)
    assert edges.T.tolist() == sorted(edges.T.tolist())
    assert (values is None) == (not weighted)


def test_without_weights_every_edge_leads_both_ways_once():
    edges, weight = both_ways(torch.tensor([[0, 1, 3], [1, 0, 1]]))
    assert edges.tolist() == [[0, 1, 1, 3], [1, 0, 3, 1]]
    assert weight is None


def test_an_edge_that_was_there_both_ways_has_its_mean_weight():
    edges, weight = both_ways(torch.tensor([[0, 1, 3], [1, 0, 1]]), torch.tensor([1.0, 2.0, 5.0]))
    assert edges.tolist() == [[0, 1, 1, 3], [1, 0, 3, 1]]
    assert weight.tolist() == [1.5, 1.5, 5.0, 5.0]


def test_a_self_loop_stays_one_edge_of_its_weight():
    edges, weight = both_ways(torch.tensor([[2, 0], [2, 1]]), torch.tensor([3.0, 0.5]))
    assert edges.tolist() == [[0, 1, 2], [1, 0, 2]]
    assert weight.tolist() == [0.5, 0.5, 3.0]


@pytest.mark.parametrize("weighted", [False, True])
def test_both_ways_changes_nothing_the_second_time(weighted):
    edge_index, weight = random_edges(6, 6, seed=1)
    edges, values = both_ways(edge_index, weight if weighted else None)
    again, same = both_ways(edges, values)
    assert edges.size(1) > edge_index.size(1)
    assert torch.equal(again, edges)
    assert same is values is None or torch.equal(same, values)


def test_no_edges_have_no_reverse():
    edges, weight = both_ways(torch.zeros(2, 0, dtype=torch.long), torch.zeros(0))
    assert edges.shape == (2, 0)
    assert weight.shape == (0,)


@pytest.mark.parametrize(("keep", "count"), [(1.0, 80), (0.5, 40), (0.2, 16), (0.33, 26), (1e-9, 1)])
def test_pruning_keeps_its_share_without_repeats(keep, count):
    kept = prune_by_degree(hub_edges(), keep, torch.Generator().manual_seed(0))
    assert len(kept) == count
    assert (kept.diff() > 0).all()
    assert kept[0] >= 0
    assert kept[-1] < 80


def test_pruning_depends_on_its_generator_alone():
    first, same, other = (prune_by_degree(hub_edges(), 0.5, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_edges_between_popular_nodes_go_first():
    generator = torch.Generator().manual_seed(0)
    rounds = 200
    counts = torch.zeros(80)
    for _ in range(rounds):
        counts[prune_by_degree(hub_edges(), 0.25, generator)] += 1
    hub, rare = counts[:40].mean() / rounds, counts[40:].mean() / rounds
    assert hub + rare == pytest.approx(0.5)
    assert rare > 3 * hub


def test_one_edge_is_drawn_with_the_probability_of_the_paper():
    edges = torch.tensor([[0, 0, 1, 2], [0, 1, 0, 0]])  # degrees: users 2, 1, 1; items 3, 1
    weight = torch.tensor([(2 * 3) ** -0.5, (2 * 1) ** -0.5, 3**-0.5, 3**-0.5])
    generator, rounds = torch.Generator().manual_seed(0), 4000
    counts = torch.zeros(4)
    for _ in range(rounds):
        counts[prune_by_degree(edges, 0.25, generator)] += 1
    torch.testing.assert_close(counts / rounds, weight / weight.sum(), rtol=0, atol=0.03)


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(keep):
    with pytest.raises(ValueError, match=r"expected keep in \(0, 1\], got"):
        prune_by_degree(hub_edges(), keep, torch.Generator())
