"""HeteroLightGCN with user modalities."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from graphrec.config import ConfigError
from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids
from graphrec.graph.build import GraphConfig, build_graph
from tests.reference.models import DATA, TRAIN, batch, dense_interactions, graph_only, steps
from tests.reference.propagation import dense_light_gcn, dense_matrix, dense_row_norm

COLD = int(np.flatnonzero(TRAIN.user_degree() == 0)[0])
HAS = np.flatnonzero(np.arange(DATA.num_users) % 5 != 1)
HAS = np.union1d(HAS, [COLD])
VECTORS = np.random.default_rng(0).normal(size=(len(HAS), 6)).astype(np.float32)
PEOPLE = replace(DATA, user_vectors={"text": Vectors(Ids(DATA.split.users.ids(HAS)), VECTORS)})
GRAPH = build_graph(PEOPLE, GraphConfig(neighbors=4, user_neighbors=4))


def user_message(model, coupling):
    """Returns what the users' modality adds to them, by dense algebra."""
    nodes, size = GRAPH["user_text"].user_id, model.num_users
    edges = nodes[GRAPH["user_text", "similar", "user_text"].edge_index]
    warm = torch.ones(size, 1, dtype=torch.float64)
    warm[COLD] = 0.0
    user = model.user_embedding.double() * warm
    start = torch.zeros_like(user)
    start[nodes] = model.people["user_text"].projection(F.normalize(GRAPH["user_text"].x, dim=1)).double()
    return user, coupling * dense_row_norm(dense_matrix(edges, None, size, size)) @ (start + user)


def test_user_modalities_equal_dense_algebra():
    coupling = {"user_text": 0.4}
    model = graph_only(GRAPH, relations=(), user_relations=None, coupling=coupling)
    user, message = user_message(model, 0.4)
    met, item = dense_light_gcn(dense_interactions(GRAPH), user, model.item_embedding.double(), 2)
    own = model.embed()
    torch.testing.assert_close(own.user.double(), met + message, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own.item.double(), item, rtol=1e-4, atol=1e-5)


def test_without_user_relations_nothing_changes():
    model, plain = graph_only(GRAPH), graph_only()
    assert steps(model) == steps(plain)


def test_a_new_user_is_scored_from_what_they_are_alone():
    model = graph_only(GRAPH, user_relations=["user_text"], l2=0.0)
    before = model.embed()
    with torch.no_grad():
        model.user_embedding[COLD] = 1e3
    for own, other in zip(model.embed(), before, strict=True):
        assert torch.equal(own, other)
    assert before.user[COLD].abs().sum() > 0


def test_every_parameter_of_the_user_relation_learns():
    model = graph_only(GRAPH, user_relations=None, learn_coupling=True)
    sum(model(batch()).values()).backward()
    for parameter in (*model.people.parameters(), model.coupling["user_text"]):
        assert (parameter.grad != 0).any()


def test_unknown_user_relations_are_refused():
    bare = build_graph(PEOPLE, GraphConfig(neighbors=4))
    with pytest.raises(ConfigError, match=r"expected kNN edges of 'user_text' .* set graph\.user_neighbors"):
        graph_only(bare, user_relations=["user_text"])
    with pytest.raises(ConfigError, match="unknown relation 'user_txt': did you mean 'user_text'"):
        graph_only(GRAPH, user_relations=("user_txt",))
    with pytest.raises(ConfigError, match="unknown relation 'user_age'"):
        graph_only(GRAPH, coupling={"user_age": 1.0})
