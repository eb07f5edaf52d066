from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from graphrec.config import ConfigError
from graphrec.data.interactions import Ids
from graphrec.features.table import FeatureTable
from graphrec.graph.build import GraphConfig, build_graph, item_operator, item_relations
from graphrec.models.hetero_lightgcn import HeteroLightGCN, HeteroLightGCNConfig
from graphrec.runs.graph import load_graph, save_graph
from graphrec.testing import block_data, make_batch, relabel
from tests.reference.propagation import dense_matrix

DATA = block_data(dims={"audio": 4, "image": 6, "text": 6})
K = 3


def tables_of(data, spaces):
    ids = data.split.items
    aligned = {name: FeatureTable.align(vectors, ids) for name, vectors in data.vectors.items()}
    return {name: replace(table, space=spaces.get(name)) for name, table in aligned.items()}


CLIP = {"image": "clip", "text": "clip", "audio": "clap"}
TABLES = tables_of(DATA, CLIP)


def built(data=DATA, tables=TABLES, **settings):
    return build_graph(data, GraphConfig(**({"neighbors": 4, "matches": K} | settings)), features=tables)


def slow_matches(source, target, own):
    """Sorts all nodes of the source by falling cosine for every node of the target."""
    x, y = (F.normalize(torch.from_numpy(t.values).double(), dim=1) for t in (source, target))
    edges = {}
    for node, item in enumerate(target.rows):
        scored = [(float(x[s] @ y[node]), s) for s, other in enumerate(source.rows) if own or other != item]
        for value, s in sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:K]:
            if value > 0:
                edges[s, node] = value
    return edges


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("source", "target"), [("image", "text"), ("text", "image")])
def test_every_node_matches_its_nearest_nodes_of_the_other_modality(source, target, own):
    store = built(match_own=own)[source, "matches", target]
    expected = slow_matches(TABLES[source], TABLES[target], own)
    got = dict(zip(map(tuple, store.edge_index.T.tolist()), store.edge_weight.tolist(), strict=True))
    assert set(got) == set(expected)
    for edge, value in expected.items():
        assert got[edge] == pytest.approx(value, abs=1e-6)
    assert torch.bincount(store.edge_index[1]).max() <= K


def test_the_own_pair_is_left_out_unless_wanted():
    tables = TABLES | {"text": replace(TABLES["image"], space="clip")}  # every item is nearest to itself
    for own, expected in ((False, 0), (True, len(TABLES["image"].rows))):
        edges, _ = item_operator(built(tables=tables, match_own=own), "image_matches_text")
        assert int((edges[0] == edges[1]).sum()) == expected


def test_reverses_are_built_and_other_spaces_are_left_out():
    graph = built()
    pairs = {edge_type for edge_type in graph.edge_types if "matches" in edge_type[1]}
    forward = {("image", "matches", "text"), ("text", "matches", "image")}
    assert pairs == forward | {(target, "rev_matches", source) for source, _, target in forward}
    for source, relation, target in forward:
        back = graph[target, "rev_matches", source]
        assert torch.equal(back.edge_index, graph[source, relation, target].edge_index.flip(0))
        assert torch.equal(back.edge_weight, graph[source, relation, target].edge_weight)


def test_matches_are_relations_between_items():
    graph = built()
    assert item_relations(graph) == ("audio", "image", "text", "image_matches_text", "text_matches_image")
    edges, weight = item_operator(graph, "image_matches_text")
    nodes = graph["image", "matches", "text"]
    for (item, other), (source, target) in zip(edges.T.tolist(), nodes.edge_index.T.tolist(), strict=True):
        assert (TABLES["image"].rows[source], TABLES["text"].rows[target]) == (item, other)
    assert torch.equal(weight, nodes.edge_weight)
    assert item_relations(built(matches=None)) == ("audio", "image", "text")


def test_the_flagship_carries_item_states_over_matches():
    graph, coupling = built(), 0.7
    names = ("image_matches_text", "text_matches_image")
    torch.manual_seed(0)
    model = HeteroLightGCN(
        graph,
        HeteroLightGCNConfig(embedding_dim=4, num_layers=2, relations=names, coupling=dict.fromkeys(names, coupling)),
    )
    plain = HeteroLightGCN(graph, HeteroLightGCNConfig(embedding_dim=4, num_layers=2, relations=()))
    plain.load_state_dict(model.state_dict(), strict=False)
    item = model.item_embedding.double() * (torch.ones(34, 1) if model.warm is None else model.warm)
    expected = plain.embed().item.double()
    if model.warm is not None:  # without content the cold item keeps its ID
        expected = expected - plain.item_embedding.double() / 3 * (1 - model.warm)
    for name in names:
        edges, weight = item_operator(graph, name)
        matrix = dense_matrix(edges, weight, 34, 34)
        received, sent = (matrix.sum(axis).clamp(min=1e-12).rsqrt() for axis in (1, 0))
        expected = expected + coupling * (received[:, None] * matrix * sent) @ item
    torch.testing.assert_close(model.embed().item.double(), expected, rtol=1e-4, atol=1e-5)
    terms = model(make_batch(DATA.split.train, torch.Generator().manual_seed(0)))
    assert all(term.isfinite() for term in terms.values())


