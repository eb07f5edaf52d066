"""Explanations: shares and ways against dense matrices and slow loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphrec.graph.build import GraphConfig, build_graph
from graphrec.models import get_model
from graphrec.models.base import Recommender
from graphrec.report.page import explain
from graphrec.report.page.explain import Path, Ways, contributions, lifts, liked_weights, parts_of, sentence, shares
from graphrec.testing import block_data, small_graph

DATA = block_data()
GRAPH = small_graph(DATA)
WAYS = Ways(GRAPH)
USERS, ITEMS = (0, 7, 20), (3, 12, 30)


def model_of(name, graph=GRAPH, **settings):
    kind = get_model(name)
    torch.manual_seed(3)
    model = kind(graph, kind.config_class(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return model


def dense():
    """Returns what users have seen ``(num_users, num_items)``, and the degrees."""
    seen = np.zeros((DATA.num_users, DATA.num_items))
    seen[DATA.split.train.user, DATA.split.train.item] = 1
    return seen, seen.sum(axis=1), seen.sum(axis=0)


@pytest.mark.parametrize("name", ["hetero-lightgcn", "freedom", "vbpr"])
def test_contributions_add_up_to_the_score_and_lifts_to_its_distance_from_the_mean(name):
    model = model_of(name)
    parts = parts_of(model)
    assert len(parts) > 1
    for user in USERS:
        with torch.no_grad():
            scores = model.score(torch.tensor([user]))[0].numpy()
        found = contributions(parts, user)
        np.testing.assert_allclose(sum(found.values()), scores, atol=1e-4)
        for item in ITEMS:
            assert sum(lifts(found, item).values()) == pytest.approx(scores[item] - scores.mean(), abs=1e-4)


def test_models_without_parts_have_no_shares():
    assert parts_of(model_of("mf")) == {}
    assert parts_of(model_of("ease")) == {}


def test_what_a_part_adds_to_all_items_alike_has_no_share():
    found = lifts({"flat": np.full(4, 7.0), "behavior": np.array([3.0, 1.0, 0.0, 0.0])}, 0)
    assert found == {"flat": 0.0, "behavior": 2.0}
    assert shares(found) == {"flat": 0.0, "behavior": 1.0}


def test_shares_keep_signs_and_sum_to_one_without_them():
    found = shares({"a": 2.0, "b": -1.0, "c": 1.0})
    assert found == {"a": 0.5, "b": -0.25, "c": 0.25}
    assert shares({"a": 0.0, "b": 0.0}) == {"a": 0.0, "b": 0.0}


def test_ways_over_other_users_are_products_of_lightgcn_weights():
    seen, of_user, of_item = dense()
    for user in USERS:
        for item in np.flatnonzero((seen[user] == 0) & (of_item > 0))[:6]:
            expected, others = {}, {}
            for liked in np.flatnonzero(seen[user]):
                both = [v for v in range(len(seen)) if v != user and seen[v, liked] and seen[v, item]]
                hops = [1 / np.sqrt(of_item[liked] * of_user[v]) / np.sqrt(of_user[v] * of_item[item]) for v in both]
                if both:
                    expected[liked], others[liked] = sum(hops) / of_user[user], len(both)
            found = WAYS.over("behavior", user, int(item))
            assert {path.liked: path.others for path in found} == others
            for path in found:
                assert path.strength == pytest.approx(expected[path.liked])
            assert [path.strength for path in found] == pytest.approx(sorted(expected.values(), reverse=True))


@pytest.mark.parametrize("relation", ["image", "text"])
def test_ways_over_content_are_shares_of_the_list_of_neighbours(relation):
    seen, of_user, _ = dense()
    nodes, edges = GRAPH[relation], GRAPH[relation, "similar", relation].edge_index
    unit = torch.nn.functional.normalize(nodes.x.double(), dim=1).numpy()
    for user in USERS:
        for item in np.flatnonzero(seen[user] == 0)[:8]:
            node = np.flatnonzero(nodes.item_id.numpy() == item)
            row = edges[0, edges[1] == int(node[0])].numpy() if len(node) else np.zeros(0, int)
            near = {int(nodes.item_id[one]): max(0.0, unit[one] @ unit[node[0]]) for one in row}
            total = sum(near.values())
            expected = {j: w / total / of_user[user] for j, w in near.items() if seen[user, j] and w > 0}
            found = {path.liked: path.strength for path in WAYS.over(relation, user, int(item))}
            assert found == pytest.approx(expected, abs=1e-6)


def test_relations_take_turns_in_the_order_wanted():
    seen, _, of_item = dense()
    user = 0
    candidates = np.flatnonzero((seen[user] == 0) & (of_item > 0))
    item = next(int(i) for i in candidates if all(len(WAYS.over(name, user, int(i))) > 1 for name in WAYS.relations))
    order = ("text", "behavior", "image")
    found = WAYS.strongest(user, item, count=4, relations=order)
    assert [path.relation for path in found] == ["text", "behavior", "image", "text"]
    assert found[0] == WAYS.over("text", user, item)[0]
    assert found[3] == WAYS.over("text", user, item)[1]


def test_nothing_leads_from_a_user_without_items_or_to_an_item_without_content_and_users():
    assert WAYS.strongest(DATA.num_users - 1, 3) == ()
    bare = Ways(build_graph(replace(DATA, vectors={})))
    assert bare.relations == ("behavior",)
    assert bare.strongest(0, DATA.num_items - 1) == ()


def test_edge_weights_of_the_graph_count_where_it_keeps_some_and_ones_where_there_is_nothing():
    graph = GRAPH.clone()
    edge_type = ("text", "similar", "text")
    for weight in (torch.linspace(1, 5, graph[edge_type].num_edges), None):
        if weight is None:
            del graph["text"].x, graph[edge_type].edge_weight
        else:
            graph[edge_type].edge_weight = weight
        lists = explain.neighbour_lists(graph, "text")
        source, target = graph["text"].item_id[graph[edge_type].edge_index].numpy()
        value = np.ones(len(source)) if weight is None else weight.numpy()
        for item in np.unique(target)[:5]:
            own = value[target == item] / value[target == item].sum()
            np.testing.assert_allclose(lists[[item]].toarray()[0, source[target == item]], own, rtol=1e-6)


def test_imputed_vectors_lead_nowhere():
    graph = build_graph(DATA, GraphConfig(neighbors=4, missing="neighbors"))
    made = graph["text"].item_id[graph["text"].missing].numpy()
    lists = explain.neighbour_lists(graph, "text")
    assert len(made)
    assert lists.nnz
    assert lists[made].sum() == 0
    assert lists[:, made].sum() == 0


@pytest.mark.parametrize(("name", "settings"), [("ease", {}), ("item-knn", {"neighbors": 5}), ("collective-ease", {})])
def test_weights_of_liked_items_add_up_to_the_score(name, settings):
    kind = get_model(name)
    model = kind(GRAPH, kind.config_class(**settings))
    model.fit(GRAPH)
    for user in USERS:
        scores = model.score(torch.tensor([user]))[0]
        for item in ITEMS:
            found = liked_weights(model, WAYS.liked(user), item)
            assert sum(found.values()) == pytest.approx(float(scores[item]), abs=1e-5)
            assert list(found.values()) == sorted(found.values(), reverse=True)
            assert set(found) <= set(WAYS.liked(user).tolist())


def test_models_without_item_weights_name_no_liked_items():
    popularity = get_model("popularity")
    model = popularity(GRAPH, popularity.config_class())
    model.fit(GRAPH)
    assert liked_weights(model, WAYS.liked(0), 3) == {}
    assert isinstance(trained := model_of("mf"), Recommender)
    assert liked_weights(trained, WAYS.liked(0), 3) == {}


def test_ways_are_told_in_words():
    titles = {1: "Toy Story", 2: "A Bug's Life"}.get
    assert sentence(Path(1, "text", 2, 0.1), titles) == "liked Toy Story – text alike – A Bug's Life"
    several = sentence(Path(1, "behavior", 2, 0.1, 34), titles)
    assert several == "liked Toy Story – 34 others had both – A Bug's Life"
    assert "– 1 other had both –" in sentence(Path(1, "behavior", 2, 0.1, 1), titles)
    assert "genres alike" in sentence(Path(1, "genres", 2, 0.1), titles)
    assert "image like the text of" in sentence(Path(1, "image_matches_text", 2, 0.1), titles)
