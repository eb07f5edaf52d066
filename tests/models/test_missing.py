"""Every trained model that reads content keeps the contract with imputed modalities."""

from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from graphrec.config import ConfigError
from graphrec.graph.build import GraphConfig, build_graph
from graphrec.models import get_model
from graphrec.models.base import ClosedForm
from graphrec.models.freedom import FREEDOM
from graphrec.models.hetero_lightgcn import HeteroLightGCN
from graphrec.models.vbpr import VBPR
from graphrec.runtime import seed_everything
from graphrec.testing import ModelContract
from tests.reference.models import DATA, GRAPH, batch, build, graph_only, steps

ALL = ("absent", "zero", "mean", "token", "neighbors", "propagate")
GRAPHS = {policy: build_graph(DATA, GraphConfig(neighbors=4, missing=policy)) for policy in ALL}


class TokenContract(ModelContract):
    """The contract on a graph that has a node for every item."""

    missing: ClassVar[str] = "token"

    def build(self, data, *, seed=0):
        seed_everything(seed)
        graph = build_graph(data, GraphConfig(neighbors=4, missing=self.missing, missing_neighbors=40))
        cls = get_model(self.model)
        model = cls(graph, cls.config_class.parse(self.config))
        if isinstance(model, ClosedForm):
            model.fit(graph)
        return model


class TestVBPRWithTokens(TokenContract):
    model = "vbpr"
    needs_content = True


class TestFREEDOMWithTokens(TokenContract):
    model = "freedom"
    config: ClassVar = {"feature_loss": 0.1}
    needs_content = True


class TestHeteroLightGCNWithTokens(TokenContract):
    model = "hetero-lightgcn"


class TestHeteroLightGCNWithPropagation(TokenContract):
    model = "hetero-lightgcn"
    missing = "propagate"


class TestCollectiveEASEWithNeighbors(TokenContract):
    model = "collective-ease"
    missing = "neighbors"
    needs_content = True


del TokenContract  # pytest would run it without a model


@pytest.mark.parametrize("name", ["vbpr", "freedom", "hetero-lightgcn", "collective-ease", "add-ease", "l3ae"])
@pytest.mark.parametrize("policy", ["zero", "mean", "neighbors", "propagate"])
def test_every_policy_gives_finite_scores(name, policy):
    model = build(get_model(name), GRAPHS[policy])
    if isinstance(model, ClosedForm):
        model.fit(GRAPHS[policy])
    assert model.score(torch.arange(model.num_users)).isfinite().all()


@pytest.mark.parametrize("name", ["collective-ease", "add-ease", "l3ae"])
def test_closed_forms_refuse_tokens_and_take_zeros_for_absent(name):
    model = build(get_model(name), GRAPHS["token"])
    with pytest.raises(ConfigError, match=r"which a closed form does not; choose graph.missing"):
        model.fit(GRAPHS["token"])
    scores = []
    for policy in ("absent", "zero"):
        model = build(get_model(name), GRAPHS[policy])
        model.fit(GRAPHS[policy])
        scores.append(model.score(torch.arange(model.num_users)))
    assert torch.equal(*scores)


@pytest.mark.parametrize("cls", [VBPR, HeteroLightGCN])
def test_zero_scores_and_trains_like_absent(cls):
    own, other = build(cls, GRAPHS["absent"]), build(cls, GRAPHS["zero"])
    assert steps(own) == pytest.approx(steps(other), rel=1e-6)
    for one, two in zip(own.embed(), other.embed(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("cls", [VBPR, FREEDOM, HeteroLightGCN])
def test_a_token_is_a_parameter_only_where_something_is_to_be_learned(cls):
    assert not [name for name, _ in build(cls).named_parameters() if name.endswith("token")]
    names = [name for name, _ in build(cls, GRAPHS["token"]).named_parameters() if name.endswith("token")]
    assert len(names) == (1 if cls is VBPR else 2)


def test_vbpr_puts_the_token_where_a_modality_is_missing():
    model = build(VBPR, GRAPHS["token"], embedding_dim=3, content_dim=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    x = {name: model.token[:9] if name == "image" else model.token[9:] for name in ("image", "text")}
    rows = torch.cat([x[name].expand(34, -1) for name in ("image", "text")], dim=1).clone()
    for name, columns in (("image", slice(0, 9)), ("text", slice(9, 14))):
        rows[GRAPH[name].item_id, columns] = F.normalize(GRAPH[name].x, dim=1)
    expected = model.user_embedding @ model.item_embedding.T + model.user_taste @ (rows @ model.projection).T
    expected = expected + model.item_bias + rows @ model.content_bias
    torch.testing.assert_close(model.score(torch.arange(43)), expected)


def test_freedom_ranks_tokens_by_their_projection():
    model = build(FREEDOM, GRAPHS["token"], feature_loss=1.0, weights={"image": 1.0}, edge_keep=1.0)
    with torch.no_grad():
        model.vectors["image"].token.normal_()
    user, pairs = model.embed().user, batch()
    x = model.vectors["image"].token.expand(34, -1).clone()
    x[GRAPH["image"].item_id] = GRAPH["image"].x
    items = model.projections["image"](x)
    positive = (user[pairs.user] * items[pairs.positive]).sum(1)
    negative = (user[pairs.user] * items[pairs.negative[:, 0]]).sum(1)
    expected = F.softplus(negative - positive).mean()
    torch.testing.assert_close(model(pairs)["feature"], expected, rtol=1e-4, atol=1e-5)


def test_the_flagship_aligns_real_content_only():
    for policy in ALL:
        model = graph_only(GRAPHS[policy])
        for name in ("image", "text"):
            assert model.modalities[name].present.nonzero().flatten().tolist() == GRAPH[name].item_id.tolist()
    missing = np.setdiff1d(np.arange(34), GRAPH["image"].item_id.numpy())
    assert len(missing) > 3
