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
from graphrec.models import linear_channel
from graphrec.models.channel_choice import (
    CONTENT,
    FIRST_WEIGHT,
    REGULARIZATION,
    WEIGHTS,
    HeldOutUsers,
    choose_channel,
    choose_weight,
    climb,
)
from graphrec.models.linear_channel import LinearChannel, LinearConfig
from graphrec.testing import block_data, relabel, small_graph
from tests.reference.models import DATA, GRAPH, TRAIN

MODALITIES = ("image", "text")
BLOCKS = block_data(200, 180, 12, degree=3)
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
    bar = scores[hidden] - 1e-5 * abs(scores[hidden])  # ties count as better
    rank = sum(scores[item] >= bar for item in range(len(items)) if not SEEN[user, items][item])
    return 1 / np.log2(rank + 2) if rank < 20 else 0.0


@pytest.mark.parametrize("content", [{}, {"text": 3.0}, {"image": 2.0, "text": 30.0}])
@pytest.mark.parametrize("regularization", [1.0, 50.0])
@pytest.mark.parametrize("max_items", [3_000, 15])
def test_gains_are_those_of_solutions_without_each_user(regularization, content, max_items):
    held_out = HeldOutUsers(GRAPH, max_items=max_items)
    counts = SEEN.sum(axis=0)
    items = np.sort(np.argsort(-counts, kind="stable")[:max_items])
    users = [user for user in range(TRAIN.num_users) if SEEN[user, items].sum() > 1]
    assert held_out.users.tolist() == users
    expected = [
        np.mean(
            [refitted_gain(user, item, regularization, content, items) for item in np.flatnonzero(SEEN[user, items])]
        )
        for user in users
    ]
    for block_size in (7, 64):
        found = held_out.gains(regularization, content, block_size=block_size)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_users_are_held_out_up_to_a_number_of_interactions():
    users = [HeldOutUsers(GRAPH, max_pairs=100, seed=seed).users for seed in (1, 1, 2)]
    assert all(80 < SEEN[some].sum() <= 100 for some in users)
    assert users[0].tolist() == users[1].tolist() != users[2].tolist()


def test_the_order_of_rows_plays_no_part():
    draw = np.random.default_rng(0)
    chosen = choose_channel(small_graph(BLOCKS))
    for _ in range(3):
        other = relabel(BLOCKS, draw.permutation(200), draw.permutation(180))
        assert choose_channel(small_graph(other)) == chosen


def test_no_single_step_is_better_than_the_choice():
    graph = small_graph(BLOCKS)
    regularization, content = choose_channel(graph)
    users = HeldOutUsers(graph)
    best = users.gains(regularization, content)

    def gain(*settings):
        difference = users.gains(*settings) - best
        return difference.mean() / difference.std().clamp_min(1e-12) * len(difference) ** 0.5

    step = REGULARIZATION.index(regularization)
    others = [(other, content) for other in REGULARIZATION[max(step - 1, 0) : step + 2]]
    for name in MODALITIES:
        step = CONTENT.index(content[name])
        others += [(regularization, content | {name: other}) for other in CONTENT[max(step - 1, 0) : step + 2]]
    assert max(gain(*other) for other in others) <= module.MARGIN


def test_a_climb_asks_once_and_moves_for_more_than_noise_alone():
    asked = []

    def gains(at):
        asked.append(dict(at))
        height = -abs(at["first"] - 3) - 2 * abs(at["second"] - 1)
        return torch.tensor([height - 0.1, height + 0.1], dtype=torch.double) + 0.01 * at["second"]

    sizes = {"first": 6, "second": 4}
    assert climb(gains, {"first": 0, "second": 3}, sizes) == {"first": 3, "second": 1}
    assert len(asked) == len({tuple(at.values()) for at in asked})

    def noise(at):
        return torch.tensor([0.0, 1.0, 0.0, -0.9]) * at["first"]

    assert climb(noise, {"first": 2}, {"first": 6}) == {"first": 2}


def test_what_is_given_stays_as_it_is(monkeypatch):
    graph = small_graph(BLOCKS)
    assert choose_channel(graph, regularization=7.0)[0] == 7.0
    assert choose_channel(graph, content={"text": 5.0})[1] == {"text": 5.0}
    monkeypatch.setattr(module, "HeldOutUsers", lambda *_, **__: pytest.fail("there was nothing to choose"))
    assert choose_channel(graph, regularization=7.0, content={}) == (7.0, {})


