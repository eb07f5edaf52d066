import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec.nn.linear import ItemToItem

BUFFERS = {"weights", "start", "seen"}


def random_channel(num_users=9, num_items=7, seed=0, density=0.4):
    """Returns the module, the 0/1 interactions and the weights; user 2 has no interactions, if there is one."""
    rng = np.random.default_rng(seed)
    seen = (rng.random((num_users, num_items)) < density).astype(np.float64)
    seen[2:3] = 0.0
    weights = rng.normal(size=(num_items, num_items)).astype(np.float32)
    edge_index = torch.from_numpy(rng.permutation(np.stack(seen.nonzero()), axis=1))
    return ItemToItem(edge_index, torch.from_numpy(weights), num_users), seen, weights


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 10**6), st.sampled_from([0.0, 0.4, 1.0]))
def test_scores_equal_the_product_of_interactions_and_weights(num_users, num_items, seed, density):
    channel, seen, weights = random_channel(num_users, num_items, seed, density)
    users = torch.from_numpy(np.random.default_rng(seed).integers(num_users, size=11))  # in any order, with repeats
    np.testing.assert_allclose(channel.score(users), (seen @ weights)[users], rtol=1e-5, atol=1e-5)


def test_the_row_of_the_weights_is_the_item_seen():
    channel = ItemToItem(torch.tensor([[0], [1]]), torch.tensor([[0.0, 2.0], [5.0, 0.0]]), num_users=1)
    assert channel.score(torch.tensor([0])).tolist() == [[5.0, 0.0]]


def test_no_users_have_no_scores():
    channel, none = random_channel()[0], torch.zeros(0, dtype=torch.long)
    assert channel.score(none).shape == (0, 7)


def test_repeated_edges_count_once():
    edge_index, weights = torch.tensor([[1, 0, 1, 1, 0], [2, 1, 2, 0, 1]]), torch.arange(9.0).view(3, 3)
    users = torch.arange(2)
    assert ItemToItem(edge_index, weights, 2).score(users).tolist() == [[3.0, 4.0, 5.0], [6.0, 8.0, 10.0]]


def test_users_without_interactions_get_zeros():
    edge_index, weights = torch.tensor([[1, 1, 3], [0, 2, 1]]), torch.ones(3, 3)
    channel, users = ItemToItem(edge_index, weights, num_users=6), torch.tensor([5, 0, 1, 2, 4])
    assert channel.score(users).sum(1).tolist() == [0.0, 0.0, 6.0, 0.0, 0.0]


@pytest.mark.parametrize("block_size", [1, 4, 9, 1024])
def test_the_spread_is_that_of_the_median_user_with_interactions(block_size):
    channel, seen, weights = random_channel()
    scores = (seen @ weights.astype(np.float64))[seen.any(axis=1)]
    assert len(scores) == len(seen) - 1
    assert channel.spread(block_size) == pytest.approx(np.median(scores.std(axis=1)), rel=1e-5)


def test_equal_scores_have_no_spread():
    everyone = torch.cartesian_prod(torch.arange(4), torch.arange(3)).T
    assert ItemToItem(everyone, torch.full((3, 3), 0.1), num_users=4).spread() == pytest.approx(0.0, abs=1e-7)
    assert ItemToItem(torch.zeros(2, 0, dtype=torch.long), torch.ones(3, 3), num_users=4).spread() == 0.0


def test_the_buffers_move_with_the_module_and_are_not_saved():
    channel = random_channel()[0]
    assert {name for name, _ in channel.named_buffers()} == BUFFERS
    assert channel.state_dict() == {}
    assert not list(channel.parameters())
    assert {buffer.device.type for buffer in channel.to("meta").buffers()} == {"meta"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_scores_are_the_same_on_a_gpu():
    channel, users = random_channel()[0], torch.arange(9)
    expected, spread = channel.score(users), channel.spread()
    found = channel.cuda().score(users.cuda())
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-6)
    assert channel.spread() == pytest.approx(spread, rel=1e-5)


def test_items_without_weights_are_scored_zero_and_count_for_nothing():
    edge_index = torch.tensor([[0, 0, 0, 1, 2, 2], [0, 3, 2, 2, 3, 3]])
    weights, items = torch.tensor([[0.0, 2.0], [5.0, 1.0]]), torch.tensor([1, 3])
    some = ItemToItem(edge_index, weights, 4, items=items, num_items=5)
    expected = [[0, 5, 0, 1, 0], [0] * 5, [0, 5, 0, 1, 0], [0] * 5]
    assert some.score(torch.arange(4)).tolist() == expected
    assert some.spread() == 2.0  # of 5 and 1, for the users with interactions that count
