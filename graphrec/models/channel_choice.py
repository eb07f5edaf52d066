"""The settings of the linear channel where none are given: by users held out in training, its weight on validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag
from torch_geometric.data import HeteroData

from graphrec.graph.behavior import gram_matrix, interaction_matrix, most_interacted
from graphrec.graph.build import INTERACTS
from graphrec.graph.neighbors import item_features, item_modalities
from graphrec.runtime import logger

REGULARIZATION = tuple(12.5 * 2**step for step in range(10))  # to 6,400
CONTENT = (0.0, *(1.5625 * 4**step for step in range(6)))  # to 1,600
FIRST_REGULARIZATION, FIRST_OF_LISTS, FIRST_OF_VECTORS = 200.0, 6.25, 100.0
CUTOFF = 20  # of NDCG
MIN_USERS = 50
MARGIN = 0.5  # standard errors by which a step has to be better
TIE = 1e-5  # scores that are closer are one: solutions in fp32 differ by as much
FIRST_WEIGHT = 0.14
WEIGHTS = (0.0, 0.035, 0.05, 0.07, 0.1, FIRST_WEIGHT, 0.2, 0.3, 0.45, 0.7, 1.0, 1.4)
LAMBDA = "lambda"  # beside the names of modalities, in what is climbed
log = logger(__name__)


class HeldOutUsers:
    r"""Judges the settings of collective EASE by how its weights rank for users that they were not fitted on.

    A solution is :math:`\mathbf{P} = (\mathbf{X}^\top\mathbf{X} + \sum_m \alpha_m\mathbf{F}_m\mathbf{F}_m^\top
    + \lambda\mathbf{I})^{-1}`. That without the row :math:`\mathbf{x}` of a user is, by Sherman and Morrison (1950),

    .. math:: \mathbf{P}_{-u} = \mathbf{P} + \frac{\mathbf{p}\mathbf{p}^\top}{1 - \mathbf{x}^\top\mathbf{p}}, \qquad
              \mathbf{p} = \mathbf{P}\mathbf{x}

    so that one solution serves every user, as in the `PRESS <https://doi.org/10.1080/00401706.1974.10489157>`_ of
    ridge regression. Every interaction of a user is hidden once and ranked, from the user's others, among the items
    that the user has not. Validation and test play no part.

    Args:
        graph: The training graph.
        max_items: Only so many items, the most interacted with, take part: the time of a value grows with the cube.
        max_pairs: Users with two interactions of these items or more are held out, in a drawn order, as long as they
            have no more interactions together. Where all have not, the draw and with it the order of rows play no part.
        seed: Draws the users.
    """

    def __init__(self, graph: HeteroData, *, max_items: int = 3_000, max_pairs: int = 20_000, seed: int = 0) -> None:
        seen, draw = interaction_matrix(graph), np.random.default_rng(seed)
        self._graph, self._device = graph, graph[INTERACTS].edge_index.device
        self._items = most_interacted(seen, max_items)
        seen = seen[:, self._items].tocsr()
        counts = np.diff(seen.indptr)
        users = draw.permutation(np.flatnonzero(counts > 1))
        self.users = np.sort(users[np.cumsum(counts[users]) <= max_pairs])
        rows = seen[self.users].tocsr()
        self._seen, self._start = self._tensor(rows.indices).long(), self._tensor(rows.indptr).long()
        self._gram = self._tensor(gram_matrix(seen.T.tocsr())).float()
        self._content: dict[str, Tensor] = {}

    def gains(self, regularization: float, content: Mapping[str, float], *, block_size: int = 64) -> Tensor:
        """Returns NDCG@20 of every held-out user, a mean over the user's hidden interactions ``(num_users,)``.

        Args:
            regularization: The L2 weight lambda.
            content: How much a shared feature counts, by modality.
            block_size: Users ranked at once; the values do not depend on it.

        Returns:
            Float64 on the CPU; zeros where the system cannot be solved in fp32.
        """
        system = self._gram.clone()
        for name, weight in content.items():
            if weight:
                system += weight * self._alike(name)
        system.diagonal().add_(regularization)
        factor, failed = torch.linalg.cholesky_ex(system)
        if failed or not len(self.users):
            return torch.zeros(len(self.users), dtype=torch.float64)
        inverse = torch.cholesky_inverse(factor)
        blocks = torch.arange(len(self.users), device=self._device).split(block_size)
        return torch.cat([self._gains(inverse, inverse.diagonal(), rows) for rows in blocks]).cpu()

    def _gains(self, inverse: Tensor, diagonal: Tensor, rows: Tensor) -> Tensor:
        begin, end = self._start[rows], self._start[rows + 1]
        seen, offsets = self._seen[begin[0] : end[-1]], begin - begin[0]  # a row of each: the hidden item
        owner = torch.arange(len(rows), device=self._device).repeat_interleave(end - begin)
        p = embedding_bag(seen, inverse, offsets, mode="sum")
        own = p[owner, seen]
        rest = 1 - torch.zeros(len(rows), device=self._device).index_add_(0, owner, own)  # 1 - x'p
        rest = rest.clamp_min(torch.finfo(p.dtype).eps)  # positive but for rounding
        left = (1 - rest[owner] - own) / rest[owner]  # p' of the row without the hidden item
        scores = -(p[owner] - inverse[seen] + p[owner] * left[:, None])
        scores /= (diagonal + p * p / rest[:, None])[owner]
        truth = scores.gather(1, seen[:, None])
        better = ~(scores < truth - TIE * truth.abs())  # ties too, and what is not a number
        known = torch.zeros(len(rows), scores.shape[1], dtype=torch.bool, device=self._device)
        known[owner, seen] = True
        rank = (better & ~known[owner]).sum(dim=1).double()
        gain = (rank < CUTOFF) / torch.log2(rank + 2)
        total = torch.zeros(len(rows), dtype=gain.dtype, device=self._device).index_add_(0, owner, gain)
        return total / (end - begin)

    def _alike(self, name: str) -> Tensor:
        if name not in self._content:
            features = item_features(self._graph, name, imputed=False)[self._items]
            rows = features if isinstance(features, np.ndarray) else features.tocsr()
            self._content[name] = self._tensor(gram_matrix(rows)).float()
        return self._content[name]

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._device)


def choose_channel(
    graph: HeteroData,
    *,
    regularization: float | None = None,
    content: Mapping[str, float] | None = None,
    max_items: int = 3_000,
) -> tuple[float, dict[str, float]]:
    """Returns lambda and the weight of each modality of the graph, what is not given chosen by :class:`HeldOutUsers`.

    One setting after the other goes up or down a ladder (factors of 2 for lambda and 4 for content) as long as the mean
    over users grows by half a standard error of its difference, until no step of any of them helps; mostly 10 to 20
    solutions. With fewer than 50 users of two interactions the starts are kept: 200, and 6.25 for a modality of lists,
    100 for one of vectors.

    Args:
        graph: The training graph.
        regularization: Lambda, where it is given.
        content: The weights, where they are given.
        max_items: See :class:`HeldOutUsers`.
    """
    ladders: dict[str, tuple[float, ...]] = {}
    place: dict[str, int] = {}
    if regularization is None:
        ladders[LAMBDA], place[LAMBDA] = REGULARIZATION, REGULARIZATION.index(FIRST_REGULARIZATION)
    for name in item_modalities(graph) if content is None else ():
        first = FIRST_OF_VECTORS if "x" in graph[name] else FIRST_OF_LISTS
        ladders[name], place[name] = CONTENT, CONTENT.index(first)

    def settings(at: Mapping[str, int]) -> tuple[float, dict[str, float]]:
        chosen = {name: ladders[name][step] for name, step in at.items()}
        strength = chosen.pop(LAMBDA) if regularization is None else regularization
        return strength, dict(chosen if content is None else content)

    if not ladders:
        return settings(place)
    users = HeldOutUsers(graph, max_items=max_items)
    found = "too few users to hold out, these are the starts"
    if len(users.users) >= MIN_USERS:
        found = f"by {len(users.users)} held-out users"
        sizes = {name: len(ladder) for name, ladder in ladders.items()}
        place = climb(lambda at: users.gains(*settings(at)), place, sizes)
        for name, step in place.items():
            if step == sizes[name] - 1:
                log.info("%s of the linear channel is at the end of its ladder (%g)", name, ladders[name][step])
    log.info("linear channel: lambda %g, content %s; %s", *settings(place), found)
    return settings(place)


def choose_weight(values: Callable[[float], Tensor]) -> float:
    """Returns the weight of the channel that is best on validation; .14 unless it is better by half a standard error.

    Args:
        values: The metric of every validation user ``(num_users,)`` at a weight.
    """
    found = {weight: values(weight) for weight in WEIGHTS}
    best = max(WEIGHTS, key=lambda weight: float(found[weight].mean()))
    return best if is_better(found[best], found[FIRST_WEIGHT]) else FIRST_WEIGHT


def is_better(values: Tensor, than: Tensor) -> bool:
    """Returns whether the mean over users is larger by :data:`MARGIN` standard errors of the paired difference."""
    difference = values - than
    return bool(difference.mean() > MARGIN * difference.std() / len(difference) ** 0.5)


def climb(
    gains: Callable[[Mapping[str, int]], Tensor], start: Mapping[str, int], sizes: Mapping[str, int]
) -> dict[str, int]:
    """Returns where no single step up or down is better by :data:`MARGIN` standard errors of the paired difference.

    Args:
        gains: One value per user at a place; asked for once per place.
        start: The first place, a step per ladder.
        sizes: The steps of every ladder.
    """
    known: dict[tuple[int, ...], Tensor] = {}

    def of(at: Mapping[str, int]) -> Tensor:
        key = tuple(at.values())
        if key not in known:
            known[key] = gains(at)
        return known[key]

    def better(at: Mapping[str, int], than: Mapping[str, int]) -> bool:
        return is_better(of(at), of(than))

    best, moved = dict(start), True
    while moved:
        moved = False
        for name in best:
            for step in (1, -1):
                while 0 <= best[name] + step < sizes[name] and better(best | {name: best[name] + step}, best):
                    best[name], moved = best[name] + step, True
    return best
