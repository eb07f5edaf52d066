import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec.graph import homophily as module
from graphrec.graph.homophily import homophily


def slow_homophily(edges, seen):
    """The ratio, edge by edge and pair by pair."""

    def cosine(first, second):
        length = np.sqrt(seen[:, first].sum() * seen[:, second].sum())
        return seen[:, first] @ seen[:, second] / length if length else 0.0

    edges = [(i, j) for i, j in edges if i != j]
    together = np.mean([cosine(i, j) for i, j in edges])
    apart = np.mean([cosine(i, j) for i, _ in edges for _, j in edges])
    return together / apart if apart else 1.0


def random_case(num_items, num_edges, seed, density=0.4):
    rng = np.random.default_rng(seed)
    return rng.integers(num_items, size=(2, num_edges)), (rng.random((9, num_items)) < density).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(1, 14), st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.7]))
def test_equals_the_loop_over_edges_and_pairs(num_items, num_edges, seed, density):
    edges, seen = random_case(num_items, num_edges, seed, density)
    found = homophily(torch.from_numpy(edges), sp.csr_array(seen))
    expected = slow_homophily(edges.T.tolist(), seen) if (edges[0] != edges[1]).any() else 1.0
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("block", [1, 5])
def test_blocks_change_nothing(monkeypatch, block):
    edges, seen = random_case(8, 13, 0)
    whole = homophily(torch.from_numpy(edges), sp.csr_array(seen))
    monkeypatch.setattr(module, "BLOCK", block)
    assert homophily(torch.from_numpy(edges), sp.csr_array(seen)) == pytest.approx(whole)


def test_random_edges_between_popular_items_have_about_one():
    rng = np.random.default_rng(0)
    popularity = rng.random(300) ** 3
    seen = (rng.random((2000, 300)) < popularity).astype(np.float32)
    edges = rng.choice(300, size=(2, 5000), p=popularity / popularity.sum())
    assert homophily(torch.from_numpy(edges), sp.csr_array(seen)) == pytest.approx(1.0, abs=0.05)


def test_edges_within_groups_of_taste_have_as_many_times_as_there_are_groups():
    taste = np.repeat(np.eye(4), 25, axis=0)  # 100 users and 40 items of four kinds
    seen = np.repeat(taste, 10, axis=1).astype(np.float32)
    items = torch.arange(40).view(4, 10)
    edges = torch.cat([torch.cartesian_prod(group, group) for group in items]).T
    assert homophily(edges, sp.csr_array(seen)) == pytest.approx(4.0)


def test_nothing_to_compare_is_one():
    seen = sp.csr_array(np.ones((3, 4), np.float32))
    assert homophily(torch.zeros(2, 0, dtype=torch.long), seen) == 1.0
    assert homophily(torch.arange(4).expand(2, -1), seen) == 1.0  # self-loops alone
    assert homophily(torch.tensor([[0], [1]]), sp.csr_array((3, 4), dtype=np.float32)) == 1.0
