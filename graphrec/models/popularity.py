"""Popularity: the most frequent items, the same for everybody."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphrec.models.base import ClosedForm, ModelConfig


class PopularityConfig(ModelConfig):
    """Popularity has no hyper-parameters."""


class Popularity(ClosedForm):
    """Scores an item by its number of training interactions.

    The baseline of `"Performance of Recommender Algorithms on Top-N Recommendation Tasks"
    <https://doi.org/10.1145/1864708.1864721>`_.
    """

    config_class = PopularityConfig
    count: Tensor | None

    def __init__(self, graph: HeteroData, config: PopularityConfig) -> None:
        super().__init__(graph, config)
        self.register_buffer("count", None, persistent=False)

    def fit(self, graph: HeteroData) -> None:
        """Counts the training interactions of every item."""
        item = graph["user", "interacts", "item"].edge_index[1]
        self.count = torch.bincount(item, minlength=self.num_items).float()

    def score(self, users: Tensor) -> Tensor:
        """Returns the counts, once per user ``(len(users), num_items)``."""
        if self.count is None:
            raise RuntimeError("expected a fitted Popularity, got one before fit(graph); call fit first")
        return self.count.to(users.device).repeat(len(users), 1)
