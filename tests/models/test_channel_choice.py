"""The channel's settings, chosen by users held out in closed form, against solutions without each user."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids
from graphrec.graph.neighbors import item_features
from graphrec.models import channel_choice as module
from graphrec.models.channel_choice import CONTENT, REGULARIZATION, HeldOutUsers, choose_channel
from graphrec.models.linear_channel import LinearChannel, LinearConfig
from graphrec.testing import block_data, small_graph
from tests.reference.models import DATA, GRAPH, TRAIN

MODALITIES = ("image", "text")
SEEN = TRAIN.csr().toarray().astype(np.float64)


def content_gram(content):
    features = {name: item_features(GRAPH, name, imputed=False) for name in content}
    return sum((weight * features[name] @ features[name].T for name, weight in content.items()), np.zeros((1, 1)))


def refitted_gain(user, hidden, regularization, content, items):
    """NDCG@20 of a hidden interaction by EASE fitted without the user."""
    rest = np.delete(SEEN, user, axis=0)[:, items]
    gram = rest.T @ rest + (content_gram(content) + np.zeros((len(SEEN[0]),) * 2))[np.ix_(items, items)]
    inverse = np.linalg.inv(gram + regularization * np.eye(len(items)))
    weights = np.eye(len(items)) - inverse / np.diag(inverse)
    row = SEEN[user, items].copy()
    row[hidden] = 0
    scores = row @ weights
    others = [scores[item] for item in range(len(items)) if not SEEN[user, items][item]]
    rank = sum(score >= scores[hidden] for score in others)
    return 1 / np.log2(rank + 2) if rank < 20 else 0.0


def held_out(graph=GRAPH, **settings):
    return HeldOutUsers(graph, **settings)


@pytest.mark.parametrize("content", [{}, {"text": 3.0}, {"image": 2.0, "text": 30.0}])
@pytest.mark.parametrize("regularization", [1.0, 50.0])
@pytest.mark.parametrize("max_items", [3_000, 15])
def test_the_value_is_that_of_solutions_without_each_user(regularization, content, max_items):
    users = held_out(max_items=max_items, seed=3)
    items, gains, taken = users._items, [], set()
    rows = users._seen.split(users._start.diff().tolist())
    for row, hidden in zip((row.tolist() for row in rows), users._hidden.tolist(), strict=True):
        same = [user for user in range(len(SEEN)) if np.flatnonzero(SEEN[user, items]).tolist() == row]
        user = next(user for user in same if user not in taken)
        taken.add(user)
        assert hidden in row
        gains.append(refitted_gain(user, hidden, regularization, content, items))
    assert len(taken) == len(users) > 10
    assert users.value(regularization, content, block_size=7) == pytest.approx(np.mean(gains), rel=1e-4)


def test_items_are_the_most_popular_and_users_have_two_of_them():
    users = held_out(max_items=10)
    counts = SEEN.sum(axis=0)
    assert counts[users._items].min() >= np.delete(counts, users._items).max()
    assert len(users) == (SEEN[:, users._items].sum(axis=1) > 1).sum()
    assert len(held_out(max_users=5)) == 5


def test_the_draw_follows_the_seed():
    assert torch.equal(held_out(seed=1)._hidden, held_out(seed=1)._hidden)
    assert not torch.equal(held_out(seed=1)._hidden, held_out(seed=2)._hidden)


def test_no_single_step_is_better_than_the_choice():
    regularization, content = choose_channel(GRAPH, MODALITIES)
    users = held_out()
    best = users.value(regularization, content)
    step = REGULARIZATION.index(regularization)
    for other in REGULARIZATION[max(step - 1, 0) : step + 2]:
        assert users.value(other, content) <= best
    for name in MODALITIES:
        step = CONTENT.index(content[name])
        for other in CONTENT[max(step - 1, 0) : step + 2]:
            assert users.value(regularization, content | {name: other}) <= best


def test_what_is_given_stays_as_it_is(monkeypatch):
    assert choose_channel(GRAPH, MODALITIES, regularization=7.0)[0] == 7.0
    assert choose_channel(GRAPH, MODALITIES, content={"text": 5.0})[1] == {"text": 5.0}
    monkeypatch.setattr(module, "HeldOutUsers", lambda *_, **__: pytest.fail("there was nothing to choose"))
    assert choose_channel(GRAPH, MODALITIES, regularization=7.0, content={}) == (7.0, {})


def test_content_that_says_what_belongs_together_counts_and_noise_does_not():
    data = block_data(200, 180, 12, degree=3)
    noise = np.random.default_rng(0).normal(size=(180, 9)).astype(np.float32)
    mixed = replace(data, vectors={**data.vectors, "image": Vectors(Ids([f"i{row}" for row in range(180)]), noise)})
    content = choose_channel(small_graph(mixed), MODALITIES)[1]
    assert content["text"] > 10 * content["image"]


def test_without_users_of_two_interactions_the_starts_are_kept():
    graph = small_graph(DATA)
    graph["user", "interacts", "item"].edge_index = torch.tensor([[0, 1, 2], [3, 3, 4]])
    assert choose_channel(graph, MODALITIES) == (200.0, {"image": 100.0, "text": 100.0})
    matrix = sp.csr_array(np.eye(TRAIN.num_items, k=1, dtype=np.float32))
    lists = small_graph(replace(DATA, vectors={}, neighbors={"tags": matrix}))
    lists["user", "interacts", "item"].edge_index = torch.zeros(2, 0, dtype=torch.long)
    assert choose_channel(lists, ("tags",)) == (200.0, {"tags": 6.25})


def test_a_system_that_is_not_definite_is_never_the_best():
    users = held_out()
    users._gram -= 1e6
    assert users.value(1.0, {}) == float("-inf")


def test_the_channel_says_what_was_chosen():
    channel = LinearChannel(GRAPH, LinearConfig())
    regularization, content = choose_channel(GRAPH, MODALITIES)
    assert (channel.regularization, channel.content) == (regularization, {n: w for n, w in content.items() if w})
    given = LinearChannel(small_graph(DATA), LinearConfig(regularization=5.0, content={"text": 2.0, "image": 0.0}))
    assert (given.regularization, given.content) == (5.0, {"text": 2.0})
