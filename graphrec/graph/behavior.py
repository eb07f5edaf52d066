"""Item–item and user–user weights from interactions: co-occurrence, and EASE in closed form."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from torch import Tensor
from torch_geometric.data import HeteroData

from graphrec.graph.neighbors import BLOCK_ENTRIES, largest

Target = Literal["item", "user"]
Normalization = Literal["count", "cosine", "jaccard"]
GIB = 2**30


def interaction_matrix(graph: HeteroData) -> sp.csr_array:
    """Returns the training interactions of a graph as a 0/1 matrix ``(num_users, num_items)``, float32."""
    edge_index = graph["user", "interacts", "item"].edge_index
    user, item = edge_index.cpu().numpy()
    shape = (int(graph["user"].num_nodes), int(graph["item"].num_nodes))
    return _binary(sp.coo_array((np.ones(len(user), np.float32), (user, item)), shape=shape).tocsr())


def most_interacted(matrix: sp.csr_array, count: int) -> NDArray[np.int64]:
    """Returns the rows of the items with the most interactions, ``count`` at most, ascending; ties to the lowest row.

    Args:
        matrix: Interactions ``(num_users, num_items)``.
        count: How many.
    """
    order = np.argsort(-np.bincount(matrix.indices, minlength=matrix.shape[1]), kind="stable")
    return np.sort(order[:count])


def co_occurrence(
    matrix: sp.csr_array,
    k: int,
    *,
    target: Target = "item",
    normalization: Normalization = "cosine",
    shrinkage: float = 0.0,
) -> tuple[Tensor, Tensor]:
    r"""Connects every item to the ``k`` items that most share its users; or every user, by shared items.

    From `"Item-based Collaborative Filtering Recommendation Algorithms"
    <https://doi.org/10.1145/371920.372071>`_, with the shrinkage of `Bell and Koren (2007)
    <https://doi.org/10.1109/ICDM.2007.90>`_ against similarities that rest on few users. With :math:`c_{ij}` shared
    users and degrees :math:`d`, the weight is :math:`c_{ij} / (c_{ij} + \text{shrinkage})` times

    ``"count"`` :math:`c_{ij}`, ``"cosine"`` :math:`c_{ij} / \sqrt{d_i d_j}`, or ``"jaccard"``
    :math:`c_{ij} / (d_i + d_j - c_{ij})`.

    Products are sparse and in blocks of bounded size. Every entry that is not zero counts as one.

    Args:
        matrix: Interactions ``(num_users, num_items)``.
        k: Neighbours at most; there are fewer where fewer share a user. Ties go to the lowest row.
        target: What is connected.
        normalization: How counts become weights.
        shrinkage: At least 0.

    Returns:
        ``edge_index (2, num_edges)`` with the neighbour in row 0 (source) and the node whose list it is in row 1
        (target), ordered by target, then by falling weight, without self-loops; and the weights ``(num_edges,)``.

    Raises:
        ValueError: If an argument is out of range.
    """
    if k < 1 or shrinkage < 0:
        raise ValueError(f"expected k >= 1 and shrinkage >= 0, got k={k}, shrinkage={shrinkage}")
    if normalization not in ("count", "cosine", "jaccard"):
        raise ValueError(f"expected normalization='count', 'cosine' or 'jaccard', got {normalization!r}")
    seen = _oriented(matrix, target)
    degree, transposed = seen.sum(axis=1).astype(np.float64), seen.T.tocsr()
    blocks = ((rows.start, (seen[rows] @ transposed).tocoo()) for rows in _bounded_blocks(seen))
    parts = [_block_edges(shared, start, degree, k, normalization, shrinkage) for start, shared in blocks]
    source, node, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    return torch.from_numpy(np.stack([source, node])), torch.from_numpy(weight)


def gram_matrix(features: sp.csr_array | NDArray[np.float64], *, block_size: int = 512) -> NDArray[np.float64]:
    """Returns the inner products of all rows ``(n, n)``, float64, from features ``(n, dim)``, dense or sparse."""
    gram = np.zeros((features.shape[0], features.shape[0]))
    add_gram(gram, features, block_size=block_size)
    return gram


def add_gram(
    gram: NDArray[np.float64],
    features: sp.csr_array | NDArray[np.float64],
    weight: float = 1.0,
    *,
    block_size: int = 512,
) -> None:
    """Adds ``weight`` times the inner products of all rows of ``features (n, dim)`` to ``gram (n, n)``, in place."""
    if gram.shape != (features.shape[0], features.shape[0]):
        raise ValueError(f"expected a gram matrix of {features.shape[0]} feature rows, got shape {gram.shape}")
    transposed = features.T if isinstance(features, np.ndarray) else features.T.tocsr()
    for start in range(0, len(gram), block_size):
        block: Any = features[start : start + block_size] @ transposed
        gram[start : start + block_size] += weight * (block if isinstance(block, np.ndarray) else block.toarray())


def ridge_inverse(gram: NDArray[np.float64], regularization: float) -> NDArray[np.float64]:
    r"""Inverts :math:`\mathbf{G} + \lambda\mathbf{I}` by Cholesky, in place: ``gram`` itself becomes the inverse.

    Args:
        gram: A symmetric, positive semi-definite matrix ``(n, n)``, float64 and C-contiguous; overwritten.
        regularization: :math:`\lambda > 0`.

    Raises:
        ValueError: If the matrix is unsuitable or not positive definite.
    """
    square = gram.ndim == 2 and gram.shape[0] == gram.shape[1]
    if not (square and gram.dtype == np.float64 and gram.flags.c_contiguous):
        raise ValueError(f"expected a C-contiguous square float64 matrix, got {gram.dtype} of shape {gram.shape}")
    if not regularization > 0:
        raise ValueError(f"expected regularization > 0, got {regularization}")
    gram[np.diag_indices_from(gram)] += regularization
    for routine, options in ((lapack.dpotrf, {"clean": 0, "overwrite_a": 1}), (lapack.dpotri, {"overwrite_c": 1})):
        _, info = routine(gram.T, lower=1, **options)  # the transpose is Fortran-ordered, so LAPACK works in place
        if info != 0:
            raise ValueError(
                f"expected a positive definite matrix, got none (LAPACK info {info}) at regularization="
                f"{regularization}; raise the regularization, and look for NaN in the features"
            )
    _mirror(gram)
    return gram


def ease_weights(gram: NDArray[np.float64], regularization: float) -> NDArray[np.float32]:
    r"""Solves EASE: the item–item weights that best reproduce interactions, none of an item on itself.

    From `"Embarrassingly Shallow Autoencoders for Sparse Data" <https://arxiv.org/abs/1905.03375>`_:

    .. math:: \min_\mathbf{B} \|\mathbf{X} - \mathbf{XB}\|^2 + \lambda\|\mathbf{B}\|^2, \; \mathrm{diag}(\mathbf{B})
        = 0; \quad \mathbf{B} = \mathbf{I} - \mathbf{P}\,\mathrm{diag}(\mathbf{P})^{-1}, \;
        \mathbf{P} = (\mathbf{X}^\top\mathbf{X} + \lambda\mathbf{I})^{-1}

    Args:
        gram: :math:`\mathbf{X}^\top\mathbf{X}`, as ``gram_matrix`` makes it; its memory is used and its values are
            lost.
        regularization: :math:`\lambda > 0`.

    Returns:
        :math:`\mathbf{B}` ``(n, n)``; row = the item seen, column = the item scored.

    Raises:
        ValueError: If the matrix is unsuitable or not positive definite.
    """
    inverse = ridge_inverse(gram, regularization)
    weights = np.empty(gram.shape, np.float32)
    np.divide(inverse, -inverse.diagonal(), out=weights, casting="same_kind")
    np.fill_diagonal(weights, 0.0)
    return weights


def filter_weights(matrix: sp.csr_array) -> NDArray[np.float32]:
    r"""Returns the linear filter of GF-CF: two steps over the normalised interactions, from item to user to item.

    From `"How Powerful is Graph Convolution for Recommendation?" <https://arxiv.org/abs/2108.07567>`_:
    :math:`\mathbf{D}_I^{-1/2}\mathbf{X}^\top\mathbf{D}_U^{-1}\mathbf{X}\mathbf{D}_I^{-1/2}`, which is what LightGCN
    propagates, of items that have no embedding but themselves. Differs from the paper: its diagonal is zero.

    Args:
        matrix: Interactions ``(num_users, num_items)``; every entry that is not zero counts as one.

    Returns:
        The weights ``(num_items, num_items)``, symmetric.
    """
    seen = _binary(sp.csr_array(matrix)).astype(np.float64)
    users, items = (1 / np.sqrt(np.maximum(seen.sum(axis=axis), 1)) for axis in (1, 0))
    weights = gram_matrix((sp.diags_array(users) @ seen @ sp.diags_array(items)).T.tocsr()).astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return weights


def ease_neighbors(
    matrix: sp.csr_array, k: int, *, regularization: float, target: Target = "item"
) -> tuple[Tensor, Tensor]:
    """Connects every item to the ``k`` items with the largest positive EASE weights on it; or every user.

    Args:
        matrix: Interactions ``(num_users, num_items)``; every entry that is not zero counts as one.
        k: Neighbours at most; there are fewer where fewer weights are positive. Ties go to the lowest row.
        regularization: The L2 weight of EASE.
        target: What is connected.

    Returns:
        ``edge_index (2, num_edges)``, neighbour to node, ordered by node, then by falling weight; and the weights
        ``(num_edges,)``.

    Raises:
        ValueError: If an argument is out of range.
        MemoryError: If the dense solution does not fit.
    """
    seen = _oriented(matrix, target)
    if not 1 <= k <= seen.shape[0]:
        raise ValueError(f"expected 1 <= k <= {seen.shape[0]}, the number of {target}s, got {k}")
    check_memory(seen.shape[0])
    weights = torch.from_numpy(ease_weights(gram_matrix(seen), regularization))
    size = max(1, BLOCK_ENTRIES // len(weights))
    chosen = [largest(block.T.contiguous(), k) for block in weights.split(size, dim=1)]
    neighbor, weight = (torch.cat(parts).flatten() for parts in zip(*chosen, strict=True))
    node = torch.arange(len(weights)).repeat_interleave(k)
    return torch.stack([neighbor, node])[:, weight > 0], weight[weight > 0]


NO_MATRIX = "use a model without a dense item–item matrix, such as item-knn or lightgcn, or fewer items"


def check_memory(n: int, *, bytes_per_entry: int = 14, name: str = "EASE", advice: str = NO_MATRIX) -> None:
    """Checks that a dense ``(n, n)`` closed form fits into memory, before any work is done.

    Args:
        n: Rows of the matrix.
        bytes_per_entry: What the solution holds at its peak: float64 and float32 matrices and blocks of them.
        name: What needs it, for the error.
        advice: What to do, for the error.

    Raises:
        MemoryError: If less is available.
    """
    needed, available = n * n * bytes_per_entry, available_memory()
    if available is not None and needed > available:
        raise MemoryError(
            f"{name} over {n} rows needs {needed / GIB:.1f} GiB of memory, got {available / GIB:.1f} GiB; {advice}"
        )


def available_memory() -> int | None:
    """Returns the bytes of memory this process may still take, or ``None`` where the system does not tell."""
    limits = [_from_meminfo() or _from_sysconf(), _from_cgroup()]
    return min((limit for limit in limits if limit is not None), default=None)


def _from_meminfo() -> int | None:
    path = Path("/proc/meminfo")
    fields = dict(line.split(":", 1) for line in path.read_text().splitlines()) if path.is_file() else {}
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def _from_sysconf() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _from_cgroup() -> int | None:
    path = Path("/sys/fs/cgroup/memory.max")
    limit = path.read_text().strip() if path.is_file() else ""
    return int(limit) if limit.isdigit() else None


def _binary(matrix: sp.csr_array) -> sp.csr_array:
    seen = matrix.astype(np.float32)
    seen.eliminate_zeros()
    seen.data[:] = 1.0
    return seen


def _oriented(matrix: sp.csr_array, target: Target) -> sp.csr_array:
    if target not in ("item", "user"):
        raise ValueError(f"expected target='item' or 'user', got {target!r}")
    seen = _binary(sp.csr_array(matrix))
    return seen if target == "user" else seen.T.tocsr()


def _bounded_blocks(seen: sp.csr_array) -> Iterator[slice]:
    """Yields row ranges whose products with all rows have at most ``BLOCK_ENTRIES`` entries (one row may have more)."""
    width = np.minimum(seen @ seen.sum(axis=0), seen.shape[0])  # at most so many entries in a row of the product
    total, start = np.concatenate([[0], np.cumsum(width, dtype=np.float64)]), 0
    while start < len(width):
        stop = int(np.searchsorted(total, total[start] + BLOCK_ENTRIES, side="right")) - 1
        yield slice(start, max(stop, start + 1))
        start = max(stop, start + 1)


def _block_edges(
    shared: sp.coo_array, start: int, degree: NDArray[np.float64], k: int, normalization: str, shrinkage: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    node, neighbor = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
    other = node != neighbor
    node, neighbor, count = node[other], neighbor[other], shared.data[other].astype(np.float64)
    weight = _normalized(count, degree[node], degree[neighbor], normalization) * (count / (count + shrinkage))
    weight = weight.astype(np.float32)  # before they are compared: rounding must not break ties
    order = np.lexsort((neighbor, -weight, node))
    node, neighbor, weight = node[order], neighbor[order], weight[order]
    first = np.searchsorted(node, node)  # where the list of every node begins
    kept = np.arange(len(node)) - first < k
    return neighbor[kept], node[kept], weight[kept]


def _normalized(count: NDArray[Any], left: NDArray[Any], right: NDArray[Any], normalization: str) -> NDArray[Any]:
    if normalization == "count":
        return count
    if normalization == "cosine":
        return count / np.sqrt(left * right)
    return count / (left + right - count)


def _mirror(matrix: NDArray[np.float64], block_size: int = 512) -> None:
    """Copies the upper triangle of a C-ordered matrix onto the lower one, in blocks."""
    for start in range(0, len(matrix), block_size):
        stop = start + block_size
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
        square = matrix[start:stop, start:stop]
        square[:] = np.triu(square) + np.triu(square, 1).T
