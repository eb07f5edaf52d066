"""A linear item–item channel beside a graph: collective EASE, solved once, whose scores the trained part adds to."""

from __future__ import annotations

import weakref
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphrec.config import Config, ConfigError, Search, unknown_name
from graphrec.graph.behavior import add_gram, check_memory, ease_solution, gram_matrix, interaction_matrix
from graphrec.graph.build import INTERACTS
from graphrec.graph.neighbors import item_features, item_modalities
from graphrec.models.base import Batch
from graphrec.nn.linear import ItemToItem

Solution = tuple[Tensor, Tensor]  # weights (num_items, num_items), diagonal of P (num_items,)
PAIRS = 2**16  # interactions scored at once
BLOCK = 2**18  # scores of a batch solved for at once on the CPU
KEPT: dict[
    int, tuple[tuple[object, ...], Solution]
] = {}  # by graph: what its weights were solved with, and the weights
CONTENT_WEIGHT = 10.0  # of all modalities together


class LinearConfig(Config):
    """Settings of the channel."""

    weight: Annotated[float, Field(ge=0), Search(0.03, 1.0, log=True)] = 0.1
    """What one standard deviation of the channel's scores counts in the whole score; 0 for no channel."""
    regularization: Annotated[float, Field(gt=0), Search(1, 3000, log=True)] = 300.0
    """The L2 weight lambda of EASE."""
    content: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """How much a shared feature of a modality counts, in shared users; 10 for all modalities together by default,
    shared out equally, and 0 for modalities left out."""


