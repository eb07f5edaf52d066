"""What each relation brings to the score, and what is watched while training."""

import pytest
import torch
import torch.nn.functional as F

from graphrec.models.base import NoEmbeddings
from graphrec.models.ease import EASE
from graphrec.models.freedom import FREEDOM
from graphrec.models.lightgcn import LightGCN
from graphrec.models.vbpr import VBPR
from graphrec.nn.geometry import alignment, uniformity
from graphrec.testing import block_data, small_graph
from tests.models.test_hetero_users import GRAPH as PEOPLE_GRAPH
from tests.reference.models import GRAPH, TRAIN, build, graph_only, steps, vectorless_graph
from tests.reference.propagation import dense_row_norm

COUPLING = {"image": 0.7, "text": -0.4}


def without(model, name):
    """Returns the embeddings of the model with one coupling at zero."""
    start = model.coupling[name].item()
    with torch.no_grad():
        model.coupling[name].fill_(0.0)
        left = model.embed()
        model.coupling[name].fill_(start)
    return left


def products(parts):
    return {name: part.score(torch.arange(TRAIN.num_users)) for name, part in parts.items()}


def test_a_modality_brings_what_items_lose_without_it():
    model = graph_only(coupling=COUPLING)
    user, item = model.embed()
    found = products(model.parts())
    assert list(found) == ["behavior", "image", "text"]
    for name in COUPLING:
        torch.testing.assert_close(found[name], user @ (item - without(model, name).item).T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sum(found.values()), user @ item.T, rtol=1e-4, atol=1e-5)


def test_a_user_modality_brings_what_users_lose_without_it():
    settings = {"user_relations": None, "coupling": COUPLING | {"user_text": 0.6}}
    model = graph_only(PEOPLE_GRAPH, **settings)
    user, item = model.embed()
    found = products(model.parts())
    assert list(found) == ["behavior", "image", "text", "user_text"]
    expected = (user - without(model, "user_text").user) @ item.T
    torch.testing.assert_close(found["user_text"], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sum(found.values()), user @ item.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hops", [1, 2])
def test_freedom_is_split_by_the_graph_of_the_last_hop(hops):
    graph, neighbors = vectorless_graph(("image", "text"))
    model = build(FREEDOM, graph, similar_layers=hops)
    dense = {name: dense_row_norm(torch.from_numpy(neighbors[name].toarray()).double()) for name in neighbors}
    mixed = 0.1 * dense["image"] + 0.9 * dense["text"]
    source = torch.linalg.matrix_power(mixed, hops - 1) @ model.item_embedding.double()
    parts = {name: part.embeddings for name, part in model.parts().items()}
    for name, weight in (("image", 0.1), ("text", 0.9)):
        torch.testing.assert_close(parts[name].item.double(), weight * dense[name] @ source, rtol=1e-4, atol=1e-6)
        assert torch.equal(parts[name].user, model.embed().user)
    torch.testing.assert_close(sum(part.item for part in parts.values()), model.embed().item)


def test_vbpr_is_split_into_factors_and_the_content_of_each_modality():
    model = build(VBPR, embedding_dim=3, content_dim=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    found = products(model.parts())
    assert list(found) == ["behavior", "image", "text"]
    factors = model.user_embedding @ model.item_embedding.T + model.item_bias
    torch.testing.assert_close(found["behavior"], factors)
    width = GRAPH["image"].x.size(1)
    x = torch.zeros(model.num_items, width).index_copy(0, GRAPH["image"].item_id, F.normalize(GRAPH["image"].x, dim=-1))
    image = model.user_taste @ (x @ model.projection[:width]).T + x @ model.content_bias[:width]
    torch.testing.assert_close(found["image"], image, rtol=1e-4, atol=1e-5)


def test_a_model_of_interactions_alone_is_one_part_and_a_closed_form_none():
    model = build(LightGCN)
    assert list(model.parts()) == ["behavior"]
    assert torch.equal(model.parts()["behavior"].embeddings.item, model.embed().item)
    with pytest.raises(NoEmbeddings, match="EASE"):
        build(EASE).parts()


def test_diagnostics_are_couplings_and_the_geometry_of_the_views():
    model = graph_only(coupling=COUPLING)
    steps(model)
    found, views = model.diagnostics(), model._propagate(model.interactions.full)[1]
    for name, value in (COUPLING | {"interacts": 1.0}).items():
        assert found[f"coupling/{name}"] == pytest.approx(value)
    warm = set(TRAIN.item.tolist())
    assert found["uniformity/behavior"] == pytest.approx(uniformity(views["behavior"][sorted(warm)]).item(), abs=1e-4)
    for name in COUPLING:
        has = set(GRAPH[name].item_id.tolist())
        assert found[f"uniformity/{name}"] == pytest.approx(uniformity(views[name][sorted(has)]).item(), abs=1e-4)
        both = sorted(has & warm)
        expected = alignment(views[name][both], views["behavior"][both]).item()
        assert found[f"alignment/{name}"] == pytest.approx(expected, abs=1e-4)
    assert len(found) == 8


def test_diagnostics_look_at_a_seeded_sample(monkeypatch):
    whole = graph_only().diagnostics()
    monkeypatch.setattr("graphrec.models.hetero_lightgcn.SAMPLE", 9)
    model, other = graph_only(), graph_only()
    assert model.diagnostics() == model.diagnostics() == other.diagnostics()
    assert model.diagnostics()["uniformity/text"] != whole["uniformity/text"]


def test_a_view_that_too_few_items_have_is_left_out():
    graph = small_graph(block_data(dims={"image": 4}))
    graph["image"].missing = torch.ones(graph["image"].num_nodes, dtype=torch.bool)
    found = graph_only(graph).diagnostics()
    assert set(found) == {"coupling/interacts", "coupling/image", "uniformity/behavior"}
    assert set(graph_only(relations=()).diagnostics()) == {"coupling/interacts", "uniformity/behavior"}


def test_alignment_falls_when_it_is_trained():
    settings = {"alignment": {"weight": 1.0, "pairs": [["behavior", "image"]]}, "relations": ["image"]}
    model = graph_only(**settings)
    before = model.diagnostics()["alignment/image"]
    steps(model, 30)
    assert model.diagnostics()["alignment/image"] < 0.7 * before