def halves():
    """Returns a graph in which the even items have an image alone and the odd ones a text alone."""
    tables = {name: replace(table_of(name, start), space="clip") for name, start in (("image", 0), ("text", 1))}
    return built(tables=tables)


def table_of(name, start):
    rows = np.arange(start, 34, 2)
    x = np.random.default_rng(start).normal(size=(len(rows), 5)).astype(np.float32)
    return FeatureTable(DATA.split.items, rows, x)


def test_items_with_an_image_alone_reach_those_with_a_text_alone():
    model = HeteroLightGCN(
        halves(), HeteroLightGCNConfig(embedding_dim=4, num_layers=2, relations=("image_matches_text",))
    )
    relation = model.modalities["image_matches_text"]
    message = relation(torch.eye(34)).message  # row: receives, column: sends
    edges, _ = item_operator(halves(), "image_matches_text")
    assert {*map(tuple, message.nonzero().tolist())} == {(target, source) for source, target in edges.T.tolist()}


def test_an_item_that_receives_no_matches_is_not_aligned_with_them():
    model = HeteroLightGCN(
        halves(), HeteroLightGCNConfig(embedding_dim=4, num_layers=2, relations=("image_matches_text",))
    )
    relation = model.modalities["image_matches_text"]
    edges, _ = item_operator(halves(), "image_matches_text")
    assert {*relation.present.nonzero().flatten().tolist()} == {*edges[1].tolist()} <= set(range(1, 34, 2))


def test_relabelling_moves_the_matches_along():
    users, items = np.random.default_rng(0).permutation(43), np.random.default_rng(1).permutation(34)
    moved = relabel(DATA, users, items)
    edges, weight = item_operator(built(), "image_matches_text")
    others, values = item_operator(built(moved, tables_of(moved, CLIP)), "image_matches_text")
    expected = dict(zip(map(tuple, edges.T.tolist()), weight.tolist(), strict=True))
    got = dict(zip(map(tuple, torch.from_numpy(items)[others].T.tolist()), values.tolist(), strict=True))
    assert got == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("policy", ["zero", "mean", "token", "neighbors"])
def test_imputed_vectors_neither_match_nor_are_matched(policy):
    for pair in (("image", "text"), ("text", "image")):
        plain, imputed = built(), built(missing=policy)
        edges, others = (
            {*map(tuple, item_operator(g, "_matches_".join(pair))[0].T.tolist())} for g in (plain, imputed)
        )
        assert edges == others


def test_matches_survive_the_run_folder(tmp_path):
    graph = built(missing="mean")
    save_graph(tmp_path, graph)
    loaded = load_graph(tmp_path)
    assert set(loaded.edge_types) == set(graph.edge_types)
    assert torch.equal(loaded["image"].missing, graph["image"].missing)
    for name in ("image_matches_text", "text_matches_image"):
        for own, other in zip(item_operator(loaded, name), item_operator(graph, name), strict=True):
            assert torch.equal(own, other)


def test_no_shared_space_is_an_error_that_names_the_spaces():
    with pytest.raises(ConfigError, match=r"got audio: clap, image: clip, text: its own; encode them with"):
        built(tables=tables_of(DATA, {"image": "clip", "audio": "clap"}))
    with pytest.raises(ConfigError, match="got no vectors"):
        built(modalities=())


def test_too_few_nodes_for_the_matches_are_refused():
    with pytest.raises(ValueError, match="expected more than 30 nodes of modality 'image', got 29; lower"):
        built(matches=30)


def test_vectors_of_one_space_have_one_length():
    with pytest.raises(ValueError, match="equal length, got 4 and 6"):
        built(tables=tables_of(DATA, dict.fromkeys(("audio", "image"), "clip")))


def test_ids_of_absent_items_do_not_shift_the_own_pair():
    ids, rng = Ids([f"i{row}" for row in range(34)]), np.random.default_rng(0)
    x = rng.normal(size=(34, 5)).astype(np.float32)
    few, many = np.arange(20, 34), np.arange(0, 34, 2)
    tables = {
        "image": FeatureTable(ids, few, x[few], space="s"),
        "text": FeatureTable(ids, many, x[many], space="s"),
    }
    for name in ("image_matches_text", "text_matches_image"):
        edges, _ = item_operator(built(tables=tables), name)
        assert edges.numel()
        assert (edges[0] != edges[1]).all()
