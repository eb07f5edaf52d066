import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from graphrec.graph import behavior
from graphrec.models.base import NoEmbeddings
from graphrec.models.ease import EASE, EASEConfig
from graphrec.models.ease_content import (
    L3AE,
    AddEASE,
    AddEASEConfig,
    CollectiveEASE,
    CollectiveEASEConfig,
    L3AEConfig,
    _drawn_to,
)

NUM_USERS, NUM_ITEMS = 20, 9
ALL = torch.arange(NUM_USERS)
TEXT_ITEMS, TAG_ITEMS = [0, 1, 2, 4, 5, 6, 8], [1, 3, 5, 7]  # some items have one modality, some both
MODELS = [
    (CollectiveEASE, CollectiveEASEConfig(regularization=3.0, content_weight=4.0)),
    (AddEASE, AddEASEConfig(regularization=3.0, content_weight=0.4, content_regularization=0.5)),
    (L3AE, L3AEConfig(regularization=3.0, distillation=5.0, content_regularization=0.5)),
]
WITHOUT_CONTENT = [
    (CollectiveEASE, CollectiveEASEConfig(regularization=3.0, content_weight=0.0)),
    (AddEASE, AddEASEConfig(regularization=3.0, content_weight=0.0)),
    (L3AE, L3AEConfig(regularization=3.0, distillation=0.0)),
]


def random_parts(seed=0):
    rng = np.random.default_rng(seed)
    seen = (rng.random((NUM_USERS, NUM_ITEMS)) < 0.3).astype(np.float64)
    seen[4] = 0
    return seen, rng.normal(size=(len(TEXT_ITEMS), 5)), np.array([[0, 1, 3, 2], [1, 2, 0, 2]])


def graph_of(seen, text=None, edges=None, text_items=TEXT_ITEMS, tag_items=TAG_ITEMS):
    graph = HeteroData()
    graph["user"].num_nodes, graph["item"].num_nodes = seen.shape
    graph["user", "interacts", "item"].edge_index = torch.from_numpy(np.stack(seen.nonzero()))
    if text is not None:
        graph["text"].num_nodes, graph["text"].item_id = len(text_items), torch.tensor(text_items)
        graph["text"].x = torch.from_numpy(text)
    if edges is not None:
        graph["tags"].num_nodes, graph["tags"].item_id = len(tag_items), torch.tensor(tag_items)
        graph["tags", "similar", "tags"].edge_index = torch.from_numpy(edges)
    return graph


@pytest.fixture
def graph():
    return graph_of(*random_parts())


def fitted(model_class, config, graph):
    model = model_class(graph, config)
    model.fit(graph)
    return model


def dense_content_gram(weights=(0.5, 0.5)):
    """The weighted inner products of tags (first, in alphabetical order) and text."""
    _, text, edges = random_parts()
    adjacency = np.eye(len(TAG_ITEMS))
    adjacency[edges[0], edges[1]] = adjacency[edges[1], edges[0]] = 1.0
    gram = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for weight, items, rows in zip(weights, (TAG_ITEMS, TEXT_ITEMS), (adjacency, text), strict=True):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        gram[np.ix_(items, items)] += weight * unit @ unit.T
    return gram


