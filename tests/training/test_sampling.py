"""Negatives are exact: never a training positive, and uniform over the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec.data.interactions import Ids, Interactions
from graphrec.training.sampling import NegativeSampler, PairLoader


def interactions(cells, users, items):
    cells = np.asarray(cells, dtype=np.int64)
    return Interactions(
        user=cells // items,
        item=cells % items,
        users=Ids(range(users), name="user"),
        items=Ids(range(items), name="item"),
    )


@st.composite
def train_sets(draw):
    users, items = draw(st.integers(1, 8)), draw(st.integers(2, 9))
    rows = [draw(st.sets(st.integers(0, items - 1), max_size=items - 1)) for _ in range(users)]
    cells = [user * items + item for user, row in enumerate(rows) for item in row]
    return interactions(cells or [0], users, items)


@settings(max_examples=60, deadline=None)
@given(train_sets(), st.integers(0, 1000))
def test_negatives_are_never_positives_and_reach_every_other_item(train, seed):
    sampler = NegativeSampler(train)
    user = torch.arange(train.num_users)
    negatives = sampler.own(user, 400, torch.Generator().manual_seed(seed))
    positives = train.csr().toarray() > 0
    for row in range(train.num_users):
        drawn = set(negatives[row].tolist())
        assert drawn == set(np.flatnonzero(~positives[row]).tolist())


def test_negatives_are_uniform_over_the_complement():
    train = interactions([0, 3, 4, 7, 8 + 1], users=2, items=8)
    negatives = NegativeSampler(train).own(torch.tensor([0, 1]), 40_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(negatives[0], minlength=8)
    assert counts[[0, 3, 4, 7]].sum() == 0
    np.testing.assert_allclose(counts[[1, 2, 5, 6]] / 40_000, 0.25, atol=0.01)


def test_repeated_interactions_do_not_shift_the_complement():
    train = interactions([0, 0, 0, 2], users=1, items=4)
    negatives = NegativeSampler(train).own(torch.tensor([0]), 200, torch.Generator().manual_seed(0))
    assert set(negatives.flatten().tolist()) == {1, 3}


def test_a_user_with_every_item_seen_is_refused_by_name():
    train = Interactions(
        user=np.array([0, 0, 1]), item=np.array([0, 1, 0]), users=Ids(["ann", "bob"]), items=Ids(["x", "y"])
    )
    with pytest.raises(ValueError, match=r"user 'ann'.*no negative to sample"):
        NegativeSampler(train)


def test_known_marks_exactly_the_training_positives():
    rng = np.random.default_rng(0)
    train = interactions(rng.choice(60, size=25, replace=False), users=6, items=10)
    user, items = torch.tensor([3, 0, 5, 3]), torch.tensor([9, 0, 4, 7])
    known = NegativeSampler(train).known(user, items)
    expected = train.csr().toarray()[user][:, items] > 0
    np.testing.assert_array_equal(known.numpy(), expected)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_an_epoch_takes_every_pair_once_and_equal_steps(world_size):
    rng = np.random.default_rng(1)
    train = interactions(rng.choice(200, size=47, replace=False), users=10, items=20)
    seen, steps = [], []
    for rank in range(world_size):
        loader = PairLoader(train, batch_size=8, rank=rank, world_size=world_size)
        batches = list(loader.epoch(torch.Generator().manual_seed(3)))
        steps.append(len(batches))
        assert len(batches) == len(loader)
        seen += [(u, i) for batch in batches for u, i in zip(batch.user.tolist(), batch.positive.tolist(), strict=True)]
    assert len(set(steps)) == 1
    assert set(seen) == set(zip(train.user.tolist(), train.item.tolist(), strict=True))
    assert len(seen) - len(set(seen)) < world_size


def test_epochs_differ_and_repeat_by_seed():
    train = interactions(range(0, 100, 3), users=10, items=10)
    loader = PairLoader(train, batch_size=100)
    first, again, other = (next(loader.epoch(torch.Generator().manual_seed(seed))) for seed in (0, 0, 1))
    assert torch.equal(first.positive, again.positive)
    assert torch.equal(first.negative, again.negative)
    assert not torch.equal(first.positive, other.positive)


def test_shared_negatives_come_with_their_mask():
    train = interactions(range(0, 100, 3), users=10, items=10)
    batch = next(PairLoader(train, batch_size=7, negatives=5, shared=True).epoch(torch.Generator().manual_seed(0)))
    assert batch.negative.unique().shape == (5,)
    expected = train.csr().toarray()[batch.user][:, batch.negative] > 0
    np.testing.assert_array_equal(batch.known.numpy(), expected)


@settings(max_examples=40, deadline=None)
@given(train_sets(), st.integers(0, 1000))
def test_negatives_can_be_kept_to_items_seen_in_training(train, seed):
    seen = set(train.item.tolist())
    positives = train.csr().toarray() > 0
    others = [sorted(seen - set(np.flatnonzero(row).tolist())) for row in positives]
    if any(not row for row in others):
        with pytest.raises(ValueError, match="no negative to sample"):
            NegativeSampler(train, seen_items=True)
        return
    sampler = NegativeSampler(train, seen_items=True)
    random = torch.Generator().manual_seed(seed)
    negatives = sampler.own(torch.arange(train.num_users), 300, random)
    assert [sorted(set(row)) for row in negatives.tolist()] == others
    shared = sampler.shared(50, random)
    assert set(shared.tolist()) <= seen
    np.testing.assert_array_equal(
        sampler.known(torch.arange(train.num_users), shared).numpy(), positives[:, shared.numpy()]
    )


def test_shared_negatives_beyond_the_catalogue_are_all_items():
    train = interactions(range(0, 100, 3), users=10, items=10)
    drawn = NegativeSampler(train).shared(99, torch.Generator().manual_seed(0))
    assert sorted(drawn.tolist()) == list(range(10))
