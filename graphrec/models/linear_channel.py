"""A linear item–item channel beside a graph: collective EASE, solved once, whose scores the trained part adds to."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphrec.config import Config, ConfigError, Search, unknown_name
from graphrec.graph.behavior import add_gram, check_memory, ease_weights, gram_matrix, interaction_matrix
from graphrec.graph.build import INTERACTS
from graphrec.graph.neighbors import item_features, item_modalities
from graphrec.models.base import Batch
from graphrec.nn.linear import ItemToItem

CONTENT_WEIGHT = 10.0  # of all modalities together


class LinearConfig(Config):
    """Settings of the channel."""

    weight: Annotated[float, Field(ge=0), Search(0.03, 1.0, log=True)] = 0.15
    """What one standard deviation of the channel's scores counts in the whole score; 0 for no channel."""
    regularization: Annotated[float, Field(gt=0), Search(1, 3000, log=True)] = 300.0
    """The L2 weight lambda of EASE."""
    content: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """How much a shared feature of a modality counts, in shared users; 10 for all modalities together by default,
    shared out equally, and 0 for modalities left out."""


class LinearChannel(nn.Module):
    r"""Collective EASE as a fixed channel, in units of its standard deviation.

    .. math:: \ell_{ui} = \frac{w}{\sigma}\sum_{j\in N(u)} B_{ji}, \qquad
        \mathbf{B} = \mathbf{I} - \mathbf{P}\,\mathrm{diag}(\mathbf{P})^{-1}, \;
        \mathbf{P} = (\mathbf{X}^\top\mathbf{X} + \textstyle\sum_m \alpha_m\mathbf{F}_m\mathbf{F}_m^\top
        + \lambda\mathbf{I})^{-1}

    from `EASE <https://arxiv.org/abs/1905.03375>`_ and its form with `side information
    <https://doi.org/10.1145/3383313.3418480>`_, with :math:`\sigma` the standard deviation of the scores over all
    users and items. The diagonal of :math:`\mathbf{B}` is zero: the score of a training pair does not know of it.
    It has one dense item–item matrix in fp32, and while it is solved one more in float64.

    Args:
        graph: The training graph.
        config: The settings.
        modalities: The modalities that may take part.

    Raises:
        ConfigError: If ``content`` names another modality.
        MemoryError: If the dense solution does not fit, before any work is done.
    """

    def __init__(self, graph: HeteroData, config: LinearConfig, modalities: tuple[str, ...]) -> None:
        super().__init__()
        size = int(graph["item"].num_nodes)
        check_memory(size, bytes_per_entry=18, name="The linear channel (linear.weight > 0)")
        gram = gram_matrix(interaction_matrix(graph).T.tocsr())
        for name, weight in _content(config, modalities).items():
            add_gram(gram, item_features(graph, name, imputed=False), weight)
        edge_index = graph[INTERACTS].edge_index
        weights = torch.from_numpy(ease_weights(gram, config.regularization)).to(edge_index.device)
        self.scores = ItemToItem(edge_index, weights, int(graph["user"].num_nodes))
        deviation = self.scores.deviation()
        self.scale = config.weight / deviation if deviation > 0 else 0.0

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``."""
        return self.scale * self.scores.score(users)

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns the scores of the positives ``(B,)`` and of the negatives ``(B, K)``."""
        positive = self.scores.pairs(batch.user, batch.positive)
        if batch.negative.dim() == 1:
            return self.scale * positive, self.scale * self.scores.shared(batch.user, batch.negative)
        users = batch.user.repeat_interleave(batch.negative.size(1))
        negative = self.scores.pairs(users, batch.negative.flatten()).view_as(batch.negative)
        return self.scale * positive, self.scale * negative


def linear_channel(graph: HeteroData, config: LinearConfig, relations: tuple[str, ...]) -> LinearChannel | None:
    """Returns the channel with the modalities among the relations, or None where its weight is zero."""
    modalities = tuple(name for name in relations if name in item_modalities(graph))
    return LinearChannel(graph, config, modalities) if config.weight else None


def _content(config: LinearConfig, modalities: tuple[str, ...]) -> dict[str, float]:
    if config.content is None:
        return {name: CONTENT_WEIGHT / len(modalities) for name in modalities}
    for name in config.content:
        if name not in modalities:
            raise ConfigError(unknown_name(name, modalities, kind="modality"))
    return {name: weight for name, weight in config.content.items() if weight}