def test_content_that_says_what_belongs_together_counts_and_noise_does_not():
    noise = np.random.default_rng(0).normal(size=(180, 9)).astype(np.float32)
    mixed = replace(BLOCKS, vectors={**BLOCKS.vectors, "image": Vectors(Ids([f"i{row}" for row in range(180)]), noise)})
    content = choose_channel(small_graph(mixed))[1]
    assert content["text"] > 10 * content["image"]


def test_the_log_says_what_was_chosen_and_by_whom(caplog):
    caplog.set_level("INFO", logger="graphrec")
    choose_channel(small_graph(BLOCKS))
    choose_channel(GRAPH)
    first, second = (record.message for record in caplog.records if "lambda" in record.message)
    assert first.endswith("; by 199 held-out users")
    assert second.endswith("; too few users to hold out, these are the starts")
    caplog.clear()
    choose_channel(small_graph(replace(DATA, vectors={})), regularization=7.0)  # there is nothing to choose
    assert not caplog.records


def test_with_few_users_of_two_interactions_the_starts_are_kept():
    assert choose_channel(GRAPH) == (200.0, {"image": 100.0, "text": 100.0})  # 42 users
    graph = small_graph(BLOCKS)
    graph["user", "interacts", "item"].edge_index = torch.stack([torch.arange(200), torch.arange(200) % 5])
    assert len(HeldOutUsers(graph).users) == 0
    assert HeldOutUsers(graph).gains(1.0, {}).shape == (0,)
    assert choose_channel(graph) == (200.0, {"image": 100.0, "text": 100.0})
    matrix = sp.csr_array(np.eye(TRAIN.num_items, k=1, dtype=np.float32))
    assert choose_channel(small_graph(replace(DATA, vectors={}, neighbors={"tags": matrix}))) == (200.0, {"tags": 6.25})


@pytest.mark.parametrize("broken", [-1e6, float("nan")])
def test_a_system_that_cannot_be_solved_gains_nothing(broken):
    users = HeldOutUsers(GRAPH)
    assert users.gains(1.0, {}).mean() > 0
    users._gram += broken
    assert not users.gains(1.0, {}).any()


def test_the_channel_takes_what_was_chosen(monkeypatch):
    graph, asked = small_graph(DATA), []

    def chosen(graph, **given):
        asked.append(given)
        return 5.0, {"text": 2.0, "image": 0.0}

    monkeypatch.setattr(linear_channel, "choose_channel", chosen)
    settings = [LinearConfig(filter=share) for share in (0.4, 0.1)]
    channels = [LinearChannel(graph, config) for config in settings]
    assert asked == [{"regularization": None, "content": None}]
    given = LinearChannel(graph, LinearConfig(filter=0.1, regularization=5.0, content={"text": 2.0}))
    for channel in channels:
        assert (channel.regularization, channel.content) == (5.0, {"text": 2.0})
    users = torch.arange(TRAIN.num_users)
    torch.testing.assert_close(channels[1].score(users), given.score(users))


def test_the_weight_is_the_best_of_validation_where_that_is_more_than_noise():
    draw = torch.Generator().manual_seed(0)
    noise = {weight: 0.3 * torch.randn(400, generator=draw, dtype=torch.double) for weight in WEIGHTS}
    assert choose_weight(lambda weight: -abs(torch.tensor(max(weight, 1e-3) / 0.45).log()) + noise[weight]) == 0.45
    asked = []

    def flat(weight):
        asked.append(weight)
        return torch.zeros(400) if weight == FIRST_WEIGHT else 0.01 - 0.021 * (torch.arange(400) % 2)

    assert choose_weight(flat) == FIRST_WEIGHT  # a mean of .0005 below
    assert sorted(asked) == sorted(WEIGHTS)
    little = torch.tensor([1.0, -0.99] * 200)  # a mean of .005 with a standard error of .05
    assert choose_weight(lambda weight: little * (weight == 1.0)) == FIRST_WEIGHT
    assert choose_weight(lambda weight: torch.tensor([float("nan"), 1.0])) == FIRST_WEIGHT
    assert choose_weight(lambda weight: torch.zeros(1)) == FIRST_WEIGHT
