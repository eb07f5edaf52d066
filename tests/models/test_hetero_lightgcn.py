from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from graphrec.config import ConfigError
from graphrec.data.dataset import Vectors
from graphrec.graph.behavior import interaction_matrix
from graphrec.graph.build import GraphConfig, build_graph
from graphrec.models import hetero_lightgcn as module
from graphrec.models.freedom import FREEDOM
from graphrec.models.hetero_lightgcn import HeteroLightGCN
from graphrec.models.lightgcn import LightGCN
from graphrec.testing import small_graph
from tests.graph.test_homophily import slow_homophily
from tests.reference.losses import slow_info_nce
from tests.reference.models import (
    DATA,
    GRAPH,
    TRAIN,
    batch,
    build,
    dense_interactions,
    graph_only,
    steps,
    vectorless_graph,
)
from tests.reference.propagation import dense_light_gcn, dense_matrix, dense_row_norm

COLD = 33  # has content and no training interactions
PAIRS = {"alignment_behavior_image", "alignment_behavior_text", "alignment_image_text"}


def test_without_relations_it_is_light_gcn_exactly():
    model, plain = graph_only(relations=()), build(LightGCN)
    for own, other in zip(model.embed(), plain.embed(), strict=True):
        assert torch.equal(own, other)
    assert {name: term.item() for name, term in model(batch()).items()} == {
        name: term.item() for name, term in plain(batch()).items()
    }


