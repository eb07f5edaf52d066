"""A linear item–item channel: collective EASE and a graph filter, solved once, whose scores join those of the graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphrec.config import Config, ConfigError, Search, unknown_name
from graphrec.graph.behavior import (
    add_gram,
    check_memory,
    ease_weights,
    filter_weights,
    gram_matrix,
    interaction_matrix,
    most_interacted,
)
from graphrec.graph.build import INTERACTS
from graphrec.graph.neighbors import item_features, item_modalities
from graphrec.models.base import InnerProduct, Part
from graphrec.models.channel_choice import FIRST_WEIGHT, choose_channel, choose_weight
from graphrec.nn.linear import ItemToItem
from graphrec.runtime import logger

log = logger(__name__)
ADVICE = "lower linear.max_items, or leave the channel out by linear.weight: 0"


class LinearConfig(Config):
    """Settings of the channel; ``regularization`` and ``content`` are chosen on training data where not given."""

    weight: Annotated[float | None, Field(ge=0)] = None
    """What one standard deviation of the scores of collective EASE counts in the whole score; 0 for no channel. By
    default chosen on validation once the graph is trained, from 0 to 1.4, and .14 until then. By hand .10 was best
    on Amazon-Baby (with a filter of .5), .18 on LFm2k (.3) and .14 on TikTok (none); ML-100K wants 1. The tuner has no
    range for it, since every trial chooses it anyway."""
    filter: Annotated[float, Field(ge=0), Search(0.05, 1.0, log=True)] = 0.4
    """What one standard deviation of the scores of GF-CF's linear filter counts beside one of collective EASE."""
    regularization: Annotated[float | None, Field(gt=0)] = None
    """The L2 weight lambda of EASE. By default the one that ranks best for users held out in closed form
    (:func:`~graphrec.models.channel_choice.choose_channel`)."""
    max_items: Annotated[int, Field(ge=2)] = 25_000
    """The channel knows so many items at most, those with the most interactions; the others are scored by the graph
    alone. The time of the solution grows with the cube (25,000: ten minutes of one core), its memory with the square
    (11 GiB)."""
    content: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """How much a shared feature of a modality counts, in shared users, and 0 for modalities left out. By default
    chosen like ``regularization``."""


@dataclass(frozen=True)
class Sum:
    """Scores of the graph plus those of the linear channel."""

    graph: InnerProduct
    linear: Part

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``."""
        return self.graph.score(users) + self.linear.score(users)


@dataclass(frozen=True)
class Solution:
    """What a graph's channel was solved with, and the weights of collective EASE in their spread."""

    asked: tuple[object, ...]
    regularization: float
    content: dict[str, float]
    items: NDArray[np.int64] | None
    """The items that take part; None for all."""
    weights: Tensor


KEPT: dict[int, Solution] = {}  # by graph


