import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from graphrec.models.base import NoEmbeddings
from graphrec.models.item_knn import ItemKNN, ItemKNNConfig

SEEN = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=np.float64)
ALL = torch.arange(4)


@pytest.fixture
def graph():
    """Four users, of whom the last has seen nothing; four items, of which the last was never seen."""
    graph = HeteroData()
    graph["user"].num_nodes, graph["item"].num_nodes = SEEN.shape
    graph["user", "interacts", "item"].edge_index = torch.from_numpy(np.stack(SEEN.nonzero()))
    graph["text"].num_nodes, graph["text"].item_id = 3, torch.tensor([0, 2, 3])
    graph["text"].x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]])
    graph["tags"].num_nodes, graph["tags"].item_id = 3, torch.tensor([0, 1, 3])
    graph["tags", "similar", "tags"].edge_index = torch.tensor([[1, 2, 2, 0], [0, 0, 1, 0]])
    return graph


def fitted(graph, **settings):
    model = ItemKNN(graph, ItemKNNConfig(**settings))
    model.fit(graph)
    return model


def scaled(similarity):
    return similarity / similarity[similarity > 0].mean()


def behavior_similarity(shrinkage):
    shared = SEEN.T @ SEEN
    degree = np.diag(shared)
    cosine = shared / np.sqrt(np.maximum(np.outer(degree, degree), 1))
    similarity = cosine * shared / np.maximum(shared + shrinkage, 1e-9)
    np.fill_diagonal(similarity, 0.0)
    return similarity


def text_similarity():
    similarity = np.zeros((4, 4))
    similarity[0, 2] = similarity[2, 0] = 0.6
    similarity[2, 3] = similarity[3, 2] = 0.8
    return similarity


def tags_similarity():
    similarity = np.zeros((4, 4))
    similarity[1, 0] = similarity[3, 0] = similarity[3, 1] = 1.0  # neighbour, item
    return similarity


@pytest.mark.parametrize("shrinkage", [0.0, 2.0])
def test_behavior_scores_are_sums_of_similarities(graph, shrinkage):
    scores = fitted(graph, shrinkage=shrinkage).score(ALL)
    np.testing.assert_allclose(scores, SEEN @ scaled(behavior_similarity(shrinkage)), rtol=1e-6)
    assert scores.dtype == torch.float32


def test_only_the_nearest_neighbours_count(graph):
    nearest = np.zeros((4, 4))
    similarity = behavior_similarity(0.0)
    for item in range(3):
        neighbor = similarity[:, item].argmax()
        nearest[neighbor, item] = similarity[neighbor, item]
    scores = fitted(graph, neighbors=1, shrinkage=0.0).score(ALL)
    np.testing.assert_allclose(scores, SEEN @ scaled(nearest), rtol=1e-6)


@pytest.mark.parametrize(
    ("modalities", "expected"),
    [
        (("text",), scaled(text_similarity())),
        (("tags",), scaled(tags_similarity())),
        (None, scaled(scaled(text_similarity()) + scaled(tags_similarity()))),
    ],
)
def test_content_scores_are_sums_of_content_similarities(graph, modalities, expected):
    scores = fitted(graph, content_weight=1.0, modalities=modalities).score(ALL)
    np.testing.assert_allclose(scores, SEEN @ expected, rtol=1e-6)


def test_content_reaches_an_item_that_nobody_has_seen(graph):
    unseen = fitted(graph, content_weight=0.5, modalities=("text",)).score(ALL)[:, 3]
    assert (unseen > 0).tolist() == [False, True, True, False]  # users 1 and 2 have seen item 2, which is similar


def test_a_mix_is_the_weighted_sum(graph):
    mixed = fitted(graph, content_weight=0.3, shrinkage=0.0, modalities=("text",)).score(ALL)
    expected = 0.7 * scaled(behavior_similarity(0.0)) + 0.3 * scaled(text_similarity())
    np.testing.assert_allclose(mixed, SEEN @ expected, rtol=1e-6)


def test_a_user_without_interactions_gets_zeros(graph):
    assert fitted(graph, content_weight=0.5).score(torch.tensor([3])).tolist() == [[0.0] * 4]


def test_users_may_be_given_in_any_order(graph):
    model = fitted(graph)
    users = torch.tensor([2, 0, 2])
    assert torch.equal(model.score(users), model.score(ALL)[users])


def test_fitting_twice_changes_nothing(graph):
    model = fitted(graph, content_weight=0.5)
    first = model.score(ALL)
    model.fit(graph)
    assert torch.equal(model.score(ALL), first)


def test_nothing_is_saved(graph):
    assert fitted(graph).state_dict() == {}


def test_it_works_on_a_graph_without_content(graph):
    bare = graph.node_type_subgraph(["user", "item"])
    assert torch.equal(fitted(bare).score(ALL), fitted(graph).score(ALL))
    with pytest.raises(ValueError, match="expected an item modality for content_weight > 0"):
        fitted(bare, content_weight=0.1)
    with pytest.raises(ValueError, match=r"got \['audio'\]"):
        fitted(graph, content_weight=0.1, modalities=("audio",))


def test_it_must_be_fitted_first(graph):
    with pytest.raises(RuntimeError, match=r"call fit first"):
        ItemKNN(graph, ItemKNNConfig()).score(ALL)


def test_it_has_no_embeddings(graph):
    with pytest.raises(NoEmbeddings, match="ItemKNN"):
        fitted(graph).embed()
