"""The message-passing form of a propagation step: reference for the CSR product, and the path for mini-batches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing


class RelationConv(MessagePassing):
    r"""One step over one relation, without transformation or non-linearity.

    .. math:: \mathbf{x}'_i = \sum_{j \in \mathcal{N}(i)} w_{ji}\, \mathbf{x}_j

    Equal to ``SparseOperator`` on the same edges, and slower on a full graph; it needs no preparation, so it suits
    sampled subgraphs. From `"LightGCN" <https://arxiv.org/abs/2002.02126>`_, with the weights given from outside.
    """

    def __init__(self) -> None:
        super().__init__(aggr="sum")

    def forward(self, x: Tensor, edge_index: Tensor, weight: Tensor, num_targets: int) -> Tensor:
        """Returns the new target states ``(num_targets, dim)``.

        Args:
            x: Source states ``(num_sources, dim)``.
            edge_index: Source and target of every edge ``(2, num_edges)``.
            weight: Edge weights ``(num_edges,)``.
            num_targets: The number of target nodes.
        """
        empty = x.new_zeros(num_targets, x.size(1))
        return self.propagate(edge_index, x=(x, empty), weight=weight, size=(x.size(0), num_targets))

    def message(self, x_j: Tensor, weight: Tensor) -> Tensor:
        """Returns the weighted source states ``(num_edges, dim)``."""
        return weight.unsqueeze(-1) * x_j


def scatter_propagate(x: Tensor, edge_index: Tensor, weight: Tensor, num_targets: int) -> Tensor:
    """Does the same step through ``torch_scatter.scatter``, called directly: PyG's own sum never uses it.

    Args:
        x: Source states ``(num_sources, dim)``.
        edge_index: Source and target of every edge ``(2, num_edges)``.
        weight: Edge weights ``(num_edges,)``.
        num_targets: The number of target nodes.

    Raises:
        ImportError: If torch-scatter is not installed.
    """
    try:
        from torch_scatter import scatter
    except ImportError as error:
        command = "pip install --no-build-isolation torch-scatter"
        raise ImportError(
            f"scatter_propagate needs torch-scatter, which builds against your torch: {command}"
        ) from error
    source, target = edge_index
    messages = torch.mul(weight.unsqueeze(-1), x.index_select(0, source))
    return scatter(messages, target, dim=0, dim_size=num_targets, reduce="sum")