class LinearChannel(nn.Module):
    r"""Collective EASE and a graph filter as a channel of fixed weights between items.

    .. math:: \ell_{ui} = w\sum_{j\in N(u)}\Bigl(\frac{B_{ji}}{\sigma_B} + \frac{v G_{ji}}{\sigma_G}\Bigr), \qquad
        \mathbf{B} = \mathbf{I} - \mathbf{P}\,\mathrm{diag}(\mathbf{P})^{-1}, \;
        \mathbf{P} = (\mathbf{X}^\top\mathbf{X} + \textstyle\sum_m \alpha_m\mathbf{F}_m\mathbf{F}_m^\top
        + \lambda\mathbf{I})^{-1}

    from `EASE <https://arxiv.org/abs/1905.03375>`_ and its form with `side information
    <https://doi.org/10.1145/3383313.3418480>`_; :math:`\mathbf{G}` is the linear filter of `GF-CF
    <https://arxiv.org/abs/2108.07567>`_, and :math:`\sigma` the standard deviation of the scores of the median user.
    Over all users it would be that of the few most active ones (on TikTok eight times as large). There are two
    dense item–item matrices in fp32, one of them shared by all models of the graph.

    Args:
        graph: The training graph; it must not be changed in place while models of it are made.
        config: The settings.

    Attributes:
        weight: The weight that was given or chosen; :data:`~graphrec.models.channel_choice.FIRST_WEIGHT` until then.
        regularization: The lambda that was given or chosen.
        content: The weight of every modality that takes part, given or chosen.

    Raises:
        ConfigError: If ``content`` names a modality that the graph has not.
        MemoryError: If the dense solution does not fit, before any work is done.
    """

    def __init__(self, graph: HeteroData, config: LinearConfig) -> None:
        super().__init__()
        solution = _solved(graph, config)
        self.weight, self.has_open_weight = config.weight or FIRST_WEIGHT, config.weight is None
        self.regularization, self.content = solution.regularization, solution.content
        weights = solution.weights
        if config.filter:
            filtered = _in_spread(graph, filter_weights(_seen(graph, solution.items)), solution.items)
            weights = filtered.mul_(config.filter).add_(weights)
        self.scores = _scores(graph, weights, solution.items)

    def settle(self, validate: Callable[[], Tensor]) -> bool:
        """Chooses the weight on validation, where none was given.

        Args:
            validate: Returns the metric of every validation user ``(num_users,)`` with the weight as it is then.

        Returns:
            Whether it is another than before.
        """
        before = self.weight
        if not self.has_open_weight:
            return False

        def at(weight: float) -> Tensor:
            self.weight = weight
            return validate()

        self.weight = choose_weight(at)
        log.info("linear channel: weight %g, on validation", self.weight)
        return self.weight != before

    def resolved(self) -> dict[str, Any]:
        """Returns weight, lambda and content weights, given or chosen, as options."""
        return {"weight": self.weight, "regularization": self.regularization, "content": dict(self.content)}

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``."""
        return self.scores.score(users).mul_(self.weight)


def linear_channel(graph: HeteroData, config: LinearConfig) -> LinearChannel | None:
    """Returns the channel, or None where its weight is zero."""
    return None if config.weight == 0 else LinearChannel(graph, config)


def _solved(graph: HeteroData, config: LinearConfig) -> Solution:
    """Returns the solution; that of a graph is kept as long as it is, for the next seed."""
    given = config.content
    content = None if given is None else tuple(sorted((name, weight) for name, weight in given.items() if weight))
    edges = graph[INTERACTS].edge_index.cpu().contiguous().numpy().tobytes()
    asked = (config.regularization, content, config.max_items, item_modalities(graph), hash(edges))
    kept = KEPT.get(id(graph))
    if kept is not None and kept.asked == asked:
        return kept
    size = min(int(graph["item"].num_nodes), config.max_items)
    check_memory(size, bytes_per_entry=18, name="The linear channel (linear.weight > 0)", advice=ADVICE)
    items = _items(graph, config.max_items)
    regularization, weights = _settings(graph, config)
    gram = gram_matrix(_seen(graph, items).T.tocsr())
    for name, weight in weights.items():
        features = item_features(graph, name, imputed=False)
        add_gram(gram, features if items is None else features[items], weight)
    if kept is None:
        weakref.finalize(graph, KEPT.pop, id(graph), None)
    solved = _in_spread(graph, ease_weights(gram, regularization), items)
    KEPT[id(graph)] = Solution(asked, regularization, weights, items, solved)
    return KEPT[id(graph)]


def _items(graph: HeteroData, max_items: int) -> NDArray[np.int64] | None:
    """Returns the items that take part; None for all."""
    count = int(graph["item"].num_nodes)
    if count <= max_items:
        return None
    log.info("linear channel: of %d items the %d most interacted with (linear.max_items)", count, max_items)
    return most_interacted(interaction_matrix(graph), max_items)


def _seen(graph: HeteroData, items: NDArray[np.int64] | None) -> sp.csr_array:
    """Returns the interactions with the items that take part ``(num_users, len(items))``."""
    matrix = interaction_matrix(graph)
    return matrix if items is None else matrix[:, items]


def _scores(graph: HeteroData, weights: Tensor, items: NDArray[np.int64] | None) -> ItemToItem:
    edge_index = graph[INTERACTS].edge_index
    rows = None if items is None else torch.from_numpy(items).to(edge_index.device)
    size = {"num_users": int(graph["user"].num_nodes), "num_items": int(graph["item"].num_nodes)}
    return ItemToItem(edge_index, weights.to(edge_index.device), items=rows, **size)


def _in_spread(graph: HeteroData, weights: NDArray[np.float32], items: NDArray[np.int64] | None) -> Tensor:
    """Divides the weights, in place, by the standard deviation that they give the scores of the median user."""
    solved = torch.from_numpy(weights)
    spread = _scores(graph, solved, items).spread()
    return solved.mul_(1 / spread if spread > 0 else 0.0)


def _settings(graph: HeteroData, config: LinearConfig) -> tuple[float, dict[str, float]]:
    """Returns lambda and the weights of the modalities that take part."""
    modalities = item_modalities(graph)
    for name in config.content or ():
        if name not in modalities:
            raise ConfigError(unknown_name(name, modalities, kind="modality"))
    regularization, content = choose_channel(graph, regularization=config.regularization, content=config.content)
    return regularization, {name: weight for name, weight in content.items() if weight}
