"""Training batches: shuffled positives with negatives drawn exactly from the complement."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from graphrec.data.interactions import Interactions
from graphrec.models.base import Batch


class NegativeSampler:
    r"""Draws items a user has not interacted with in training, uniformly, without rejection.

    With the positives of a user in ascending order :math:`p_0 < p_1 < …`, the ``r``-th other item is ``r + j`` for
    the number ``j`` of positives with :math:`p_j - j \le r`. All users' :math:`p_j - j` lie in one sorted array, so
    a batch costs one binary search, and a positive can never be drawn.

    Args:
        train: The training interactions.
        device: Where to sample.
        seen_items: Whether only items that occur in training are drawn. Otherwise a new item is a negative of
            everyone and a positive of no one, and learns to be ranked last.

    Raises:
        ValueError: If a user has interacted with every item.
    """

    def __init__(self, train: Interactions, device: torch.device | str = "cpu", *, seen_items: bool = False) -> None:
        item = torch.from_numpy(train.item)
        pool = item.unique() if seen_items else torch.arange(train.num_items)
        self.num_items = len(pool)
        key = (torch.from_numpy(train.user) * self.num_items + torch.searchsorted(pool, item)).unique()
        user = torch.div(key, self.num_items, rounding_mode="floor")
        degree = torch.bincount(user, minlength=train.num_users)
        self._check(train, degree)
        start = torch.cumsum(degree, 0) - degree
        self._pool, self._item = pool.to(device), pool[key % self.num_items].to(device)
        self._degree, self._num_all = degree.to(device), train.num_items
        self._gap = (key - (torch.arange(len(key)) - start[user])).to(device)
        self._start, self._free = start.to(device), (self.num_items - degree).to(device)

    def own(self, user: Tensor, k: int, generator: torch.Generator) -> Tensor:
        """Returns ``k`` negatives for every user ``(B, k)``, for users ``(B,)``."""
        free = self._free[user].unsqueeze(-1)
        uniform = torch.rand(len(user), k, generator=generator, device=user.device, dtype=torch.float64)
        rank = (uniform * free).long().minimum(free - 1)
        skipped = torch.searchsorted(self._gap, user.unsqueeze(-1) * self.num_items + rank, right=True)
        return self._pool[rank + skipped - self._start[user].unsqueeze(-1)]

    def shared(self, k: int, generator: torch.Generator) -> Tensor:
        """Returns ``k`` different items for a whole batch ``(min(k, items),)``; leave out those ``known`` marks."""
        return self._pool[torch.randperm(self.num_items, generator=generator, device=self._pool.device)[:k]]

    def known(self, user: Tensor, items: Tensor) -> Tensor:
        """Returns which of the different items ``(k,)`` are training positives of which user ``(B, k)``.

        It walks the positives of the users, which are few, and not all ``B * k`` pairs.
        """
        column = torch.full((self._num_all,), -1, device=items.device)
        column[items] = torch.arange(len(items), device=items.device)
        degree = self._degree[user]
        row = torch.arange(len(user), device=user.device).repeat_interleave(degree)
        place = torch.arange(len(row), device=user.device) - (degree.cumsum(0) - degree)[row]
        drawn = column[self._item[self._start[user][row] + place]]
        known = torch.zeros(len(user), len(items), dtype=torch.bool, device=user.device)
        known[row[drawn >= 0], drawn[drawn >= 0]] = True
        return known

    def _check(self, train: Interactions, degree: Tensor) -> None:
        full = torch.nonzero(degree >= self.num_items).flatten()
        if len(full):
            name = train.users.ids(full[:1].numpy())[0]
            raise ValueError(
                f"expected every user to leave an item unseen, got {len(full)} with all {self.num_items} items, "
                f"e.g. user {name!r}: there is no negative to sample; drop these users"
            )


class PairLoader:
    """Yields the training pairs of an epoch in batches, shuffled, each with negatives.

    Args:
        train: The training interactions.
        batch_size: Pairs per batch, for each process.
        negatives: Negatives per positive, or per batch where they are shared.
        shared: Whether a batch shares its negatives.
        seen_items: Whether negatives are only drawn from items that occur in training.
        device: Where to sample.
        rank: This process among ``world_size``; each takes its share of the same shuffle.
        world_size: The number of processes.
    """

    def __init__(
        self,
        train: Interactions,
        *,
        batch_size: int,
        negatives: int = 1,
        shared: bool = False,
        seen_items: bool = False,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.sampler = NegativeSampler(train, device, seen_items=seen_items)
        self.user = torch.from_numpy(train.user).to(device)
        self.item = torch.from_numpy(train.item).to(device)
        self.batch_size, self.negatives, self.shared = batch_size, negatives, shared
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        """The number of batches of an epoch, the same for every process."""
        share = math.ceil(len(self.user) / self.world_size)
        return math.ceil(share / self.batch_size)

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yields every pair once; with several processes the last few are repeated so that all take equal steps."""
        order = torch.randperm(len(self.user), generator=generator, device=self.user.device)
        if self.world_size > 1:
            share = math.ceil(len(order) / self.world_size)
            order = torch.cat([order, order[: share * self.world_size - len(order)]])
            order = order[self.rank :: self.world_size]
            generator.manual_seed(generator.initial_seed() + self.rank)
        for rows in order.split(self.batch_size):
            yield self._batch(rows, generator)

    def _batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        user, item = self.user[rows], self.item[rows]
        if not self.shared:
            return Batch(user, item, self.sampler.own(user, self.negatives, generator))
        negative = self.sampler.shared(self.negatives, generator)
        return Batch(user, item, negative, self.sampler.known(user, negative))
