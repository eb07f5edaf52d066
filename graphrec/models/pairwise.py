"""What embedding models trained on pairs share: tables, the user–item operator, scores and norms of a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphrec.graph.build import INTERACTS
from graphrec.graph.transforms import prune_by_degree, symmetric_norm
from graphrec.models.base import Batch, Embeddings
from graphrec.nn.losses import l2
from graphrec.nn.sparse import SparseOperator
from graphrec.runtime import generator


def embedding_table(rows: int, dim: int) -> nn.Parameter:
    """Returns a Xavier-initialised table ``(rows, dim)``, drawn from torch's global generator."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, dim)))


def interaction_operator(edge_index: Tensor, num_users: int, num_items: int) -> SparseOperator:
    """Returns the symmetrically normalised operator from items to users, for user–item edges ``(2, num_edges)``."""
    weight = symmetric_norm(edge_index, num_users, num_items)
    return SparseOperator(edge_index.flip(0), weight, num_sources=num_items, num_targets=num_users)


def interactions_of(graph: HeteroData) -> Tensor:
    """Returns the training interactions of a graph: user rows and item rows ``(2, num_edges)``."""
    edge_index: Tensor = graph[INTERACTS].edge_index
    return edge_index


class PrunedInteractions(nn.Module):
    """The user–item operator, and the one that degree-sensitive pruning leaves for an epoch.

    Args:
        edge_index: User and item of every interaction ``(2, num_edges)``.
        num_users: The number of users.
        num_items: The number of items.
        keep: The share of edges to keep, in (0, 1]; 1 prunes nothing.
        seed: Seeds the pruning, together with the epoch.
    """

    def __init__(self, edge_index: Tensor, num_users: int, num_items: int, *, keep: float, seed: int) -> None:
        super().__init__()
        self.edge_index, self.keep, self.seed = edge_index, keep, seed
        self.full = interaction_operator(edge_index, num_users, num_items)
        self.pruned = self.full

    def refresh(self, epoch: int) -> None:
        """Samples the edges of the epoch."""
        if self.keep < 1:
            kept = prune_by_degree(self.edge_index, self.keep, generator(self.seed, epoch))
            size = self.full.num_targets, self.full.num_sources
            self.pruned = interaction_operator(self.edge_index[:, kept], *size).to(self.full.value.device)


def pair_scores(embeddings: Embeddings, batch: Batch) -> tuple[Tensor, Tensor]:
    """Returns the scores of the positives ``(B,)`` and of the negatives ``(B, K)``.

    ``index_select`` is used because its backward is an ``index_add``, several times faster on a CPU than the
    backward of indexing.
    """
    user = embeddings.user.index_select(0, batch.user)
    positive = (user * embeddings.item.index_select(0, batch.positive)).sum(dim=-1)
    negatives = embeddings.item.index_select(0, batch.negative.flatten())
    if batch.negative.dim() == 1:
        return positive, user @ negatives.T
    negatives = negatives.view(*batch.negative.shape, -1)
    return positive, (user.unsqueeze(1) * negatives).sum(dim=-1)


def batch_l2(embeddings: Embeddings, batch: Batch) -> Tensor:
    """Returns half the squared norm of the rows a batch touches, per training pair."""
    users = embeddings.user.index_select(0, batch.user)
    positives = embeddings.item.index_select(0, batch.positive)
    negatives = embeddings.item.index_select(0, batch.negative.flatten())
    return l2(users, positives, negatives, size=len(batch.user))
