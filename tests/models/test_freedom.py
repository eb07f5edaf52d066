from dataclasses import replace

import pytest
import torch
from torch_geometric.data import HeteroData

from graphrec.config import ConfigError
from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids
from graphrec.graph.build import INTERACTS
from graphrec.graph.transforms import prune_by_degree
from graphrec.models.base import Batch
from graphrec.models.freedom import FREEDOM, modality_weights
from graphrec.runtime import generator
from graphrec.testing import shared_batch, small_graph
from tests.reference.losses import slow_bpr
from tests.reference.models import DATA, GRAPH, TRAIN, batch, build, dense_interactions, vectorless_graph
from tests.reference.propagation import dense_light_gcn, dense_row_norm


def dense_forward(model, neighbors, weights, num_layers, similar_layers):
    """LightGCN on the user–item graph plus hops over the weighted sum of the normalised item graphs."""
    tables = model.user_embedding.double(), model.item_embedding.double()
    user, item = dense_light_gcn(dense_interactions(), *tables, num_layers)
    mixed = sum(w * dense_row_norm(torch.from_numpy(neighbors[m].toarray()).double()) for m, w in weights.items())
    return user, item + torch.linalg.matrix_power(mixed, similar_layers) @ tables[1]


@pytest.mark.parametrize(("num_layers", "similar_layers"), [(2, 1), (1, 2), (0, 1)])
def test_equals_its_dense_form(num_layers, similar_layers):
    graph, neighbors = vectorless_graph(("image", "text"))
    model = build(FREEDOM, graph, num_layers=num_layers, similar_layers=similar_layers)
    expected = dense_forward(model, neighbors, {"text": 0.9, "image": 0.1}, num_layers, similar_layers)
    for own, other in zip(model.embed(), expected, strict=True):
        torch.testing.assert_close(own.double(), other, rtol=1e-4, atol=1e-6)


def test_weights_are_rescaled_and_zero_leaves_a_modality_out():
    graph, neighbors = vectorless_graph(("image", "text"))
    model = build(FREEDOM, graph, weights={"image": 3.0, "text": 1.0})
    expected = dense_forward(model, neighbors, {"image": 0.75, "text": 0.25}, 2, 1)
    torch.testing.assert_close(model.embed().item.double(), expected[1], rtol=1e-4, atol=1e-6)
    alone = build(FREEDOM, graph, weights={"image": 3.0, "text": 0.0})
    expected = dense_forward(alone, neighbors, {"image": 1.0}, 2, 1)
    torch.testing.assert_close(alone.embed().item.double(), expected[1], rtol=1e-4, atol=1e-6)


def test_pruning_is_drawn_from_seed_and_epoch():
    model, again, other = build(FREEDOM), build(FREEDOM), build(FREEDOM, seed=1)
    edges, drawn = GRAPH[INTERACTS].edge_index, []
    for epoch in range(3):
        model.refresh(epoch)
        kept = prune_by_degree(edges, 0.2, generator(0, epoch))
        found = model.interactions.pruned.to_dense().nonzero()
        assert set(map(tuple, found.tolist())) == set(map(tuple, edges[:, kept].T.tolist()))
        drawn.append(model.interactions.pruned.to_dense())
    again.refresh(2)
    assert torch.equal(again.interactions.pruned.to_dense(), drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    other = FREEDOM(GRAPH, model.config.model_copy(update={"seed": 1}))
    other.refresh(2)
    assert not torch.equal(other.interactions.pruned.to_dense(), drawn[2])


def test_training_uses_the_pruned_graph_and_inference_the_whole():
    model = build(FREEDOM, feature_loss=0.0)
    whole, before = model.embed(), model(batch())["bpr"]
    model.refresh(0)
    assert not torch.equal(model(batch())["bpr"], before)
    assert torch.equal(model.embed().user, whole.user)


def test_keeping_all_edges_prunes_nothing():
    model = build(FREEDOM, edge_keep=1.0)
    model.refresh(0)
    assert model.interactions.pruned is model.interactions.full


def slow_feature_loss(model, user, pairs):
    """BPR on projected features, pair by pair, over the pairs of which both items have the modality."""
    total = 0.0
    negatives = pairs.negative if pairs.negative.dim() == 2 else pairs.negative.expand(len(pairs.user), -1)
    for name, projection in model.projections.items():
        item = dict(zip(GRAPH[name].item_id.tolist(), projection(GRAPH[name].x), strict=True))
        above, below = [], []
        for row, (u, p) in enumerate(zip(pairs.user.tolist(), pairs.positive.tolist(), strict=True)):
            for column, n in enumerate(negatives[row].tolist()):
                known = pairs.known is not None and pairs.known[row, column]
                if p in item and n in item and not known:
                    above.append((user[u] @ item[p]).item())
                    below.append([(user[u] @ item[n]).item()])
        total += slow_bpr(above, below)
    return total


@pytest.mark.parametrize("pairs", [batch(), batch(negatives=3), shared_batch(TRAIN, torch.Generator().manual_seed(0))])
def test_the_feature_loss_equals_the_loop(pairs):
    model = build(FREEDOM, edge_keep=1.0, feature_loss=0.5)
    terms = model(pairs)
    assert set(terms) == {"bpr", "feature"}
    expected = 0.5 * slow_feature_loss(model, model.embed().user, pairs)
    assert terms["feature"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_a_batch_in_which_no_item_has_a_modality_has_no_feature_loss(loss):
    table = DATA.vectors["image"]
    few = {"image": Vectors(Ids(table.ids.index[:6]), table.values[:6])}
    graph = small_graph(replace(DATA, vectors=few))
    absent = [item for item in range(33) if item not in graph["image"].item_id]
    model = build(FREEDOM, graph, weights={"image": 1.0}, objective={"loss": loss})
    pairs = Batch(torch.tensor([0, 1]), torch.tensor(absent[:2]), torch.tensor([[absent[2]], [absent[3]]]))
    terms = model(pairs)
    sum(terms.values()).backward()
    assert terms["feature"].item() == 0.0
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


def test_terms_without_a_weight_are_left_out():
    assert set(build(FREEDOM, feature_loss=0.0)(batch())) == {"bpr"}
    assert set(build(FREEDOM, feature_loss=0.0, l2=0.1)(batch())) == {"bpr", "l2"}
    graph, _ = vectorless_graph(("image", "text"))
    assert set(build(FREEDOM, graph)(batch())) == {"bpr"}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"vision": 1.0}, "unknown modality 'vision'"),
        ({"image": 0.0}, "expected a positive weight"),
        ({}, "expected a"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        build(FREEDOM, weights=weights)


def test_default_weights_fit_the_modalities_there_are():
    assert modality_weights(small_graph_of("image", "text"), None) == pytest.approx({"text": 0.9, "image": 0.1})
    assert modality_weights(small_graph_of("text"), None) == {"text": 1.0}
    assert modality_weights(small_graph_of("text"), {"text": 2.0, "image": 0.0}) == {"text": 1.0}
    assert modality_weights(small_graph_of("audio", "image"), None) == {"audio": 0.5, "image": 0.5}


def small_graph_of(*names):
    graph = HeteroData()
    for name in names:
        graph[name].item_id = torch.arange(3)
    return graph
