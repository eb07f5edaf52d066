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


class ModalityVectors(nn.Module):
    """The vectors of a modality's nodes, with one learned vector in place of all that are tokens.

    Args:
        x: The vectors ``(num_nodes, dim)``.
        token: Which nodes are tokens ``(num_nodes,)``; none by default.
    """

    x: Tensor
    is_token: Tensor | None

    def __init__(self, x: Tensor, token: Tensor | None = None) -> None:
        super().__init__()
        learned = None if token is None or not token.any() else token.unsqueeze(-1)
        self.token = None if learned is None else nn.Parameter(torch.zeros(x.size(1)))
        self.register_buffer("x", x, persistent=False)
        self.register_buffer("is_token", learned, persistent=False)

    def forward(self) -> Tensor:
        """Returns the vectors ``(num_nodes, dim)``."""
        return self.x if self.token is None or self.is_token is None else torch.where(self.is_token, self.token, self.x)


class ModalityRelation(nn.Module):
    r"""Carries item states over the kNN edges of a modality, composed into one item–item operator.

    .. math:: \mathbf{M} = \mathbf{S}\,(\mathbf{X}\mathbf{W} + \mathbf{E})

    with the projected features of the modality's nodes and the item states. An item without the modality has
    no edges: it sends and receives nothing. Without vectors the nodes take the item states, and the view for alignment
    is one hop without self-loops, since an item would otherwise be compared with itself; with vectors it is the
    projected features. A token has no edges: its item, and no other, receives its projection. For a modality of users,
    read users for items.

    Args:
        edge_index: Edges between item rows, neighbour to item ``(2, num_edges)``.
        weight: Their normalised weights ``(num_edges,)``.
        item_id: The item rows that have the modality ``(num_nodes,)``.
        x: Their vectors ``(num_nodes, dim_in)``, if any; rows are scaled to length 1.
        num_items: The number of items.
        dim: The embedding dimension.
        missing: Which vectors are imputed ``(num_nodes,)``; ``present`` leaves their items out. None by default.
        token: Which of them are to be learned ``(num_nodes,)``.
    """

    item_id: Tensor
    present: Tensor
    has_token: Tensor | None
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
        missing: Tensor | None = None,
        token: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.similar = SparseOperator(edge_index, weight, num_sources=num_items, num_targets=num_items)
        self.projection = None if x is None else nn.Linear(x.size(1), dim)
        self.vectors = None if x is None else ModalityVectors(F.normalize(x.float(), dim=-1), token)
        self.register_buffer("item_id", item_id, persistent=False)
        self.register_buffer("present", torch.zeros(num_items, dtype=torch.bool), persistent=False)
        self.present[item_id if missing is None else item_id[~missing]] = True
        self.register_buffer("has_token", _item_mask(item_id, token, num_items), persistent=False)
        self.in_item_order = torch.equal(item_id, torch.arange(num_items, device=item_id.device))
        self.register_buffer("loop", _self_loops(edge_index, weight, num_items), persistent=False)

    def forward(self, item: Tensor) -> ModalityOutput:
        """Returns the message to the items and the view for alignment, for item states ``(num_items, dim)``."""
        projected = self._projected(item)
        message = self.similar(item if projected is None else projected + item)
        view = message - self.loop * item if projected is None else projected
        if self.has_token is not None and projected is not None:
            message = message + self.has_token * projected
        return ModalityOutput(message, view)

    def _projected(self, item: Tensor) -> Tensor | None:
        """Returns the projected features in item rows, zero where the modality is absent."""
        if self.projection is None or self.vectors is None:
            return None
        projected: Tensor = self.projection(self.vectors()).float()
        if self.in_item_order:
            return projected
        return torch.zeros_like(item).index_copy(0, self.item_id, projected)


def _item_mask(item_id: Tensor, node_mask: Tensor | None, num_items: int) -> Tensor | None:
    """Returns 1 for the items of the chosen nodes and 0 for the others ``(num_items, 1)``; None if none is chosen."""
    if node_mask is None or not node_mask.any():
        return None
    mask = torch.zeros(num_items, 1, device=item_id.device)
    mask[item_id[node_mask]] = 1.0
    return mask


def _self_loops(edge_index: Tensor, weight: Tensor, num_items: int) -> Tensor:
    """Returns the diagonal of the operator ``(num_items, 1)``."""
    loops = edge_index[0] == edge_index[1]
    diagonal = torch.zeros(num_items, device=weight.device)
    return diagonal.index_add_(0, edge_index[0][loops], weight[loops].float()).unsqueeze(-1)
