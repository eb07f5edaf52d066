"""The relation item → modality → similar modality → item, as one operator."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn.sparse import SparseOperator


class ModalityOutput(NamedTuple):
    """What a modality gives: ``message (num_items, dim)`` to the items, ``view (num_items, dim)`` for alignment."""

    message: Tensor
    view: Tensor


class ModalityRelation(nn.Module):
    r"""Carries item states over the kNN edges of a modality, composed into one item–item operator.

    .. math:: \mathbf{M} = \mathbf{S}^{n}\,(\mathbf{X}\mathbf{W} + \mathbf{E})

    with the projected features of the modality's nodes, the item states, or both. An item without the modality has
    no edges: it sends and receives nothing. Without vectors the nodes take the item states, and the view for alignment
    is one hop without self-loops, since an item would otherwise be compared with itself; with vectors it is the
    projected features.

    Args:
        edge_index: Edges between item rows, neighbour to item ``(2, num_edges)``.
        weight: Their normalised weights ``(num_edges,)``.
        item_id: The item rows that have the modality ``(num_nodes,)``.
        x: Their vectors ``(num_nodes, dim_in)``, if any; rows are scaled to length 1.
        num_items: The number of items.
        dim: The embedding dimension.
        num_hops: The number of similarity hops :math:`n`.
        use_id: Whether nodes that have vectors also take the item states.
    """

    item_id: Tensor
    present: Tensor
    loop: Tensor

    def __init__(
        self,
        edge_index: Tensor,
        weight: Tensor,
        item_id: Tensor,
        x: Tensor | None,
        *,
        num_items: int,
        dim: int,
        num_hops: int = 1,
        use_id: bool = True,
    ) -> None:
        super().__init__()
        self.similar = SparseOperator(edge_index, weight, num_sources=num_items, num_targets=num_items)
        self.num_hops, self.use_id = num_hops, use_id or x is None
        self.projection = None if x is None else nn.Linear(x.size(1), dim)
        self.register_buffer("x", None if x is None else F.normalize(x.float(), dim=-1), persistent=False)
        self.register_buffer("item_id", item_id, persistent=False)
        self.register_buffer("present", torch.zeros(num_items, dtype=torch.bool), persistent=False)
        self.present[item_id] = True
        self.in_item_order = torch.equal(item_id, torch.arange(num_items, device=item_id.device))
        self.register_buffer("loop", _self_loops(edge_index, weight, num_items), persistent=False)

    def forward(self, item: Tensor) -> ModalityOutput:
        """Returns the message to the items and the view for alignment, for item states ``(num_items, dim)``."""
        projected = self._projected(item)
        state = item if projected is None else projected + item if self.use_id else projected
        first = self.similar(state)
        view = first - self.loop * item if projected is None else projected
        message = first
        for _ in range(self.num_hops - 1):
            message = self.similar(message)
        return ModalityOutput(message, view)

    def _projected(self, item: Tensor) -> Tensor | None:
        """Returns the projected features in item rows, zero where the modality is absent."""
        if self.projection is None:
            return None
        projected: Tensor = self.projection(self.x).float()
        if self.in_item_order:
            return projected
        return torch.zeros_like(item).index_copy(0, self.item_id, projected)


def _self_loops(edge_index: Tensor, weight: Tensor, num_items: int) -> Tensor:
    """Returns the diagonal of the operator ``(num_items, 1)``."""
    loops = edge_index[0] == edge_index[1]
    diagonal = torch.zeros(num_items, device=weight.device)
    return diagonal.index_add_(0, edge_index[0][loops], weight[loops].float()).unsqueeze(-1)
