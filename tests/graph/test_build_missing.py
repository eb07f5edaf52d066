import logging
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from graphrec.config import ConfigError
from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids
from graphrec.graph.build import GraphConfig, build_graph, drop_incomplete, item_operator
from graphrec.graph.neighbors import flagged_nodes, knn_graph
from graphrec.testing import block_data, other_held_out, relabel

MADE = ("zero", "mean", "token", "neighbors", "propagate")
CONSTANT = ("zero", "mean", "token")
DATA = block_data()
PLAIN = build_graph(DATA, GraphConfig(neighbors=4))


def built(policy, data=DATA, **settings):
    return build_graph(data, GraphConfig(neighbors=4, missing=policy, **settings))


def few(count, data=DATA):
    """Returns the data with only so many images."""
    vectors = data.vectors["image"]
    return replace(data, vectors={"image": Vectors(Ids(vectors.ids.index[:count]), vectors.values[:count])})


def edges_of(graph, name="image"):
    return {*map(tuple, item_operator(graph, name)[0].T.tolist())}


def weighted_edges(graph, name):
    edges, weight = item_operator(graph, name)
    return sorted(zip(*edges.tolist(), ([0.0] * edges.shape[1] if weight is None else weight.tolist()), strict=True))


def test_absent_is_the_default_and_flags_nothing():
    assert GraphConfig().missing == "absent"
    assert edges_of(built("absent")) == edges_of(PLAIN)
    assert set(PLAIN["image"].keys()) == {"item_id", "num_nodes", "x"}
    assert not flagged_nodes(PLAIN, "image").any()


@pytest.mark.parametrize("policy", MADE)
def test_imputed_nodes_are_flagged_and_real_ones_are_as_they_were(policy):
    graph, real = built(policy), PLAIN["image"].item_id
    missing = graph["image"].missing
    assert torch.equal(graph["image"].item_id[~missing], real)
    assert torch.equal(graph["image"].x[~missing], PLAIN["image"].x)
    assert missing.any()
    assert graph["image"].num_nodes == len(missing) > len(real)
    assert ("constant" in graph["image"]) == (policy in CONSTANT)
    assert ("token" in graph["image"]) == (policy == "token")
    has = graph["item", "has_image", "image"].edge_index
    assert torch.equal(has, torch.stack([graph["image"].item_id, torch.arange(len(missing))]))


@pytest.mark.parametrize("policy", ["zero", "token"])
def test_zeros_and_tokens_have_no_neighbours_and_are_nobodys(policy):
    assert edges_of(built(policy)) == edges_of(PLAIN)


def test_means_choose_among_real_items_and_are_not_chosen():
    graph, real = built("mean"), {*PLAIN["image"].item_id.tolist()}
    more = edges_of(graph) - edges_of(PLAIN)
    assert edges_of(PLAIN) <= edges_of(graph)
    assert {source for source, _ in more} <= real
    mean = PLAIN["image"].x.mean(0)
    nearest = torch.cosine_similarity(PLAIN["image"].x, mean[None]).topk(4).indices
    chosen = {*PLAIN["image"].item_id[nearest].tolist()}
    for item in set(range(34)) - real:
        assert {source for source, target in more if target == item} == chosen


@pytest.mark.parametrize("policy", ["neighbors", "propagate"])
def test_vectors_from_behaviour_get_ordinary_neighbours(policy):
    store = built(policy)["image"]
    edges, _ = knn_graph(store.x, 4)
    assert edges_of(built(policy)) == {*map(tuple, store.item_id[edges].T.tolist())}


@pytest.mark.parametrize("policy", MADE)
def test_held_out_interactions_do_not_reach_an_imputed_vector(policy):
    own, other = built(policy), built(policy, other_held_out(DATA))
    for name in ("image", "text"):
        assert torch.equal(own[name].x, other[name].x)
        assert torch.equal(own[name].item_id, other[name].item_id)
        assert edges_of(own, name) == edges_of(other, name)


def test_training_interactions_do_reach_it():
    train = DATA.split.train
    other = replace(DATA, split=replace(DATA.split, train=train.take(np.arange(len(train)) % 3 > 0)))
    assert not torch.equal(built("neighbors")["image"].x, built("neighbors", other)["image"].x)