@pytest.mark.parametrize("num_layers", [1, 3])
def test_without_relations_and_with_fixed_coupling_it_trains_like_light_gcn(num_layers):
    settings = {"num_layers": num_layers, "l2": 0.01}
    model = graph_only(relations=(), learn_coupling=False, **settings)
    plain = build(LightGCN, **settings)
    assert steps(model) == steps(plain)
    for own, other in zip(model.embed(), plain.embed(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("weights", [{"image": 1.0}, {"image": 0.1, "text": 0.9}])
def test_with_vectorless_relations_and_fixed_coupling_it_is_freedom(weights):
    graph, _ = vectorless_graph(tuple(weights))
    settings = {"learn_coupling": False, "coupling": weights, "alignment": {"weight": 0.0}, "l2": 0.0}
    model = graph_only(graph, edge_keep=0.5, **settings)
    freedom = build(FREEDOM, graph, weights=weights, edge_keep=0.5)
    assert steps(model) == pytest.approx(steps(freedom), rel=1e-5)
    for own, other in zip(model.embed(), freedom.embed(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def dense_forward(model, coupling):
    """The formula of the model on dense matrices."""
    warm = torch.ones(model.num_items, 1, dtype=torch.float64)
    warm[COLD] = 0.0
    item = model.item_embedding.double() * warm
    message = torch.zeros_like(item)
    for name in ("image", "text"):
        nodes = GRAPH[name].item_id
        edges = nodes[GRAPH[name, "similar", name].edge_index]
        similar = dense_row_norm(dense_matrix(edges, None, model.num_items, model.num_items))
        start = torch.zeros_like(item)
        start[nodes] = model.modalities[name].projection(F.normalize(GRAPH[name].x, dim=1)).double()
        message = message + coupling[name] * similar @ (start + item)
    tables = model.user_embedding.double(), item
    user, readout = dense_light_gcn(dense_interactions(), *tables, 2, coupling["interacts"])
    return user, readout + message


def test_the_embeddings_equal_dense_algebra():
    coupling = {"interacts": 0.9, "image": 0.5, "text": -0.3}
    model = graph_only(coupling=coupling)
    for own, other in zip(model.embed(), dense_forward(model, coupling), strict=True):
        torch.testing.assert_close(own.double(), other, rtol=1e-4, atol=1e-5)


def test_the_id_of_a_cold_item_has_no_influence():
    model = graph_only(l2=0.0)
    assert TRAIN.item_degree()[COLD] == 0
    before = model.embed()
    with torch.no_grad():
        model.item_embedding[COLD] = 1e3
    for own, other in zip(model.embed(), before, strict=True):
        assert torch.equal(own, other)
    sum(model(batch()).values()).backward()
    assert (model.item_embedding.grad[COLD] == 0).all()
    assert before.item[COLD].abs().sum() > 0


def test_a_cold_item_without_content_keeps_its_id():
    graph, neighbors = vectorless_graph()
    assert neighbors["image"][[COLD]].nnz == 0
    model = graph_only(graph)
    assert model.warm is None
    torch.testing.assert_close(model.embed().item[COLD], model.item_embedding[COLD] / 3)


def test_every_pair_of_views_is_a_term_of_its_own():
    terms = graph_only()(batch())
    assert set(terms) == {"bpr", "l2"} | PAIRS


def test_alignment_equals_the_loop_over_the_items_that_have_both_views():
    model, pairs = graph_only(alignment={"weight": 0.7, "temperature": 0.3}), batch(size=20)
    views = {name: torch.zeros(model.num_items, model.config.embedding_dim) for name in ("image", "text")}
    for name, view in views.items():
        view[GRAPH[name].item_id] = model.modalities[name].projection(F.normalize(GRAPH[name].x, dim=1)).detach()
    fused = sum(
        model.coupling[name] * out(model.item_embedding * model.warm).message for name, out in model.modalities.items()
    )
    views["behavior"] = (model.embed().item - fused).detach()
    terms = model(pairs)
    for first, second in (("behavior", "image"), ("behavior", "text"), ("image", "text")):
        items = [
            item
            for item in sorted(set(pairs.positive.tolist()))
            if all(name == "behavior" or item in GRAPH[name].item_id for name in (first, second))
        ]
        expected = 0.7 * slow_info_nce(views[first][items].tolist(), views[second][items].tolist(), 0.3)
        assert terms[f"alignment_{first}_{second}"].item() == pytest.approx(expected, rel=1e-4)


def test_only_the_first_positives_of_a_batch_are_aligned():
    model, pairs = graph_only(alignment={"sample": 5}), batch(size=20)
    first = pairs._replace(user=pairs.user[:5], positive=pairs.positive[:5], negative=pairs.negative[:5])
    terms, fewer = model(pairs), model(first)
    assert all(torch.equal(terms[name], fewer[name]) for name in PAIRS)
    assert not torch.equal(terms["bpr"], fewer["bpr"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"alignment": {"weight": 0.0}}, {"bpr", "l2"}),
        ({"l2": 0.0}, {"bpr"} | PAIRS),
        ({"relations": ["image"]}, {"bpr", "l2", "alignment_behavior_image"}),
        ({"alignment": {"pairs": [["image", "text"]]}}, {"bpr", "l2", "alignment_image_text"}),
        ({"alignment": {"pairs": []}}, {"bpr", "l2"}),
        ({"objective": {"loss": "softmax"}, "relations": []}, {"softmax", "l2"}),
    ],
)
def test_losses_and_relations_are_switched_by_config(settings, expected):
    assert set(graph_only(**settings)(batch())) == expected


def test_couplings_start_as_configured_and_learn():
    model = graph_only(learn_coupling=True, coupling={"text": 0.4})
    start = {name: value.item() for name, value in model.coupling.items()}
    assert start == pytest.approx({"interacts": 1.0, "image": 0.1, "text": 0.4})
    steps(model)
    assert all(value.item() != start[name] for name, value in model.coupling.items())


def test_couplings_stay_fixed_when_asked():
    model = graph_only(learn_coupling=False)
    steps(model)
    assert {name: value.item() for name, value in model.coupling.items()} == pytest.approx(
        {"interacts": 1.0, "image": 0.1, "text": 0.1}
    )
    assert not any(value.requires_grad for value in model.coupling.values())


def test_a_relation_whose_coupling_is_zero_does_not_change_the_scores():
    model = graph_only(coupling={"image": 0.0})
    alone = graph_only(relations=("text",))
    alone.load_state_dict({name: value for name, value in model.state_dict().items() if "image" not in name})
    users = torch.arange(model.num_users)
    torch.testing.assert_close(model.score(users), alone.score(users))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"relations": ["imgae"]}, "unknown relation 'imgae': did you mean 'image'"),
        ({"coupling": {"txt": 0.5}}, "unknown relation 'txt': did you mean 'text'"),
        ({"alignment": {"pairs": [["image", "behaviour"]]}}, "unknown view 'behaviour': did you mean 'behavior'"),
        ({"fusion": "input"}, "fusion"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        graph_only(**settings)


def graph_with_noise():
    """Returns a graph whose texts are vectors of noise, of which the images are as they were."""
    text = DATA.vectors["text"]
    noise = np.random.default_rng(0).normal(size=text.values.shape).astype(np.float32)
    return small_graph(replace(DATA, vectors={**DATA.vectors, "text": Vectors(text.ids, noise)}))


def test_a_modality_that_knows_nothing_of_behaviour_takes_no_part_unless_named(caplog):
    graph = graph_with_noise()
    with caplog.at_level("INFO", logger="graphrec"):
        model = build(HeteroLightGCN, graph)
    assert list(model.modalities) == ["image"]
    assert "text takes no part: its neighbours are only" in caplog.text
    assert set(model(batch())) == {"bpr", "l2", "alignment_behavior_image"}
    assert list(build(HeteroLightGCN, graph, min_homophily=0).modalities) == ["image", "text"]
    assert list(build(HeteroLightGCN, graph, relations=["text"]).modalities) == ["text"]


def test_a_modality_that_knows_less_than_half_of_what_another_knows_takes_no_part_unless_named(monkeypatch, caplog):
    known = iter([4.0, 2.4, 4.0, 2.6, 4.0, 2.4])  # image, text
    monkeypatch.setattr(module, "homophily", lambda *_: next(known))
    with caplog.at_level("INFO", logger="graphrec"):
        assert list(build(HeteroLightGCN).modalities) == ["image"]
    assert "text takes no part: its neighbours are only 2.40 times as alike" in caplog.text
    assert "(needed: 2.50); name it in model.relations" in caplog.text
    assert list(build(HeteroLightGCN).modalities) == ["image", "text"]
    assert list(build(HeteroLightGCN, min_homophily=0).modalities) == ["image", "text"]


def test_behaviour_edges_do_not_throw_content_out():
    graph = build_graph(DATA, GraphConfig(neighbors=4, co_consumed=4))
    assert list(build(HeteroLightGCN, graph).modalities) == ["image", "text", "co_consumed"]


def test_pairs_are_checked_where_nothing_is_aligned_too():
    with pytest.raises(ConfigError, match="unknown view 'imgae': did you mean 'image'"):
        graph_only(alignment={"weight": 0, "pairs": [["imgae", "behavior"]]})


def test_the_default_alignment_is_weaker_where_a_modality_is_given_as_lists():
    lists, _ = vectorless_graph(("text",))
    for graph, weight in ((GRAPH, 0.03), (lists, 0.003)):
        given = graph_only(graph, alignment={"weight": weight, "temperature": 0.2})(batch())
        found = graph_only(graph, alignment={"temperature": 0.2})(batch())
        assert {name: term.item() for name, term in found.items()} == pytest.approx(
            {name: term.item() for name, term in given.items()}
        )
        assert any(name.startswith("alignment") for name in found)


def test_the_coupling_of_given_lists_follows_their_homophily():
    graph, neighbors = vectorless_graph(("image", "text"))
    seen = interaction_matrix(graph)
    image = neighbors["image"].toarray()
    likeness = slow_homophily(np.argwhere(image).tolist(), seen.toarray())
    found = graph_only(graph, coupling={"text": 0.3}).coupling
    assert found["image"].item() == pytest.approx(min(max(0.1 * (likeness - 1), 0.0), 1.0), rel=1e-4)
    assert found["text"].item() == pytest.approx(0.3)


@pytest.mark.parametrize("settings", [{}, {"l2": 0.07}])
def test_the_default_l2_falls_with_the_interactions_of_a_user(settings):
    weight = settings.get("l2", 0.3 / (len(TRAIN) / len(np.unique(TRAIN.user))) ** 1.5)
    pairs, own = batch(), build(HeteroLightGCN, **settings)(batch())["l2"].item()
    model = graph_only(l2=1.0, num_layers=3)
    assert own == pytest.approx(weight * model(pairs)["l2"].item(), rel=1e-5)
