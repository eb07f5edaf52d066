"""Scores that are linear in the items a user has seen: one fixed weight per pair of items."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag


class ItemToItem(nn.Module):
    r"""Scores :math:`c_{ui} = \sum_{j \in N(u)} B_{ji}` with fixed weights between items.

    Args:
        edge_index: User and item of every interaction ``(2, num_edges)``.
        weights: The weights :math:`B` ``(num_items, num_items)``: row = the item seen, column = the item scored.
        num_users: The number of users.
        items: The items that have weights, ascending, where these are not all; the others are scored zero.
        num_items: The number of all items; by default as many as there are weights.
    """

    weights: Tensor
    start: Tensor
    seen: Tensor
    items: Tensor | None

    def __init__(
        self,
        edge_index: Tensor,
        weights: Tensor,
        num_users: int,
        *,
        items: Tensor | None = None,
        num_items: int | None = None,
    ) -> None:
        super().__init__()
        self.num_items = len(weights) if num_items is None else num_items
        self.register_buffer("items", items, persistent=False)
        if items is not None:
            place = torch.full((self.num_items,), -1, device=edge_index.device)
            place[items] = torch.arange(len(items), device=edge_index.device)
            edge_index = torch.stack([edge_index[0], place[edge_index[1]]])[:, place[edge_index[1]] >= 0]
        key = (edge_index[0] * len(weights) + edge_index[1]).unique()  # user by user; repeated edges count once
        degree = torch.bincount(torch.div(key, len(weights), rounding_mode="floor"), minlength=num_users)
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("start", nn.functional.pad(degree.cumsum(0), (1, 0)), persistent=False)
        self.register_buffer("seen", key % len(weights), persistent=False)

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``, zero for users without interactions."""
        scores = self._score(users)
        if self.items is None:
            return scores
        return scores.new_zeros(len(users), self.num_items).index_copy_(1, self.items, scores)

    def _score(self, users: Tensor) -> Tensor:
        """Returns the scores of the items that have weights ``(len(users), len(weights))``."""
        begin = self.start[users]
        degree = self.start[users + 1] - begin
        first = degree.cumsum(0) - degree
        within = torch.arange(int(degree.sum()), device=users.device) - first.repeat_interleave(degree)
        items = self.seen[begin.repeat_interleave(degree) + within]  # of one user after the other
        return embedding_bag(items, self.weights, first, mode="sum")

    def spread(self, block_size: int = 1024) -> float:
        """Returns the median, over the users with interactions, of the standard deviation of a user's scores.

        A deviation over all users together is that of the few with the most interactions, whose scores are largest.
        """
        users = (self.start[1:] > self.start[:-1]).nonzero().flatten()
        if not len(users):
            return 0.0
        found = [self._score(block).double().std(dim=1, correction=0) for block in users.split(block_size)]
        return float(torch.cat(found).quantile(0.5))
