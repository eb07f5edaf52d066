"""The contract tests of a model, and small data with a known answer, for authors of models here and elsewhere.

A model's test inherits the contract in three lines::

    from graphrec.testing import ModelContract

    class TestMyModel(ModelContract):
        model = "my_package.my_model:MyModel"
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import HeteroData

from graphrec.config import ConfigError
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Split, Vectors
from graphrec.data.interactions import Ids, Interactions
from graphrec.graph.build import GraphConfig, build_graph
from graphrec.models import get_model
from graphrec.models.base import Batch, ClosedForm, NoEmbeddings, Recommender
from graphrec.runtime import seed_everything

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Blocks:
    """The known answer of ``block_data``: the block of every user and item.

    Args:
        user: ``(num_users,)``.
        item: ``(num_items,)``.
    """

    user: IntArray
    item: IntArray


def block_data(
    num_users: int = 43,
    num_items: int = 34,
    num_blocks: int = 3,
    *,
    degree: int = 6,
    dims: Mapping[str, int] | None = None,
    seed: int = 0,
) -> Dataset:
    """Makes users and items in blocks that only meet inside their block, a valid and a test item per user held out.

    The last user and the last item have no interactions. Items have vectors that tell their block, ``image`` and
    ``text`` by default; some items lack one of them and some lack both. ``truth`` is a ``Blocks``.

    Args:
        num_users: The number of users; user ``u`` belongs to block ``u % num_blocks``.
        num_items: The number of items, likewise.
        num_blocks: The number of blocks.
        degree: Training interactions per user.
        dims: The length of the vectors by modality.
        seed: The source of all randomness.

    Raises:
        ValueError: If a block has too few items.
    """
    if (num_items - 1) // num_blocks < degree + 3:
        raise ValueError(f"expected at least {degree + 3} items in every block, got {(num_items - 1) // num_blocks}")
    rng = np.random.default_rng(seed)
    blocks = Blocks(np.arange(num_users) % num_blocks, np.arange(num_items) % num_blocks)
    users, items = Ids([f"u{row}" for row in range(num_users)]), Ids([f"i{row}" for row in range(num_items)])
    drawn = np.stack(
        [rng.permutation(np.flatnonzero(blocks.item[:-1] == block))[: degree + 2] for block in blocks.user[:-1]]
    )  # (num_users - 1, degree + 2)
    parts = [_pairs(part, users, items) for part in (drawn[:, :degree], drawn[:, [degree]], drawn[:, [degree + 1]])]
    dims = {"image": 9, "text": 5} if dims is None else dims
    vectors = {
        name: _block_vectors(blocks.item, items, dim, 5 + 2 * place, rng)
        for place, (name, dim) in enumerate(dims.items())
    }
    split, content, people = Split(parts[0], parts[1]), Catalog.empty(items), Catalog.empty(users)
    return Dataset("blocks", split, parts[2], content, people, vectors=vectors, truth=blocks)


def small_graph(data: Dataset) -> HeteroData:
    """Builds the graph of small data, with 4 neighbours per item."""
    return build_graph(data, GraphConfig(neighbors=4))


def other_held_out(data: Dataset, *, seed: int = 1) -> Dataset:
    """Returns the same data with other validation and test interactions; training stays as it is."""
    train, rng = data.split.train, np.random.default_rng(seed)
    unseen = np.setdiff1d(np.arange(data.num_users * data.num_items), train.pairs())
    pairs = rng.permutation(unseen)[:60]
    user, item = np.divmod(pairs, data.num_items)
    drawn = Interactions(user, item, train.users, train.items)
    return replace(data, split=Split(train, drawn.take(np.arange(30))), test=drawn.take(np.arange(30, 60)))


def relabel(data: Dataset, users: IntArray, items: IntArray) -> Dataset:
    """Returns the same data in other rows: new row ``r`` is what row ``users[r]``, or ``items[r]``, was."""
    user_ids, item_ids = Ids(data.split.users.ids(users)), Ids(data.split.items.ids(items))
    parts = (data.split.train, data.split.valid, data.test)
    train, valid, test = (part.reindex(users=user_ids, items=item_ids) for part in parts)
    content, people = Catalog.empty(item_ids), Catalog.empty(user_ids)
    blocks = Blocks(data.truth.user[users], data.truth.item[items])
    return replace(data, split=Split(train, valid), test=test, items=content, people=people, truth=blocks)


def make_batch(
    train: Interactions, generator: torch.Generator, *, size: int | None = None, negatives: int = 1
) -> Batch:
    """Draws training pairs, all of them by default, each with negatives of its own ``(B, K)``."""
    chosen = torch.randperm(len(train), generator=generator)[:size]
    user, positive = torch.from_numpy(train.user)[chosen], torch.from_numpy(train.item)[chosen]
    unseen = 1.0 - torch.from_numpy(train.csr().toarray())
    return Batch(user, positive, torch.multinomial(unseen[user], negatives, replacement=True, generator=generator))


def shared_batch(train: Interactions, generator: torch.Generator, *, negatives: int = 8) -> Batch:
    """Draws all training pairs with negatives ``(K,)`` that they share, training positives marked as known."""
    batch = make_batch(train, generator)
    negative = torch.randint(train.num_items, (negatives,), generator=generator)
    return batch._replace(negative=negative, known=torch.from_numpy(train.csr().toarray() > 0)[batch.user][:, negative])


class ModelContract:
    """What every model must keep; a test class inherits it and names its model.

    Attributes:
        model: A name from the registry, or ``"package.module:Class"``.
        config: Settings of the model, for the values that its defaults do not suit.
        personalised: Whether users get different scores; if not, the known pattern is out of reach.
        needs_content: Whether the model refuses a graph without any modality.
        steps: Training steps after which the known pattern must be found.
        learning_rate: The step size of Adam.
    """

    model: ClassVar[str]
    config: ClassVar[Mapping[str, Any]] = {}
    personalised: ClassVar[bool] = True
    needs_content: ClassVar[bool] = False
    steps: ClassVar[int] = 60
    learning_rate: ClassVar[float] = 0.02

    def test_terms_are_finite_named_scalars(self) -> None:
        """The loss terms have names and are finite scalars; a closed form has none."""
        data, generator = block_data(), torch.Generator().manual_seed(0)
        model = self.build(data)
        if isinstance(model, ClosedForm):
            _raises(NoEmbeddings, lambda: model(make_batch(data.split.train, generator)))
            _raises(NoEmbeddings, model.embed)
            return
        _check_terms(model(make_batch(data.split.train, generator)))

    def test_batch_forms(self) -> None:
        """Several negatives per pair, shared negatives with known positives, and a single pair are all accepted."""
        train, generator = block_data().split.train, torch.Generator().manual_seed(0)
        model = self.build(block_data())
        batches = [make_batch(train, generator, negatives=3), make_batch(train, generator, size=1)]
        for batch in [*batches, shared_batch(train, generator), shared_batch(train, generator, negatives=1)]:
            if not isinstance(model, ClosedForm):
                terms = model(batch)
                _check_terms(terms)
                torch.stack(list(terms.values())).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), f"gradient of {name} is not finite"

    def test_every_parameter_gets_a_gradient(self) -> None:
        """A few batches reach every parameter that is not frozen."""
        data, generator = block_data(), torch.Generator().manual_seed(0)
        model = self.build(data)
        for epoch in range(0 if isinstance(model, ClosedForm) else 3):
            model.refresh(epoch)
            torch.stack(list(model(make_batch(data.split.train, generator)).values())).sum().backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"{name} got no gradient"
                assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
                assert (parameter.grad != 0).any(), f"the gradient of {name} is zero"

    def test_mixed_precision(self) -> None:
        """Under bf16 autocast the loss stays close to its fp32 value and the gradients stay finite."""
        data, generator = block_data(), torch.Generator().manual_seed(0)
        model = self.build(data)
        if isinstance(model, ClosedForm):
            assert not list(model.parameters()), "a closed form has nothing to train"
            return
        batch = make_batch(data.split.train, generator)
        expected = torch.stack(list(model(batch).values())).sum()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = torch.stack([term.float() for term in model(batch).values()]).sum()
        loss.backward()
        torch.testing.assert_close(loss, expected, rtol=0.02, atol=1e-3)
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)

    def test_score(self) -> None:
        """Scores have shape, dtype and order; the default score is the inner product of the embeddings."""
        model = self.trained(block_data())
        scores = _scores(model)
        assert scores.shape == (model.num_users, model.num_items), f"unexpected shape {tuple(scores.shape)}"
        assert scores.dtype == torch.float32, f"expected float32 scores, got {scores.dtype}"
        users = torch.tensor([5, 2, 5])
        with torch.no_grad():
            torch.testing.assert_close(model.score(users), scores[users])
            assert model.score(users[:0]).shape == (0, model.num_items)
        if type(model).score is Recommender.score:
            embeddings = model.embed()
            assert embeddings.user.shape == (model.num_users, embeddings.item.size(1))
            torch.testing.assert_close(embeddings.user @ embeddings.item.T, scores)

    def test_the_parts_add_up_to_the_score(self) -> None:
        """The scores of what each relation brings add up to the score; a closed form has no parts."""
        model = self.trained(block_data(), steps=5)
        if isinstance(model, ClosedForm):
            _raises(NoEmbeddings, model.parts)
            return
        with torch.no_grad():
            users = torch.arange(model.num_users)
            total = torch.stack([part.score(users) for part in model.parts().values()]).sum(dim=0)
        torch.testing.assert_close(total, _scores(model), rtol=1e-4, atol=1e-5)

    def test_diagnostics_are_finite_and_change_nothing(self) -> None:
        """What is watched while training has names with a slash, is finite and the same when asked again."""
        model = self.trained(block_data(), steps=3).eval()
        before, state = _scores(model), torch.random.get_rng_state()
        found = model.diagnostics()
        assert model.diagnostics() == found, "diagnostics differ between two calls"
        for name, value in found.items():
            assert "/" in name, f"expected a name like 'coupling/text', got {name!r}: others count as loss terms"
            assert isinstance(value, float), f"expected {name} to be a float, got {type(value).__name__}"
            assert np.isfinite(value), f"{name} is {value}"
        assert torch.equal(torch.random.get_rng_state(), state), "diagnostics draw from the global generator"
        assert torch.equal(_scores(model), before), "diagnostics change the scores"

    def test_relabelling_permutes_the_scores(self) -> None:
        """Nothing depends on the order of users and items: per-node parameters and scores move along."""
        data, rng = block_data(), np.random.default_rng(1)
        users, items = rng.permutation(data.num_users), rng.permutation(data.num_items)
        model, moved = self.build(data), self.build(relabel(data, users, items))
        order = {model.num_users: torch.from_numpy(users), model.num_items: torch.from_numpy(items)}
        with torch.no_grad():
            for own, other in zip(model.parameters(), moved.parameters(), strict=True):
                rows = order.get(len(own)) if own.dim() else None
                other.copy_(own if rows is None else own[rows])
        expected = _scores(model)[torch.from_numpy(users)][:, torch.from_numpy(items)]
        torch.testing.assert_close(_scores(moved), expected, rtol=1e-4, atol=1e-5)

    def test_same_seed_gives_the_same_model(self) -> None:
        """Two trainings from one seed agree bit for bit, and scoring is free of randomness."""
        model, again = self.trained(block_data(), steps=3), self.trained(block_data(), steps=3)
        for (name, own), other in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
            assert torch.equal(own, other), f"{name} differs between two runs from the same seed"
        assert torch.equal(_scores(model), _scores(again)), "scores differ between two runs from the same seed"
        assert torch.equal(_scores(model), _scores(model)), "scores differ between two calls"

    def test_refresh_depends_on_the_epoch_alone(self) -> None:
        """Refreshing for an epoch gives the same loss whatever epochs came before, and leaves inference as it is."""
        data = block_data()
        model, resumed = self.build(data), self.build(data)
        before = _scores(model)
        for epoch in range(3):
            model.refresh(epoch)
        resumed.refresh(2)
        if not isinstance(model, ClosedForm):
            batch = make_batch(data.split.train, torch.Generator().manual_seed(0))
            for (name, own), other in zip(model(batch).items(), resumed(batch).values(), strict=True):
                assert torch.equal(own, other), f"{name} depends on the epochs before"
        torch.testing.assert_close(_scores(model), before)

    def test_weights_survive_saving(self) -> None:
        """Weights loaded from safetensors into a fresh model give the same scores; a closed form is fitted again."""
        from safetensors.torch import load, save

        data = block_data()
        model, fresh = self.trained(data, steps=3), self.build(data, seed=1)
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        fresh.load_state_dict(load(save(state)))
        assert torch.equal(_scores(fresh), _scores(model)), "the loaded model scores differently"

    def test_config_survives_writing(self) -> None:
        """A config written as JSON is read back equal, and an unknown key is refused."""
        cls = get_model(self.model).config_class
        config = cls.parse(self.config)
        assert cls.parse(json.loads(json.dumps(config.model_dump(mode="json")))) == config
        _raises(ConfigError, lambda: cls.parse({**self.config, "no_such_key": 1}))

    def test_missing_modalities(self) -> None:
        """Items may lack every modality; without any modality in the graph a model works, or says what it needs."""
        data = block_data()
        table = data.vectors["image"]
        few = Vectors(Ids(table.ids.index[:9]), table.values[:9])
        assert _scores(self.trained(replace(data, vectors={**data.vectors, "image": few}), steps=3)).isfinite().all()
        bare = replace(data, vectors={})
        if self.needs_content:
            _raises(ValueError, lambda: self.trained(bare, steps=1))
        else:
            assert _scores(self.trained(bare, steps=3)).isfinite().all()

    def test_users_and_items_without_interactions(self) -> None:
        """A user and an item that training never saw get finite scores."""
        data = block_data()
        scores, train = _scores(self.trained(data)), data.split.train
        cold_users, cold_items = train.user_degree() == 0, train.item_degree() == 0
        assert cold_users.sum() == cold_items.sum() == 1, "the data should hold one user and one item never seen"
        assert scores[torch.from_numpy(cold_users)].isfinite().all(), "scores of a user without interactions"
        assert scores[:, torch.from_numpy(cold_items)].isfinite().all(), "scores of an item without interactions"

    def test_held_out_interactions_do_not_leak(self) -> None:
        """Other validation and test interactions change nothing, bit for bit."""
        data = block_data()
        other = other_held_out(data)
        assert set(other.test.pairs()) != set(data.test.pairs())
        model, same = self.trained(data, steps=5), self.trained(other, steps=5)
        assert torch.equal(_scores(model), _scores(same)), "scores depend on validation or test interactions"
        if not isinstance(model, ClosedForm):
            for own, others in zip(model.embed(), same.embed(), strict=True):
                assert torch.equal(own, others), "embeddings depend on validation or test interactions"

    def test_known_pattern(self) -> None:
        """After brief training, what a user has not seen and scores highest lies in the user's own block."""
        data = block_data()
        scores, train, blocks = _scores(self.trained(data)), data.split.train, data.truth
        if not self.personalised:
            assert torch.equal(scores, scores[:1].expand_as(scores)), "expected the same scores for every user"
            return
        warm_users, warm_items = train.user_degree() > 0, train.item_degree() > 0
        scores[torch.from_numpy(train.csr().toarray() > 0)] = -torch.inf
        top = scores[torch.from_numpy(warm_users)][:, torch.from_numpy(warm_items)].topk(3).indices.numpy()
        right = blocks.item[warm_items][top] == blocks.user[warm_users][:, None]
        assert right.mean() >= 0.9, f"expected 90 % of the unseen top 3 in the right block, got {right.mean():.0%}"

    def build(self, data: Dataset, *, seed: int = 0) -> Recommender:
        """Returns the model on the graph of the data, untrained; a closed form is fitted."""
        seed_everything(seed)
        cls, graph = get_model(self.model), small_graph(data)
        model = cls(graph, cls.config_class.parse(self.config))
        if isinstance(model, ClosedForm):
            model.fit(graph)
        return model

    def trained(self, data: Dataset, *, steps: int | None = None) -> Recommender:
        """Returns the model after a few full-batch steps of Adam, in a loop written by hand."""
        model, generator = self.build(data), torch.Generator().manual_seed(0)
        if isinstance(model, ClosedForm):
            return model
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(weights, lr=self.learning_rate)
        for step in range(self.steps if steps is None else steps):
            model.refresh(step)
            optimizer.zero_grad()
            torch.stack(list(model(make_batch(data.split.train, generator)).values())).sum().backward()
            optimizer.step()
        return model


