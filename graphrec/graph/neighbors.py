"""Item–item neighbours from content: blocked k-nearest neighbours, and what a graph says about its modalities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import HeteroData

Metric = Literal["cosine", "dot", "euclidean"]
Source = Literal["vectors", "edges"]
BLOCK_ENTRIES = 2**22  # similarities held at once; about 100 MB with what choosing the largest needs


def knn_graph(
    x: Tensor, k: int, *, metric: Metric = "cosine", include_self: bool = False, block_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Connects every row to its ``k`` most similar rows, exactly, without ever holding all similarities.

    Similarities are computed in float64 and compared in float32, so that equal ones tie whatever the device and the
    block size; ties go to the lowest row. A zero vector has cosine similarity 0 with every row.

    Args:
        x: Vectors ``(n, dim)``, on any device.
        k: Neighbours per row.
        metric: ``"cosine"``, ``"dot"``, or ``"euclidean"`` (the similarity is minus the distance).
        include_self: Whether a row may be its own neighbour. It is a candidate like any other, and loses ties to
            equal vectors in lower rows.
        block_size: Rows handled at once; by default as many as fit into about 100 MB.

    Returns:
        ``edge_index (2, n * k)`` with the neighbour in row 0 (source) and the node whose list it is in row 1
        (target), ordered by target, then by falling similarity; and the similarity of every edge ``(n * k,)``.

    Raises:
        ValueError: If ``x`` is no matrix of finite numbers, or has too few rows for ``k`` neighbours each.
    """
    _check_knn(x, k, metric, include_self, block_size)
    vectors = x.detach().double()
    vectors = torch.nn.functional.normalize(vectors, dim=1) if metric == "cosine" else vectors
    size = block_size or max(1, BLOCK_ENTRIES // len(x))
    chosen = [_nearest(vectors, rows, k, metric, include_self) for rows in torch.arange(len(x)).split(size)]
    neighbour = torch.cat([index for index, _ in chosen])  # (n, k)
    target = torch.arange(len(x), device=x.device).repeat_interleave(k)
    return torch.stack([neighbour.flatten(), target]), torch.cat([value for _, value in chosen]).flatten()


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Returns the columns ``(n, k)`` of the ``k`` largest entries of every row, and those entries, falling.

    Unlike ``torch.topk``, equal entries are taken and ordered by the lowest column, on every device.
    """
    threshold = values.topk(k, dim=1).values[:, -1:]
    above, equal = values > threshold, values == threshold
    room = k - above.sum(dim=1, keepdim=True)
    kept = above | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))
    column = kept.nonzero()[:, 1].view(len(values), k)  # ascending in every row
    entry, order = values.gather(1, column).sort(dim=1, descending=True, stable=True)
    return column.gather(1, order), entry


def item_modalities(graph: HeteroData, wanted: Iterable[str] | None = None) -> tuple[str, ...]:
    """Returns the item modalities of a graph, sorted; or those wanted, once it is sure that they exist.

    Raises:
        ValueError: If a wanted modality is not in the graph.
    """
    known = sorted(name for name in graph.node_types if name not in ("user", "item") and "item_id" in graph[name])
    names = tuple(known if wanted is None else wanted)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"expected item modalities among {known}, got {unknown}; build the graph with them")
    return names


def content_neighbors(graph: HeteroData, modality: str, k: int, *, source: Source = "vectors") -> sp.csr_array:
    """Returns how similar every item is to its neighbours in a modality, as an item–item matrix.

    Similarities that are not positive are left out, and so is the diagonal.

    Args:
        graph: The training graph.
        modality: A node type with ``item_id``.
        k: The number of nearest neighbours by cosine similarity, where they are found from vectors.
        source: ``"vectors"`` where there are some, else all ``similar`` edges; or ``"edges"`` in any case.

    Returns:
        Similarities ``(num_items, num_items)``: row = neighbour, column = the item whose neighbour it is.
    """
    nodes = graph[modality]
    if _has_vectors(graph, modality, source) and len(nodes.x) > 1:
        edge_index, weight = knn_graph(nodes.x, min(k, len(nodes.x) - 1))
    else:
        edge_index, weight = _given(graph, modality)
    (neighbor, target), size = nodes.item_id.cpu()[edge_index.cpu()].numpy(), int(graph["item"].num_nodes)
    value = weight.cpu().numpy().astype(np.float32)
    kept = (value > 0) & (neighbor != target)
    return sp.coo_array((value[kept], (neighbor[kept], target[kept])), shape=(size, size)).tocsr()


def item_features(
    graph: HeteroData, modality: str, *, source: Source = "vectors", center: bool = False
) -> NDArray[np.float64] | sp.csr_array:
    """Returns one feature row per item, of length 1, or all zero where the item lacks the modality.

    Without vectors an item is described by its neighbours: by its row of the symmetrised 0/1 adjacency with
    self-loops, which is sparse.

    Args:
        graph: The training graph.
        modality: A node type with ``item_id``.
        source: ``"vectors"`` where there are some, else the ``similar`` edges; or ``"edges"`` in any case.
        center: Whether the mean vector is taken off first; rows of the adjacency never are centred.

    Returns:
        ``(num_items, dim)`` for vectors, ``(num_items, num_nodes)`` for edges.
    """
    nodes, size = graph[modality], int(graph["item"].num_nodes)
    item = nodes.item_id.cpu().numpy()
    if not _has_vectors(graph, modality, source):
        return _unit_rows(_adjacency(graph, modality), item, size)
    vectors = nodes.x.detach().cpu().double().numpy()
    vectors = vectors - vectors.mean(axis=0) if center else vectors
    features = np.zeros((size, vectors.shape[1]))
    features[item] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return features


def _check_knn(x: Tensor, k: int, metric: str, include_self: bool, block_size: int | None) -> None:
    if x.dim() != 2 or not x.isfinite().all():
        raise ValueError(f"expected a matrix (n, dim) of finite vectors, got shape {tuple(x.shape)} or NaN, infinity")
    if metric not in ("cosine", "dot", "euclidean"):
        raise ValueError(f"expected metric='cosine', 'dot' or 'euclidean', got {metric!r}")
    if block_size is not None and block_size < 1:
        raise ValueError(f"expected block_size >= 1, got {block_size}")
    most = len(x) if include_self else len(x) - 1
    if not 1 <= k <= most:
        others = "rows" if include_self else "other rows"
        raise ValueError(f"expected 1 <= k <= {most}, the number of {others}, got k={k}; ask for fewer neighbours")


def _nearest(vectors: Tensor, rows: Tensor, k: int, metric: str, include_self: bool) -> tuple[Tensor, Tensor]:
    rows = rows.to(vectors.device)
    if metric == "euclidean":  # the exact form: the one by matrix product would tell equal vectors apart
        similarity = -torch.cdist(vectors[rows], vectors, compute_mode="donot_use_mm_for_euclid_dist")
    else:
        similarity = vectors[rows] @ vectors.T
    if metric == "cosine":  # to float32's step at 1, also near 0, where rounding errors would break ties
        similarity = similarity.mul_(2**24).round_().div_(2**24)
    similarity = similarity.float()
    if not include_self:
        similarity[torch.arange(len(rows), device=rows.device), rows] = -torch.inf
    return largest(similarity, k)


def _has_vectors(graph: HeteroData, modality: str, source: Source) -> bool:
    return source == "vectors" and "x" in graph[modality]


def _given(graph: HeteroData, modality: str) -> tuple[Tensor, Tensor]:
    edges = graph[modality, "similar", modality]
    weight = edges.edge_weight if "edge_weight" in edges else torch.ones(edges.edge_index.shape[1])
    return edges.edge_index, weight


def _adjacency(graph: HeteroData, modality: str) -> sp.csr_array:
    (source, target), size = _given(graph, modality)[0].cpu().numpy(), int(graph[modality].num_nodes)
    loop = np.arange(size)
    row, column = np.concatenate([source, target, loop]), np.concatenate([target, source, loop])
    adjacency = sp.coo_array((np.ones(len(row)), (row, column)), shape=(size, size)).tocsr()
    adjacency.data[:] = 1.0
    return adjacency


def _unit_rows(matrix: sp.csr_array, item: NDArray[np.int64], size: int) -> sp.csr_array:
    length = np.sqrt(matrix.multiply(matrix).sum(axis=1))  # at least 1: every row has its self-loop
    place = sp.coo_array((1 / length, (item, np.arange(len(item)))), shape=(size, len(item)))
    return (place.tocsr() @ matrix).tocsr()
