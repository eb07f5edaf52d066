import pytest
import torch

from graphrec.config import ConfigError
from graphrec.models import MODELS, get_model
from graphrec.models.base import ClosedForm, InnerProduct, NoEmbeddings, Recommender
from graphrec.models.ease import EASE, EASEConfig
from graphrec.models.lightgcn import LightGCN, LightGCNConfig
from graphrec.models.mf import MF
from tests.reference.models import GRAPH, batch, build


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_name_of_the_registry_is_a_model_with_its_own_config(name):
    cls = get_model(name)
    assert issubclass(cls, Recommender)
    assert cls.config_class.parse().model_dump() == cls.config_class().model_dump()


def test_a_model_from_outside_is_found_by_its_path():
    assert get_model("graphrec.models.mf:MF") is MF


def test_an_unknown_model_is_refused_with_a_hint():
    with pytest.raises(ConfigError, match="unknown model 'lightgnc': did you mean 'lightgcn'"):
        get_model("lightgnc")


def test_a_config_of_another_model_is_refused():
    with pytest.raises(TypeError, match="expected a LightGCNConfig for LightGCN, got EASEConfig"):
        LightGCN(GRAPH, EASEConfig())
    assert isinstance(LightGCN(GRAPH, LightGCNConfig()), LightGCN)


def test_scores_are_the_inner_product_for_the_users_asked():
    model = build(MF)
    users = torch.tensor([4, 0, 4])
    expected = model.user_embedding[users] @ model.item_embedding.T
    assert torch.equal(model.score(users), expected)


def test_frozen_embeds_once_and_scores_the_same(monkeypatch):
    model, users = build(LightGCN), torch.arange(5)
    expected = model.score(users)
    scorer = model.frozen()
    monkeypatch.setattr(LightGCN, "embed", lambda self: pytest.fail("embedded again"))
    assert isinstance(scorer, InnerProduct)
    assert torch.equal(scorer.score(users), expected)


def test_frozen_leaves_a_model_with_its_own_score_alone():
    model = build(EASE)
    assert model.frozen() is model


def test_a_closed_form_has_neither_embeddings_nor_a_loss():
    model = build(EASE)
    assert isinstance(model, ClosedForm)
    with pytest.raises(NoEmbeddings, match="EASE scores items directly"):
        model.embed()
    with pytest.raises(NoEmbeddings, match=r"EASE is solved by fit\(graph\)"):
        model(batch())


def test_refresh_is_optional():
    model = build(MF)
    before = [parameter.clone() for parameter in model.parameters()]
    model.refresh(3)
    assert all(torch.equal(own, old) for own, old in zip(model.parameters(), before, strict=True))
