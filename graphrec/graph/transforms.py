"""Operations on edges: degrees, normalisation, pruning."""

from __future__ import annotations

import torch
from torch import Tensor


def degree(index: Tensor, num_nodes: int, weight: Tensor | None = None) -> Tensor:
    """Returns the (weighted) number of edges at every node ``(num_nodes,)``, fp32.

    >>> degree(torch.tensor([0, 0, 2]), 3).tolist()
    [2.0, 0.0, 1.0]
    """
    values = torch.ones(len(index), device=index.device) if weight is None else weight.float()
    return torch.zeros(num_nodes, device=index.device).index_add_(0, index, values)


def symmetric_norm(edge_index: Tensor, num_sources: int, num_targets: int, weight: Tensor | None = None) -> Tensor:
    r"""Weights of the symmetrically normalised bipartite adjacency, LightGCN's.

    .. math:: \hat{w}_{ij} = w_{ij} / \sqrt{d_i d_j}

    Args:
        edge_index: Source and target of every edge ``(2, num_edges)``.
        num_sources: The number of source nodes.
        num_targets: The number of target nodes.
        weight: Edge weights ``(num_edges,)``; ones by default.

    Returns:
        The normalised weights ``(num_edges,)``.
    """
    source, target = edge_index
    left = degree(source, num_sources, weight).clamp(min=1e-12).rsqrt()[source]
    right = degree(target, num_targets, weight).clamp(min=1e-12).rsqrt()[target]
    return left * right if weight is None else left * right * weight.float()


def row_norm(edge_index: Tensor, num_nodes: int, weight: Tensor | None = None) -> Tensor:
    r"""Weights of a directed kNN adjacency normalised by the degree of its rows, at both ends.

    From `"FREEDOM" <https://arxiv.org/abs/2211.06924>`_: :math:`\mathbf{D}^{-1/2}\mathbf{S}\mathbf{D}^{-1/2}` with
    :math:`D_{ii} = \sum_j S_{ij}`, the degree of a node as a target. On a kNN graph all rows have ``k`` entries, so
    every weight is ``1 / k``.

    Args:
        edge_index: Neighbour and node of every edge ``(2, num_edges)``.
        num_nodes: The number of nodes.
        weight: Edge weights ``(num_edges,)``; ones by default.

    Returns:
        The normalised weights ``(num_edges,)``; edges from a node without neighbours of its own weigh nothing.
    """
    source, target = edge_index
    rows = degree(target, num_nodes, weight)
    scale = torch.where(rows > 0, rows.clamp(min=1e-12).rsqrt(), 0.0)
    values = scale[source] * scale[target]
    return values if weight is None else values * weight.float()


def both_ways(edge_index: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Adds the reverse of every edge between nodes of one kind; an edge that is there both ways has its mean weight.

    Args:
        edge_index: Source and target of every edge ``(2, num_edges)``, no edge twice.
        weight: Edge weights ``(num_edges,)``; none by default.

    Returns:
        The edges, ordered by source, then target, each once, and their weights where there were some.

    >>> both_ways(torch.tensor([[0, 1, 2], [1, 0, 2]]))[0].tolist()
    [[0, 1, 2], [1, 0, 2]]
    """
    edges, place = torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1, return_inverse=True)
    if weight is None:
        return edges, None
    total, count = (degree(place, edges.size(1), value) for value in (torch.cat([weight, weight]), None))
    return edges, total / count


def prune_by_degree(edge_index: Tensor, keep: float, generator: torch.Generator) -> Tensor:
    r"""Samples user–item edges without replacement, with edges between popular nodes the first to go.

    Degree-sensitive edge pruning from `"FREEDOM" <https://arxiv.org/abs/2211.06924>`_: an edge is kept with
    probability proportional to :math:`1/\sqrt{d_u d_i}`. Drawn with exponential keys (Efraimidis and Spirakis,
    2006), which has no limit on the number of edges.

    Args:
        edge_index: User and item of every edge ``(2, num_edges)``.
        keep: The share of edges to keep, in (0, 1].
        generator: The source of randomness, on the device of the edges.

    Returns:
        The positions of the kept edges ``(round(keep * num_edges),)``, ascending.

    Raises:
        ValueError: If ``keep`` is not in (0, 1].
    """
    if not 0 < keep <= 1:
        raise ValueError(f"expected keep in (0, 1], got {keep}")
    user, item = edge_index
    probability = symmetric_norm(edge_index, int(user.max()) + 1, int(item.max()) + 1)
    uniform = torch.rand(len(user), generator=generator, device=user.device, dtype=torch.float64)
    keys = -uniform.clamp(min=1e-300).log() / probability
    count = max(1, round(keep * len(user)))
    return torch.topk(keys, count, largest=False).indices.sort().values