class LinearChannel(nn.Module):
    r"""Collective EASE as a fixed channel: what it says of a user whom it was not fitted to.

    .. math:: c_{ui} = \sum_{j\in N(u)} B_{ji}, \qquad
        \mathbf{B} = \mathbf{I} - \mathbf{P}\,\mathrm{diag}(\mathbf{P})^{-1}, \;
        \mathbf{P} = (\mathbf{X}^\top\mathbf{X} + \textstyle\sum_m \alpha_m\mathbf{F}_m\mathbf{F}_m^\top
        + \lambda\mathbf{I})^{-1}

    from `EASE <https://arxiv.org/abs/1905.03375>`_ and its form with `side information
    <https://doi.org/10.1145/3383313.3418480>`_. These weights know the user's own row, so that they reproduce training
    pairs better than others, and a model trained on top of them would have little left to learn. By the formula of
    Sherman and Morrison the weights without that row give, with :math:`h_u = \mathbf{x}_u^\top\mathbf{P}\mathbf{x}_u`
    and :math:`r_{ui} = x_{ui} - c_{ui}`,

    .. math:: \ell_{ui} = \frac{w}{\sigma}
        \left(x_{ui} - \frac{r_{ui}}{1 - h_u + P_{ii}\,r_{ui}^2}\right)

    with :math:`\sigma` the standard deviation of :math:`c` over all users and items. The diagonal of
    :math:`\mathbf{B}` is zero: the score of a training pair knows neither of it nor of the user's other pairs. There is
    one dense item–item matrix in fp32, and while it is solved one more in float64.

    Args:
        graph: The training graph; it must not be changed in place while models of it are made.
        config: The settings.

    Raises:
        ConfigError: If ``content`` names a modality that the graph has not.
        MemoryError: If the dense solution does not fit, before any work is done.
    """

    own: Tensor
    rest: Tensor

    def __init__(self, graph: HeteroData, config: LinearConfig) -> None:
        super().__init__()
        edge_index, num_users = graph[INTERACTS].edge_index, int(graph["user"].num_nodes)
        weights, own = _solved(graph, config.regularization, _content(config, item_modalities(graph)))
        self.scores = ItemToItem(edge_index, weights.to(edge_index.device), num_users)
        self.register_buffer("own", own.to(edge_index.device), persistent=False)  # the diagonal of P
        self.register_buffer("rest", self._rest(edge_index.unique(dim=1), num_users), persistent=False)  # 1 - h
        deviation = self.scores.deviation()
        self.scale = config.weight / deviation if deviation > 0 else 0.0

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``."""
        plain, (row, item) = self.scores.score(users), self.scores.interactions(users)
        seen = plain[row, item]
        found = self._unseen(plain, self.rest[users].unsqueeze(1), self.own)
        found[row, item] = self._seen(seen, self.rest[users[row]], self.own[item])
        return found

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns the scores of the positives ``(B,)`` and of the negatives ``(B, K)``, as if none were a positive."""
        users, rest, own = batch.user, self.rest[batch.user].unsqueeze(1), self.own[batch.negative]
        positive = self._seen(self.scores.pairs(users, batch.positive), rest.squeeze(1), self.own[batch.positive])
        if batch.negative.dim() == 2:
            pairs = users.repeat_interleave(batch.negative.size(1)), batch.negative.flatten()
            return positive, self._unseen(self.scores.pairs(*pairs).view_as(own), rest, own)
        columns = self.scores.weights.index_select(1, batch.negative)
        negative = columns.new_empty(len(users), len(own))
        step = max(BLOCK // len(own), 1) if users.is_cpu else len(users)  # on the CPU as much as its cache takes
        for part, some, left in zip(negative.split(step), users.split(step), rest.split(step), strict=True):
            part.copy_(self._unseen(self.scores.score(some, columns), left, own))
        return positive, negative

    def _seen(self, plain: Tensor, rest: Tensor, own: Tensor) -> Tensor:
        """Returns the scores, by weights without the user, of items that the user has, for the scores with them."""
        return self.scale - self._unseen(1 - plain, rest, own)

    def _unseen(self, plain: Tensor, rest: Tensor, own: Tensor) -> Tensor:
        """Returns those of items that the user does not have, in the place of ``plain``."""
        if not self.scale:
            return plain.zero_()
        divisor = torch.addcmul(rest / self.scale, own / self.scale, plain.square())
        return plain.div_(divisor)

    def _rest(self, edge_index: Tensor, num_users: int) -> Tensor:
        """Returns what is left of 1 when a user's leverage is taken off ``(num_users,)``, positive."""
        user, item = edge_index
        parts = zip(user.split(PAIRS), item.split(PAIRS), strict=True)
        residual = 1 - torch.cat([self.scores.pairs(users, items) for users, items in parts])
        leverage = torch.zeros(num_users, device=user.device).index_add_(0, user, self.own[item] * residual)
        return (1 - leverage).clamp(min=1e-6)


def linear_channel(graph: HeteroData, config: LinearConfig) -> LinearChannel | None:
    """Returns the channel, or None where its weight is zero."""
    return LinearChannel(graph, config) if config.weight else None


def _solved(graph: HeteroData, regularization: float, content: dict[str, float]) -> Solution:
    """Returns weights and the diagonal of P; those of a graph are kept as long as it is, for the next seed."""
    key = (regularization, *sorted(content.items()), int(graph[INTERACTS].edge_index.sum()))
    if KEPT.get(id(graph), (None,))[0] != key:
        check_memory(int(graph["item"].num_nodes), bytes_per_entry=18, name="The linear channel (linear.weight > 0)")
        gram = gram_matrix(interaction_matrix(graph).T.tocsr())
        for name, weight in content.items():
            add_gram(gram, item_features(graph, name, imputed=False), weight)
        if id(graph) not in KEPT:
            weakref.finalize(graph, KEPT.pop, id(graph), None)
        weights, diagonal = ease_solution(gram, regularization)
        KEPT[id(graph)] = key, (torch.from_numpy(weights), torch.from_numpy(diagonal).float())
    return KEPT[id(graph)][1]


def _content(config: LinearConfig, modalities: tuple[str, ...]) -> dict[str, float]:
    if config.content is None:
        return {name: CONTENT_WEIGHT / len(modalities) for name in modalities}
    for name in config.content:
        if name not in modalities:
            raise ConfigError(unknown_name(name, modalities, kind="modality"))
    return {name: weight for name, weight in config.content.items() if weight}
