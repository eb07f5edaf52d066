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

from graphrec.config import ConfigError

Metric = Literal["cosine", "dot", "euclidean"]
Source = Literal["vectors", "edges"]
Flag = Literal["missing", "constant", "token"]
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
    excluded = None if include_self else torch.arange(len(x))
    return knn_between(x, x, k, metric=metric, excluded=excluded, block_size=block_size)


def knn_between(
    source: Tensor,
    target: Tensor,
    k: int,
    *,
    metric: Metric = "cosine",
    excluded: Tensor | None = None,
    block_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Connects every row of one set to its ``k`` most similar rows of another, as ``knn_graph`` does within one set.

    Args:
        source: The vectors that may be chosen ``(n, dim)``.
        target: The vectors that choose ``(m, dim)``.
        k: Neighbours per row of ``target``.
        metric: ``"cosine"``, ``"dot"``, or ``"euclidean"``.
        excluded: For every row of ``target`` the row of ``source`` that it may not choose, -1 for none ``(m,)``.
        block_size: Rows of ``target`` handled at once.

    Returns:
        ``edge_index (2, m * k)``, row of ``source`` to row of ``target``, ordered by target, then by falling
        similarity; and the similarity of every edge ``(m * k,)``.

    Raises:
        ValueError: If the sets are no matrices of finite numbers and equal width, or ``source`` has too few rows.
    """
    _check_knn(source, target, k, metric, excluded, block_size)
    same = source is target
    source = _comparable(source, metric)
    target = source if same else _comparable(target, metric)
    size = block_size or max(1, BLOCK_ENTRIES // len(source))
    blocks = torch.arange(len(target), device=source.device).split(size)
    chosen = [_nearest(source, target[rows], k, metric, _of_rows(excluded, rows)) for rows in blocks]
    neighbour = torch.cat([index for index, _ in chosen])  # (m, k)
    node = torch.arange(len(target), device=source.device).repeat_interleave(k)
    return torch.stack([neighbour.flatten(), node]), torch.cat([value for _, value in chosen]).flatten()


def similar_nodes(
    x: Tensor, k: int, *, constant: Tensor | None = None, metric: Metric = "cosine"
) -> tuple[Tensor, Tensor]:
    """Returns ``knn_graph`` of a modality's nodes, without edges that only row numbers would decide.

    Nodes that were all given one vector tie with each other and are not chosen; they choose among the others. A zero
    vector, such as of a text without a known word, has cosine 0 with every other: it has no edges, nor is it chosen,
    unless distances are compared; one that was given has none in any case.

    Args:
        x: The vectors of the nodes ``(num_nodes, dim)``.
        k: The most neighbours per node.
        constant: Which nodes were given one vector ``(num_nodes,)``; none by default.
        metric: As for ``knn_graph``.

    Returns:
        ``edge_index`` of nodes, neighbour to node, and the similarity of every edge.
    """
    somewhere = (x != 0).any(dim=1)
    if constant is None or not constant.any():
        edge_index, similarity = knn_graph(x, k, metric=metric)
    else:
        edge_index, similarity = _chosen_by(x, ~constant, ~constant | somewhere, k, metric)
    kept = somewhere[edge_index].all(dim=0) | (metric == "euclidean")
    return edge_index[:, kept], similarity[kept]


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


def flagged_nodes(graph: HeteroData, modality: str, flag: Flag = "missing") -> Tensor:
    """Returns which nodes of a modality stand for something missing ``(num_nodes,)``; none where nothing was imputed.

    Args:
        graph: The training graph.
        modality: An item modality.
        flag: ``"missing"`` for all imputed nodes, ``"constant"`` for those that were all given one vector, or
            ``"token"`` for those whose vector a model is to learn.
    """
    store = graph[modality]
    none = torch.zeros(int(store.num_nodes), dtype=torch.bool, device=store.item_id.device)
    return store.get(flag, none)


def user_modalities(graph: HeteroData) -> tuple[str, ...]:
    """Returns the user modalities of a graph, such as ``user_text``, sorted."""
    return tuple(sorted(name for name in graph.node_types if name not in ("user", "item") and "user_id" in graph[name]))


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
    constant = flagged_nodes(graph, modality, "constant")
    own = len(constant) - int(constant.sum())  # nodes that may be chosen
    if _has_vectors(graph, modality, source) and own > 1:
        edge_index, weight = similar_nodes(nodes.x, min(k, own - 1), constant=constant)
    else:
        edge_index, weight = _given(graph, modality)
    (neighbor, target), size = nodes.item_id.cpu()[edge_index.cpu()].numpy(), int(graph["item"].num_nodes)
    value = weight.cpu().numpy().astype(np.float32)
    kept = (value > 0) & (neighbor != target)
    return sp.coo_array((value[kept], (neighbor[kept], target[kept])), shape=(size, size)).tocsr()


def item_features(
    graph: HeteroData, modality: str, *, source: Source = "vectors", center: bool = False, imputed: bool = True
) -> NDArray[np.float64] | sp.csr_array:
    """Returns one feature row per item, of length 1, or all zero where the item lacks the modality.

    Without vectors an item is described by its neighbours: by its row of the symmetrised 0/1 adjacency with
    self-loops, which is sparse.

    Args:
        graph: The training graph.
        modality: A node type with ``item_id``.
        source: ``"vectors"`` where there are some, else the ``similar`` edges; or ``"edges"`` in any case.
        center: Whether the mean of the vectors that are not imputed is taken off first; rows of the adjacency never
            are centred.
        imputed: Whether imputed vectors describe their items; if not, those have zeros.

    Returns:
        ``(num_items, dim)`` for vectors, ``(num_items, num_nodes)`` for edges.
    """
    nodes, size = graph[modality], int(graph["item"].num_nodes)
    item = nodes.item_id.cpu().numpy()
    if not _has_vectors(graph, modality, source, learned=not imputed):
        return _unit_rows(_adjacency(graph, modality), item, size)
    vectors = nodes.x.detach().cpu().double().numpy()
    if not imputed:
        vectors = vectors * ~flagged_nodes(graph, modality).cpu().numpy()[:, None]
    if center:
        vectors = _centered(vectors, flagged_nodes(graph, modality).cpu().numpy())
    features = np.zeros((size, vectors.shape[1]))
    features[item] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return features


def _chosen_by(x: Tensor, may_be: Tensor, may_choose: Tensor, k: int, metric: Metric) -> tuple[Tensor, Tensor]:
    """Returns ``knn_graph`` with rows that may be chosen and rows that may choose, two masks ``(n,)``."""
    source, target = may_be.nonzero().flatten(), may_choose.nonzero().flatten()
    place = torch.full((len(x),), -1, device=x.device)
    place[source] = torch.arange(len(source), device=x.device)
    edge_index, similarity = knn_between(x[source], x[target], k, metric=metric, excluded=place[target])
    return torch.stack([source[edge_index[0]], target[edge_index[1]]]), similarity


def _check_knn(
    source: Tensor, target: Tensor, k: int, metric: str, excluded: Tensor | None, block_size: int | None
) -> None:
    for x in (source, target):
        if x.dim() != 2 or not x.isfinite().all():
            shape = tuple(x.shape)
            raise ValueError(f"expected a matrix (n, dim) of finite vectors, got shape {shape} or NaN, infinity")
    if source.size(1) != target.size(1):
        raise ValueError(f"expected vectors of equal length, got {source.size(1)} and {target.size(1)}")
    if metric not in ("cosine", "dot", "euclidean"):
        raise ValueError(f"expected metric='cosine', 'dot' or 'euclidean', got {metric!r}")
    if block_size is not None and block_size < 1:
        raise ValueError(f"expected block_size >= 1, got {block_size}")
    left_out = excluded is not None and bool((excluded >= 0).any())
    most = len(source) - 1 if left_out else len(source)
    if not 1 <= k <= most:
        rows = "other rows" if left_out else "rows"
        raise ValueError(f"expected 1 <= k <= {most}, the number of {rows}, got k={k}; ask for fewer neighbours")


def _comparable(x: Tensor, metric: str) -> Tensor:
    vectors = x.detach().double()
    return torch.nn.functional.normalize(vectors, dim=1) if metric == "cosine" else vectors


def _of_rows(excluded: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if excluded is None else excluded.to(rows.device)[rows]


def _nearest(source: Tensor, target: Tensor, k: int, metric: str, excluded: Tensor | None) -> tuple[Tensor, Tensor]:
    if metric == "euclidean":  # the exact form: the one by matrix product would tell equal vectors apart
        similarity = -torch.cdist(target, source, compute_mode="donot_use_mm_for_euclid_dist")
    else:
        similarity = target @ source.T
    if metric == "cosine":  # to float32's step at 1, also near 0, where rounding errors would break ties
        similarity = similarity.mul_(2**24).round_().div_(2**24)
    similarity = similarity.float()
    if excluded is not None:
        row = (excluded >= 0).nonzero().flatten()
        similarity[row, excluded[row]] = -torch.inf
    return largest(similarity, k)


def _has_vectors(graph: HeteroData, modality: str, source: Source, *, learned: bool = False) -> bool:
    """Tells whether a closed form describes items by vectors; it cannot if some are learned and not left out."""
    if source != "vectors" or "x" not in graph[modality]:
        return False
    tokens = int(flagged_nodes(graph, modality, "token").sum())
    if tokens and not learned:
        raise ConfigError(
            f"expected a vector for every node of {modality!r}, got {tokens} tokens that a model is to learn, which a "
            "closed form does not; choose graph.missing: absent, drop, zero, mean, neighbors or propagate"
        )
    return True


def _centered(vectors: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Takes the mean of the present vectors off all; what is left of an imputed mean is rounding, and becomes zero."""
    mean = vectors[~missing].mean(axis=0) if not missing.all() else np.zeros(vectors.shape[1])
    centered = vectors - mean
    centered[np.linalg.norm(centered, axis=1) <= 1e-6 * np.linalg.norm(mean)] = 0.0
    return centered


def _given(graph: HeteroData, modality: str) -> tuple[Tensor, Tensor]:
    edges = graph[modality, "similar", modality]
    weight = edges.edge_weight if "edge_weight" in edges else torch.ones(edges.edge_index.shape[1])
    return edges.edge_index, weight


def _adjacency(graph: HeteroData, modality: str) -> sp.csr_array:
    (source, target), size = _given(graph, modality)[0].cpu().numpy(), int(graph[modality].num_nodes)
    alone = flagged_nodes(graph, modality).cpu().numpy().copy()  # imputed nodes without edges are described by nothing
    alone[source], alone[target] = False, False
    loop = np.flatnonzero(~alone)
    row, column = np.concatenate([source, target, loop]), np.concatenate([target, source, loop])
    adjacency = sp.coo_array((np.ones(len(row)), (row, column)), shape=(size, size)).tocsr()
    adjacency.data[:] = 1.0
    return adjacency


def _unit_rows(matrix: sp.csr_array, item: NDArray[np.int64], size: int) -> sp.csr_array:
    length = np.sqrt(matrix.multiply(matrix).sum(axis=1)).clip(min=1)  # a row with its self-loop has at least 1
    place = sp.coo_array((1 / length, (item, np.arange(len(item)))), shape=(size, len(item)))
    return (place.tocsr() @ matrix).tocsr()
