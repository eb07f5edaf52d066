"""A linear item–item channel beside a graph: collective EASE, solved once, whose scores join those of the graph."""

from __future__ import annotations

import weakref
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphrec.config import Config, ConfigError, Search, unknown_name
from graphrec.graph.behavior import add_gram, check_memory, ease_weights, gram_matrix, interaction_matrix
from graphrec.graph.build import INTERACTS
from graphrec.graph.neighbors import item_features, item_modalities
from graphrec.nn.linear import ItemToItem

KEPT: dict[int, tuple[tuple[object, ...], Tensor]] = {}  # by graph: what its weights were solved with, and the weights
CONTENT_WEIGHT = 10.0  # of all modalities together


class LinearConfig(Config):
    """Settings of the channel."""

    weight: Annotated[float, Field(ge=0), Search(0.03, 0.6, log=True)] = 0.14
    """What one standard deviation of the channel's scores counts in the whole score; 0 for no channel. By hand .10 was
    best on validation of Amazon-Baby, .18 on LFm2k and .14 on TikTok."""
    regularization: Annotated[float, Field(gt=0), Search(1, 3000, log=True)] = 300.0
    """The L2 weight lambda of EASE."""
    content: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """How much a shared feature of a modality counts, in shared users; 10 for all modalities together by default,
    shared out equally, and 0 for modalities left out."""


class LinearChannel(nn.Module):
    r"""Collective EASE as a channel of fixed weights between items.

    .. math:: \ell_{ui} = \frac{w}{\sigma}\sum_{j\in N(u)} B_{ji}, \qquad
        \mathbf{B} = \mathbf{I} - \mathbf{P}\,\mathrm{diag}(\mathbf{P})^{-1}, \;
        \mathbf{P} = (\mathbf{X}^\top\mathbf{X} + \textstyle\sum_m \alpha_m\mathbf{F}_m\mathbf{F}_m^\top
        + \lambda\mathbf{I})^{-1}

    from `EASE <https://arxiv.org/abs/1905.03375>`_ and its form with `side information
    <https://doi.org/10.1145/3383313.3418480>`_, with :math:`\sigma` the standard deviation of the scores of the median
    user; over all users it would be that of the few most active ones (on TikTok eight times as large). There is one
    dense item–item matrix in fp32, and while it is solved one more in float64.

    Args:
        graph: The training graph; it must not be changed in place while models of it are made.
        config: The settings.

    Raises:
        ConfigError: If ``content`` names a modality that the graph has not.
        MemoryError: If the dense solution does not fit, before any work is done.
    """

    def __init__(self, graph: HeteroData, config: LinearConfig) -> None:
        super().__init__()
        edge_index, num_users = graph[INTERACTS].edge_index, int(graph["user"].num_nodes)
        weights = _solved(graph, config.regularization, _content(config, item_modalities(graph)))
        self.scores = ItemToItem(edge_index, weights.to(edge_index.device), num_users)
        spread = self.scores.spread()
        self.scale = config.weight / spread if spread > 0 else 0.0

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``."""
        return self.scores.score(users).mul_(self.scale)


def linear_channel(graph: HeteroData, config: LinearConfig) -> LinearChannel | None:
    """Returns the channel, or None where its weight is zero."""
    return LinearChannel(graph, config) if config.weight else None


def _solved(graph: HeteroData, regularization: float, content: dict[str, float]) -> Tensor:
    """Returns the weights ``(num_items, num_items)``; those of a graph are kept as long as it is, for the next seed."""
    key = (regularization, *sorted(content.items()), int(graph[INTERACTS].edge_index.sum()))
    if KEPT.get(id(graph), (None,))[0] != key:
        check_memory(int(graph["item"].num_nodes), bytes_per_entry=18, name="The linear channel (linear.weight > 0)")
        gram = gram_matrix(interaction_matrix(graph).T.tocsr())
        for name, weight in content.items():
            add_gram(gram, item_features(graph, name, imputed=False), weight)
        if id(graph) not in KEPT:
            weakref.finalize(graph, KEPT.pop, id(graph), None)
        KEPT[id(graph)] = key, torch.from_numpy(ease_weights(gram, regularization))
    return KEPT[id(graph)][1]


def _content(config: LinearConfig, modalities: tuple[str, ...]) -> dict[str, float]:
    if config.content is None:
        return {name: CONTENT_WEIGHT / len(modalities) for name in modalities}
    for name in config.content:
        if name not in modalities:
            raise ConfigError(unknown_name(name, modalities, kind="modality"))
    return {name: weight for name, weight in config.content.items() if weight}