@pytest.mark.parametrize("policy", MADE)
def test_relabelling_moves_nodes_and_edges_along(policy):
    rng = np.random.default_rng(2)
    train = DATA.split.train  # fewer interactions tie less
    data = replace(DATA, split=replace(DATA.split, train=train.take(rng.permutation(len(train))[:200])))
    users, items = rng.permutation(43), rng.permutation(34)
    own, other = (built(policy, d, missing_neighbors=40) for d in (data, relabel(data, users, items)))
    moved = torch.from_numpy(items)[other["image"].item_id]
    order = moved.argsort()
    assert torch.equal(moved[order], own["image"].item_id)
    torch.testing.assert_close(other["image"].x[order], own["image"].x, rtol=1e-4, atol=1e-5)
    assert torch.equal(other["image"].missing[order], own["image"].missing)
    assert {(items[s], items[t]) for s, t in edges_of(other)} == edges_of(own)


@pytest.mark.parametrize("policy", MADE)
def test_with_nothing_missing_the_graph_is_as_without_a_policy(policy):
    ids = DATA.split.items
    x = np.random.default_rng(0).normal(size=(len(ids), 4)).astype(np.float32)
    data = replace(DATA, vectors={"image": Vectors(ids, x)})
    assert set(built(policy, data)["image"].keys()) == {"item_id", "num_nodes", "x"}
    assert edges_of(built(policy, data)) == edges_of(built("absent", data))


@pytest.mark.parametrize("policy", MADE)
def test_few_real_vectors_are_enough(policy):
    assert built(policy, few(6))["image"].missing.sum() >= 20
    assert built(policy, few(3))["image"].num_nodes > 4
    assert built(policy, few(0))["image", "similar", "image"].edge_index.size(1) == 0


def test_a_policy_may_be_named_by_modality():
    graph = built({"text": "mean"})
    assert flagged_nodes(graph, "text", "constant").any()
    assert not flagged_nodes(graph, "image").any()
    assert edges_of(graph) == edges_of(PLAIN)
    with pytest.raises(ValueError, match=r"unknown modality in graph.missing 'imgae': did you mean 'image'"):
        built({"imgae": "mean"})
    with pytest.raises(ConfigError, match="missing"):
        GraphConfig.parse({"missing": "median"})


def test_a_modality_without_vectors_is_left_alone_and_named(caplog):
    data = replace(DATA, neighbors={"tags": sp.csr_array(np.eye(34, k=1, dtype=np.float32))})
    with caplog.at_level(logging.INFO, logger="graphrec"):
        graph = built("mean", data)
    assert "tags has given neighbours and no vectors: graph.missing=mean leaves it as it is" in caplog.text
    assert "image: 27 items have vectors, 7 by mean, 0 stay absent" in caplog.text
    assert set(graph["tags"].keys()) == {"item_id", "num_nodes"}
    with pytest.raises(ValueError, match=r"expected vectors for graph.missing of 'tags', got given neighbours only"):
        built({"tags": "mean"}, data)


@pytest.mark.parametrize("policy", MADE)
def test_given_neighbours_of_imputed_items_are_kept_except_for_tokens(policy):
    given = sp.csr_array(np.eye(34, k=1, dtype=np.float32) * np.arange(1, 35))
    data = replace(DATA, neighbors={"image": given})
    wanted = PLAIN["image"].item_id if policy == "token" else built(policy, data)["image"].item_id
    nodes = {*wanted.tolist()}
    expected = sorted((row + 1, row, float(row + 2)) for row in range(33) if {row, row + 1} <= nodes)
    assert weighted_edges(built(policy, data), "image") == expected


def test_drop_takes_items_without_the_modality_out_of_training():
    config = GraphConfig(neighbors=4, missing={"image": "drop"})
    with pytest.raises(ValueError, match=r"no training interactions with items without 'image' .*drop_incomplete"):
        build_graph(DATA, config)
    kept = drop_incomplete(DATA, config)
    lacking = set(range(34)) - set(PLAIN["image"].item_id.tolist())
    graph = build_graph(kept, config)
    edges = {*map(tuple, graph["user", "interacts", "item"].edge_index.T.tolist())}
    every = {*map(tuple, PLAIN["user", "interacts", "item"].edge_index.T.tolist())}
    assert edges == {(user, item) for user, item in every if item not in lacking}
    assert edges_of(graph) == edges_of(PLAIN)
    assert (kept.test, kept.split.valid) == (DATA.test, DATA.split.valid)
    assert kept.notes[0].startswith("items without image dropped from training: ")


def test_drop_for_all_modalities_keeps_complete_items():
    config = GraphConfig(neighbors=4, missing="drop")
    complete = set(PLAIN["image"].item_id.tolist()) & set(PLAIN["text"].item_id.tolist())
    assert set(drop_incomplete(DATA, config).split.train.item.tolist()) <= complete
    only = GraphConfig(neighbors=4, missing="drop", modalities=("text",))
    assert set(drop_incomplete(DATA, only).split.train.item.tolist()) - complete
    assert drop_incomplete(DATA, GraphConfig(missing="mean")) is DATA
