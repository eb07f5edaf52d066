"""The contract catches what it is there to catch: models with one fault each."""

import numpy as np
import pytest
import torch
from torch import nn

from graphrec.models.base import Embeddings, InnerProduct
from graphrec.models.lightgcn import LightGCN
from graphrec.testing import ModelContract, block_data, make_batch, other_held_out, relabel, shared_batch


class NoScalar(LightGCN):
    def forward(self, batch):
        return {"bpr": super().forward(batch)["bpr"].expand(2)}


class NotFinite(LightGCN):
    def forward(self, batch):
        return {"bpr": super().forward(batch)["bpr"] * float("nan")}


class Unused(LightGCN):
    def __init__(self, graph, config):
        super().__init__(graph, config)
        self.extra = nn.Parameter(torch.ones(3))


class RowDependent(LightGCN):
    def embed(self):
        user, item = super().embed()
        return Embeddings(user, item * torch.linspace(1, 2, len(item)).unsqueeze(-1))


class Unseeded(LightGCN):
    def forward(self, batch):
        noise = torch.rand((), generator=torch.Generator().manual_seed(torch.seed() % 2**31))
        return {name: term * (1 + noise) for name, term in super().forward(batch).items()}


class RandomScores(LightGCN):
    def embed(self):
        user, item = super().embed()
        return Embeddings(nn.functional.dropout(user, 0.5), item)


class Remembers(LightGCN):
    epochs = 0

    def refresh(self, epoch):
        self.epochs += 1

    def forward(self, batch):
        return {name: term * (1 + self.epochs) for name, term in super().forward(batch).items()}


class HiddenState(LightGCN):
    def __init__(self, graph, config):
        super().__init__(graph, config)
        self.hidden = torch.randn(config.embedding_dim)

    def embed(self):
        user, item = super().embed()
        return Embeddings(user, item * self.hidden)


class OneNegative(LightGCN):
    def forward(self, batch):
        return super().forward(batch._replace(negative=batch.negative.view(len(batch.user), 1)))


class WrongDirection(LightGCN):
    def forward(self, batch):
        return {name: -term if name == "bpr" else term for name, term in super().forward(batch).items()}


class DoubleScores(LightGCN):
    def score(self, users):
        return super().score(users).double()


class DividesByDegree(LightGCN):
    def embed(self):
        user, item = super().embed()
        degree = torch.bincount(self.interactions.col.long(), minlength=len(item)).unsqueeze(-1)
        return Embeddings(user, item / degree)


class HalfOfTheParts(LightGCN):
    def parts(self):
        user, item = self.embed()
        return {"behavior": InnerProduct(Embeddings(user, item / 2))}


class LossLikeDiagnostics(LightGCN):
    def diagnostics(self):
        return {"coupling": 1.0}


class DrawsDiagnostics(LightGCN):
    def diagnostics(self):
        return {"sample/first": torch.rand(()).item()}


FAULTS = [
    (HalfOfTheParts, "test_the_parts_add_up_to_the_score"),
    (LossLikeDiagnostics, "test_diagnostics_are_finite_and_change_nothing"),
    (DrawsDiagnostics, "test_diagnostics_are_finite_and_change_nothing"),
    (NoScalar, "test_terms_are_finite_named_scalars"),
    (NotFinite, "test_terms_are_finite_named_scalars"),
    (OneNegative, "test_batch_forms"),
    (Unused, "test_every_parameter_gets_a_gradient"),
    (DoubleScores, "test_score"),
    (RowDependent, "test_relabelling_permutes_the_scores"),
    (Unseeded, "test_same_seed_gives_the_same_model"),
    (RandomScores, "test_same_seed_gives_the_same_model"),
    (Remembers, "test_refresh_depends_on_the_epoch_alone"),
    (HiddenState, "test_weights_survive_saving"),
    (DividesByDegree, "test_users_and_items_without_interactions"),
    (WrongDirection, "test_known_pattern"),
]


def contract_for(cls, monkeypatch):
    monkeypatch.setattr("graphrec.testing.get_model", lambda name: cls)
    contract = ModelContract()
    contract.model = cls.__name__
    return contract


@pytest.mark.parametrize(("cls", "test"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_contract_finds_the_fault(cls, test, monkeypatch):
    with pytest.raises((AssertionError, RuntimeError)):
        getattr(contract_for(cls, monkeypatch), test)()


@pytest.mark.parametrize("test", sorted({test for _, test in FAULTS}))
def test_without_a_fault_it_passes(test, monkeypatch):
    assert getattr(contract_for(LightGCN, monkeypatch), test)() is None


def test_blocks_only_meet_inside():
    data = block_data(num_blocks=4, num_items=41)
    for part in (data.split.train, data.split.valid, data.test):
        assert (data.truth.user[part.user] == data.truth.item[part.item]).all()
    assert data.split.train.user_degree()[:-1].tolist() == [6] * 42
    assert data.split.train.user_degree()[-1] == 0
    assert data.split.train.item_degree()[-1] == 0
    assert block_data().fingerprint() == block_data().fingerprint() != block_data(seed=1).fingerprint()


def test_blocks_need_enough_items():
    with pytest.raises(ValueError, match="expected at least 9 items in every block, got 8"):
        block_data(num_items=25)


def test_other_held_out_interactions_leave_training_alone():
    data = block_data()
    other = other_held_out(data)
    assert other.split.train is data.split.train
    assert not set(other.test.pairs()) & set(data.split.train.pairs())
    assert len(other.split.valid) == len(other.test) == 30


def test_relabelling_moves_rows_and_keeps_pairs():
    data, rng = block_data(), np.random.default_rng(0)
    users, items = rng.permutation(data.num_users), rng.permutation(data.num_items)
    moved = relabel(data, users, items)
    before, after = data.split.train.to_frame(), moved.split.train.to_frame()
    assert set(before.itertuples(index=False, name=None)) == set(after.itertuples(index=False, name=None))
    assert moved.split.users.ids([0])[0] == data.split.users.ids([users[0]])[0]
    assert (moved.truth.item == data.truth.item[items]).all()


def test_batches_hold_no_positive_as_unmarked_negative():
    train = block_data().split.train
    positives = set(zip(train.user.tolist(), train.item.tolist(), strict=True))
    own = make_batch(train, torch.Generator().manual_seed(0), size=50, negatives=4)
    assert own.negative.shape == (50, 4)
    assert not positives & {
        (u, n) for u, row in zip(own.user.tolist(), own.negative.tolist(), strict=True) for n in row
    }
    shared = shared_batch(train, torch.Generator().manual_seed(0))
    for u, row in zip(shared.user.tolist(), shared.known.tolist(), strict=True):
        assert row == [(u, n) in positives for n in shared.negative.tolist()]