def _pairs(items: IntArray, users: Ids, vocabulary: Ids) -> Interactions:
    user = np.repeat(np.arange(len(items)), items.shape[1])
    return Interactions(user, items.ravel(), users, vocabulary)


def _block_vectors(block: IntArray, ids: Ids, dim: int, gap: int, rng: np.random.Generator) -> Vectors:
    """Returns vectors around a centre per block, absent for every item whose row is 1 modulo ``gap``."""
    centers = rng.normal(size=(int(block.max()) + 1, dim))
    values = (centers[block] + 0.3 * rng.normal(size=(len(block), dim))).astype(np.float32)
    present = np.flatnonzero(np.arange(len(block)) % gap != 1)
    return Vectors(Ids(ids.ids(present)), values[present])


def _scores(model: Recommender) -> Tensor:
    with torch.no_grad():
        return model.score(torch.arange(model.num_users)).clone()


def _check_terms(terms: Mapping[str, Tensor]) -> None:
    assert terms, "expected at least one loss term"
    for name, term in terms.items():
        assert isinstance(name, str), f"expected names of loss terms, got {name!r}"
        assert term.dim() == 0, f"expected {name} to be a scalar, got shape {tuple(term.shape)}"
        assert term.isfinite(), f"{name} is {term.item()}"


def _raises(error: type[Exception], call: Callable[[], object]) -> None:
    try:
        call()
    except error as raised:
        message = str(raised)
    else:
        raise AssertionError(f"expected {error.__name__}, got no error")
    assert message, f"expected {error.__name__} to say what is wrong, got no message"
