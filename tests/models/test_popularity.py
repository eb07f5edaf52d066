import pytest
import torch
from torch_geometric.data import HeteroData

from graphrec.models.base import NoEmbeddings
from graphrec.models.popularity import Popularity, PopularityConfig


@pytest.fixture
def graph():
    graph = HeteroData()
    graph["user"].num_nodes, graph["item"].num_nodes = 3, 4
    graph["user", "interacts", "item"].edge_index = torch.tensor([[0, 0, 1, 1], [2, 1, 2, 0]])
    return graph


@pytest.fixture
def model(graph):
    model = Popularity(graph, PopularityConfig())
    model.fit(graph)
    return model


def test_every_user_gets_the_training_counts(model):
    scores = model.score(torch.tensor([2, 0]))
    assert scores.tolist() == [[1.0, 1.0, 2.0, 0.0]] * 2
    assert scores.dtype == torch.float32


def test_scores_may_be_written_to(model):
    users = torch.tensor([0, 1])
    model.score(users)[0] = -torch.inf
    assert model.score(users).isfinite().all()


def test_nothing_is_saved(model):
    assert model.state_dict() == {}


def test_it_must_be_fitted_first(graph):
    with pytest.raises(RuntimeError, match=r"call fit first"):
        Popularity(graph, PopularityConfig()).score(torch.tensor([0]))


def test_it_has_no_embeddings(model):
    with pytest.raises(NoEmbeddings, match="Popularity"):
        model.embed()
