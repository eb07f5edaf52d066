"""What the tests of several models need: a graph, a batch, training steps, and dense forms."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch

from graphrec.models.hetero_lightgcn import HeteroLightGCN
from graphrec.runtime import seed_everything
from graphrec.testing import block_data, make_batch, small_graph
from tests.reference.propagation import dense_matrix, dense_symmetric_norm

DATA = block_data()
GRAPH = small_graph(DATA)
TRAIN = DATA.split.train


def batch(seed=0, **settings):
    return make_batch(TRAIN, torch.Generator().manual_seed(seed), **settings)


def build(cls, graph=GRAPH, seed=0, **settings):
    seed_everything(seed)
    return cls(graph, cls.config_class.parse(settings))


def graph_only(graph=GRAPH, seed=0, **settings):
    """Returns HeteroLightGCN without its linear channel, with edges one way, two layers and all modalities."""
    plain = {"linear": {"weight": 0}, "symmetric": False, "num_layers": 2, "l2": 1e-4, "min_homophily": 0}
    aligned = {"alignment": {"weight": 0.01, "temperature": 0.2}}
    return build(HeteroLightGCN, graph, seed, **plain | aligned | settings)


def steps(model, count=4):
    """Trains by hand and returns the loss of every step."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=0.01)
    losses = []
    for step in range(count):
        model.refresh(step)
        optimizer.zero_grad()
        loss = torch.stack(list(model(batch(step)).values())).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def dense_interactions(graph=GRAPH):
    """Returns the normalised user–item matrix (num_users, num_items), float64."""
    edges = graph["user", "interacts", "item"].edge_index
    sizes = graph["item"].num_nodes, graph["user"].num_nodes
    return dense_symmetric_norm(dense_matrix(edges.flip(0), None, *sizes))


def vectorless_graph(names=("image",), data=DATA):
    """Returns a graph of given neighbours without vectors, in which only warm items take part."""
    warm = np.flatnonzero(data.split.train.item_degree())
    neighbors = {}
    for place, name in enumerate(names):
        rng = np.random.default_rng(place)
        matrix = np.zeros((data.num_items, data.num_items), np.float32)
        for row in warm:
            matrix[row, rng.choice(np.setdiff1d(warm, [row]), 4, replace=False)] = 1.0
        neighbors[name] = sp.csr_array(matrix)
    return small_graph(replace(data, vectors={}, neighbors=neighbors)), neighbors
