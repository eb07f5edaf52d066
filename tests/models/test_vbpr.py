from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from graphrec.config import ConfigError
from graphrec.models.vbpr import VBPR
from graphrec.testing import small_graph
from tests.reference.models import DATA, GRAPH, batch, build, vectorless_graph


def randomised(**settings):
    """Returns a model whose biases are not zero, so that every part of the score shows."""
    model = build(VBPR, embedding_dim=3, content_dim=2, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def features(item, names=("image", "text")):
    """Returns the concatenated unit vectors of an item, zeros where it lacks a modality."""
    parts = []
    for name in names:
        node = torch.nonzero(GRAPH[name].item_id == item).flatten()
        x = GRAPH[name].x
        parts.append(F.normalize(x[node[0]], dim=0) if len(node) else torch.zeros(x.size(1)))
    return torch.cat(parts)


@pytest.mark.parametrize("names", [("image", "text"), ("text",), ("text", "image")])
def test_the_score_is_the_formula_of_the_paper(names):
    model = randomised(modalities=names)
    scores = model.score(torch.arange(model.num_users))
    for user, item in [(0, 0), (5, 1), (42, 33), (7, 6), (8, 22)]:
        f = features(item, names)
        expected = (
            model.user_embedding[user] @ model.item_embedding[item]
            + model.user_taste[user] @ (model.projection.T @ f)
            + model.item_bias[item]
            + model.content_bias @ f
        )
        torch.testing.assert_close(scores[user, item], expected, rtol=1e-4, atol=1e-5)


def test_all_modalities_with_vectors_are_used_by_default():
    assert torch.equal(build(VBPR).content, build(VBPR, modalities=("image", "text")).content)


def test_an_item_without_content_is_scored_by_its_own_factors_and_bias():
    model, bare = randomised(), 1
    assert all(bare not in GRAPH[name].item_id for name in ("image", "text"))
    expected = model.user_embedding @ model.item_embedding[bare] + model.item_bias[bare]
    torch.testing.assert_close(model.score(torch.arange(model.num_users))[:, bare], expected)


def test_the_order_of_feature_rows_does_not_matter():
    graph = small_graph(DATA)
    order = torch.from_numpy(np.random.default_rng(0).permutation(graph["image"].num_nodes))
    graph["image"].x, graph["image"].item_id = graph["image"].x[order], graph["image"].item_id[order]
    assert torch.equal(build(VBPR, graph).content, build(VBPR).content)


def test_the_loss_leaves_the_column_of_ones_out():
    model, pairs = randomised(l2=0.5), batch(size=6)
    user, item = model.embed()
    touched = user[pairs.user][:, :-1], item[pairs.positive], item[pairs.negative.flatten()]
    expected = 0.5 * sum(rows.square().sum() for rows in touched) / 12
    terms = model(pairs)
    assert set(terms) == {"bpr", "l2"}
    torch.testing.assert_close(terms["l2"], expected)


def test_a_graph_without_vectors_is_refused():
    with pytest.raises(ConfigError, match="expected a modality with vectors for VBPR, got a graph with no modality"):
        build(VBPR, small_graph(replace(DATA, vectors={})))
    with pytest.raises(ConfigError, match="got a graph with image; add features"):
        build(VBPR, vectorless_graph()[0])


@pytest.mark.parametrize(("names", "message"), [(("imag",), "did you mean 'image'"), ((), "expected a modality")])
def test_a_bad_choice_of_modalities_is_refused(names, message):
    with pytest.raises(ConfigError, match=message):
        build(VBPR, modalities=names)
