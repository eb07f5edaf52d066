"""The settings of the linear channel where none are given: chosen on the training data, by users held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag
from torch_geometric.data import HeteroData

from graphrec.graph.behavior import gram_matrix, interaction_matrix
from graphrec.graph.build import INTERACTS
from graphrec.graph.neighbors import item_features

REGULARIZATION = tuple(12.5 * 2**step for step in range(10))  # to 6,400
CONTENT = (0.0, *(1.5625 * 4**step for step in range(6)))  # to 1,600
START = {"regularization": 200.0, "lists": 6.25, "vectors": 100.0}
K = 20


class HeldOutUsers:
    r"""Judges the settings of collective EASE by how its weights rank for users that they were not fitted on.

    A solution is :math:`\mathbf{P} = (\mathbf{X}^\top\mathbf{X} + \sum_m \alpha_m\mathbf{F}_m\mathbf{F}_m^\top
    + \lambda\mathbf{I})^{-1}`. That without the row :math:`\mathbf{x}` of a user is, by Sherman and Morrison (1950),

    .. math:: \mathbf{P}_{-u} = \mathbf{P} + \frac{\mathbf{p}\mathbf{p}^\top}{1 - \mathbf{x}^\top\mathbf{p}}, \qquad
              \mathbf{p} = \mathbf{P}\mathbf{x}

    so that one solution serves every user, as in the `PRESS <https://doi.org/10.1080/00401706.1974.10489157>`_ of
    ridge regression. One interaction of each user is hidden and ranked, from the user's others, among all items that
    the user has not; the value is NDCG@20. Validation and test play no part.

    Args:
        graph: The training graph.
        max_items: Only so many items, the most interacted with, take part: the time of a value grows with the cube.
        max_users: At most so many users, drawn from those with two interactions of these items or more.
        seed: Draws users and interactions.
    """

    def __init__(self, graph: HeteroData, *, max_items: int = 3_000, max_users: int = 4_000, seed: int = 0) -> None:
        seen, draw = interaction_matrix(graph), np.random.default_rng(seed)
        popular = np.argsort(-np.bincount(seen.indices, minlength=seen.shape[1]), kind="stable")
        self._graph, self._items, self._device = graph, np.sort(popular[:max_items]), graph[INTERACTS].edge_index.device
        seen = seen[:, self._items].tocsr()
        users = draw.permutation(np.flatnonzero(np.diff(seen.indptr) > 1))[:max_users]
        rows = seen[users].tocsr()
        hidden = rows.indptr[:-1] + draw.integers(np.diff(rows.indptr))
        self._seen, self._start = self._tensor(rows.indices).long(), self._tensor(rows.indptr).long()
        self._hidden = self._tensor(rows.indices[hidden]).long()
        self._gram = self._tensor(gram_matrix(seen.T.tocsr())).float()
        self._content: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Returns how many users are held out."""
        return len(self._hidden)

    def value(self, regularization: float, content: Mapping[str, float], *, block_size: int = 512) -> float:
        """Returns NDCG@20 over the held-out users; minus infinity where the system cannot be solved in fp32.

        Args:
            regularization: The L2 weight lambda.
            content: How much a shared feature counts, by modality.
            block_size: Users ranked at once; the value does not depend on it.
        """
        system = self._gram.clone()
        for name, weight in content.items():
            if weight:
                system += weight * self._alike(name)
        system.diagonal().add_(regularization)
        factor, failed = torch.linalg.cholesky_ex(system)
        if failed:
            return float("-inf")
        inverse = torch.cholesky_inverse(factor)
        blocks = torch.arange(len(self), device=self._device).split(block_size)
        gains = [self._gains(inverse, inverse.diagonal(), rows) for rows in blocks]
        return float(torch.cat(gains).mean()) if gains else 0.0

    def _gains(self, inverse: Tensor, diagonal: Tensor, rows: Tensor) -> Tensor:
        begin, end = self._start[rows], self._start[rows + 1]
        seen, offsets, hidden = self._seen[begin[0] : end[-1]], begin - begin[0], self._hidden[rows]
        user = torch.arange(len(rows), device=self._device)
        owner = user.repeat_interleave(end - begin)
        p = embedding_bag(seen, inverse, offsets, mode="sum")
        own = torch.zeros(len(rows), device=self._device).index_add_(0, owner, p[owner, seen])  # x'p
        rest = (1 - own).clamp_min(torch.finfo(own.dtype).eps)  # positive but for rounding
        left = (own - p[user, hidden]) / rest  # of the row without the hidden item
        scores = -(p - inverse[hidden] + p * left[:, None]) / (diagonal + p * p / rest[:, None])
        truth = scores[user, hidden].clone()
        scores[owner, seen] = -torch.inf
        rank = (scores >= truth[:, None]).sum(dim=1).double()
        return (rank < K) / torch.log2(rank + 2)

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
    modalities: tuple[str, ...],
    *,
    regularization: float | None = None,
    content: Mapping[str, float] | None = None,
    max_items: int = 3_000,
) -> tuple[float, dict[str, float]]:
    """Returns lambda and the weight of each modality, what is not given chosen by :class:`HeldOutUsers`.

    One setting after the other goes up or down a ladder (factors of 2 for lambda and 4 for content) as long as the
    value grows, until no step of any of them helps: 10 to 20 values. With no user of two interactions there is nothing
    to choose by, and the starts are returned: 200, and 6.25 for a modality of lists, 100 for one of vectors.

    Args:
        graph: The training graph.
        modalities: Those that may take part.
        regularization: Lambda, where it is given.
        content: The weights, where they are given.
        max_items: See :class:`HeldOutUsers`.
    """
    ladders, place = {}, {}
    if regularization is None:
        ladders[""], place[""] = REGULARIZATION, REGULARIZATION.index(START["regularization"])
    if content is None:
        for name in modalities:
            ladders[name] = CONTENT
            place[name] = CONTENT.index(START["vectors" if "x" in graph[name] else "lists"])

    def settings(at: Mapping[str, int]) -> tuple[float, dict[str, float]]:
        chosen = {name: ladders[name][step] for name, step in at.items()}
        lam = chosen.pop("", 0.0) if regularization is None else regularization
        return lam, dict(chosen if content is None else content)

    if not ladders:
        return settings({})
    users, sizes = HeldOutUsers(graph, max_items=max_items), {name: len(ladder) for name, ladder in ladders.items()}
    return settings(_climb(lambda at: users.value(*settings(at)), place, sizes) if len(users) else place)


def _climb(
    value: Callable[[Mapping[str, int]], float], start: Mapping[str, int], sizes: Mapping[str, int]
) -> dict[str, int]:
    """Returns where no single step up or down raises the value."""
    known: dict[tuple[int, ...], float] = {}

    def of(at: Mapping[str, int]) -> float:
        key = tuple(at.values())
        if key not in known:
            known[key] = value(at)
        return known[key]

    best, moved = dict(start), True
    while moved:
        moved = False
        for name in best:
            for step in (1, -1):
                while 0 <= best[name] + step < sizes[name] and of(best | {name: best[name] + step}) > of(best):
                    best[name], moved = best[name] + step, True
    return best