def dense_ease(gram, regularization):
    inverse = np.linalg.inv(gram + regularization * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def minimum(objective):
    """Minimises over matrices with zero diagonal by L-BFGS in float64."""
    off_diagonal = 1.0 - torch.eye(NUM_ITEMS, dtype=torch.float64)
    free = torch.zeros(NUM_ITEMS, NUM_ITEMS, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=2000, tolerance_grad=1e-12, tolerance_change=0, history_size=50)

    def closure():
        optimizer.zero_grad()
        loss = objective(free * off_diagonal)
        loss.backward()
        return loss

    optimizer.step(closure)
    return (free * off_diagonal).detach().numpy()


def square(matrix):
    return (matrix**2).sum()


def test_collective_ease_minimises_its_objective(graph):
    seen, content = torch.from_numpy(random_parts()[0]), dense_content_gram()
    root = torch.from_numpy(np.linalg.cholesky(content + 1e-14 * np.eye(NUM_ITEMS)).T)  # any F with F F^T = content
    expected = minimum(lambda b: square(seen - seen @ b) + 4.0 * square(root - root @ b) + 3.0 * square(b))
    np.testing.assert_allclose(fitted(*MODELS[0], graph).weights, expected, atol=1e-5)


def test_add_ease_mixes_two_minima(graph):
    seen, content = random_parts()[0], dense_content_gram()
    expected = 0.6 * dense_ease(seen.T @ seen, 3.0) + 0.4 * dense_ease(content, 0.5)
    np.testing.assert_allclose(fitted(*MODELS[1], graph).weights, expected, atol=1e-5)


def test_l3ae_minimises_its_objective(graph):
    seen = torch.from_numpy(random_parts()[0])
    content = torch.from_numpy(dense_ease(dense_content_gram(), 0.5))
    expected = minimum(lambda b: square(seen - seen @ b) + 3.0 * square(b) + 5.0 * square(b - content))
    np.testing.assert_allclose(fitted(*MODELS[2], graph).weights, expected, atol=1e-5)


@pytest.mark.parametrize("block_size", [1, 4, 9, 512])
def test_the_gradient_of_the_l3ae_lagrangian_is_zero_off_the_diagonal(block_size):
    rng = np.random.default_rng(3)
    seen, target = random_parts()[0], rng.normal(size=(NUM_ITEMS, NUM_ITEMS))  # not symmetric, diagonal not zero
    gram, penalty, gamma = seen.T @ seen, 2.0, 7.0
    inverse = np.linalg.inv(gram + (penalty + gamma) * np.eye(NUM_ITEMS))
    solution = _drawn_to(target.astype(np.float32), inverse, gamma, block_size=block_size).astype(np.float64)
    gradient = gram @ solution - gram + penalty * solution + gamma * (solution - target)
    assert not solution.diagonal().any()
    np.testing.assert_allclose(gradient[~np.eye(NUM_ITEMS, dtype=bool)], 0.0, atol=1e-4)


@pytest.mark.parametrize(("model_class", "config"), WITHOUT_CONTENT)
def test_without_the_content_term_it_is_ease(graph, model_class, config):
    expected = fitted(EASE, EASEConfig(regularization=3.0), graph).weights
    np.testing.assert_allclose(fitted(model_class, config, graph).weights, expected, atol=1e-6)


def test_l3ae_follows_the_content_when_it_must(graph):
    config = L3AEConfig(regularization=3.0, distillation=1e7, content_regularization=0.5)
    expected = dense_ease(dense_content_gram(), 0.5)
    np.testing.assert_allclose(fitted(L3AE, config, graph).weights, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("modalities", "modality_weights", "expected"),
    [(("text",), None, (0.0, 1.0)), (("text", "tags"), (0.2, 0.7), (0.7, 0.2)), (("tags",), (3.0,), (3.0, 0.0))],
)
def test_modalities_are_chosen_and_weighted(graph, modalities, modality_weights, expected):
    config = AddEASEConfig(
        content_weight=1.0, content_regularization=0.5, modalities=modalities, modality_weights=modality_weights
    )
    weights = fitted(AddEASE, config, graph).weights
    np.testing.assert_allclose(weights, dense_ease(dense_content_gram(expected), 0.5), atol=1e-5)


@pytest.mark.parametrize(("model_class", "config"), MODELS)
def test_relabelling_permutes_the_scores(model_class, config):
    seen, text, edges = random_parts()
    rng = np.random.default_rng(1)
    users, items = rng.permutation(NUM_USERS), rng.permutation(NUM_ITEMS)
    place = np.argsort(items)  # the new row of every old item
    relabelled = graph_of(
        seen[users][:, items], text, edges, text_items=place[TEXT_ITEMS].tolist(), tag_items=place[TAG_ITEMS].tolist()
    )
    original = fitted(model_class, config, graph_of(seen, text, edges)).score(ALL)
    np.testing.assert_allclose(fitted(model_class, config, relabelled).score(ALL), original[users][:, items], atol=1e-5)


@pytest.mark.parametrize(("model_class", "config"), MODELS)
def test_the_contract_of_a_closed_form(graph, model_class, config):
    model = fitted(model_class, config, graph)
    scores = model.score(ALL)
    assert scores.shape == (NUM_USERS, NUM_ITEMS)
    assert scores.isfinite().all()
    assert not scores[4].any()  # a user without interactions
    assert not model.weights.diagonal().any()
    assert model.state_dict() == {}
    model.fit(graph)
    assert torch.equal(model.score(ALL), scores)
    with pytest.raises(NoEmbeddings, match=model_class.__name__):
        model.embed()


@pytest.mark.parametrize(("model_class", "config"), MODELS)
def test_content_reaches_an_item_that_nobody_has_seen(model_class, config):
    seen = np.zeros((3, 4))
    seen[:2, 0] = seen[1:, 1] = 1.0
    text = np.array([[1.0, 0.1], [0.1, 1.0], [1.0, 0.0], [0.0, 1.0]])
    graph = graph_of(seen, text, text_items=[0, 1, 2, 3])
    scores = fitted(model_class, config, graph).score(torch.tensor([0, 2]))
    assert scores[0, 2] > scores[0, 3]
    assert scores[1, 3] > scores[1, 2]


@pytest.mark.parametrize(("model_class", "config"), MODELS)
def test_a_graph_without_content_is_refused(model_class, config):
    bare = graph_of(random_parts()[0])
    with pytest.raises(ValueError, match=r"a weight per modality of \[\], at least one"):
        fitted(model_class, config, bare)


def test_bad_settings_are_explained(graph):
    with pytest.raises(ValueError, match=r"a weight per modality of \['tags', 'text'\], at least one, got \(1.0,\)"):
        fitted(L3AE, L3AEConfig(modality_weights=(1.0,)), graph)
    with pytest.raises(ValueError, match=r"got \['audio'\]"):
        fitted(L3AE, L3AEConfig(modalities=("audio",)), graph)


def test_too_little_memory_is_said_before_the_work(graph, monkeypatch):
    monkeypatch.setattr(behavior, "available_memory", lambda: 100)
    with pytest.raises(MemoryError, match="L3AE over 9 rows needs"):
        fitted(*MODELS[2], graph)
