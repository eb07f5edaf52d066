"""Item vectors laid out on a plane: UMAP where it is installed, else PCA, and how far to believe it."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_geometric.data import HeteroData

from graphrec.graph.neighbors import flagged_nodes, item_modalities

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FEWEST, MOST = 5, 2000  # items on a map
FEW = 50  # below, UMAP has too little to go by
NEAREST = 10


@dataclass(frozen=True, eq=False)
class Projection:
    """Items on a plane.

    Args:
        name: What their vectors are, a modality or a model.
        method: ``UMAP`` or ``PCA``.
        rows: The item rows ``(n,)``.
        points: Where they lie ``(n, 2)``, within 0 and 1.
        kept: The mean share of an item's nearest items by vectors that are among its nearest on the plane.
    """

    name: str
    method: str
    rows: IntArray = field(repr=False)
    points: FloatArray = field(repr=False)
    kept: float


def projection(name: str, rows: IntArray, vectors: FloatArray, *, seed: int = 0) -> Projection | None:
    """Lays out items by their vectors, scaled to length 1, so that near means a large cosine.

    `"UMAP: Uniform Manifold Approximation and Projection" <https://arxiv.org/abs/1802.03426>`_ keeps neighbourhoods,
    PCA distances along the two directions of largest variance.

    Args:
        name: What the vectors are.
        rows: The item rows ``(n,)``.
        vectors: Their vectors ``(n, dim)``; items whose vector is zero are left out.
        seed: The source of all randomness.

    Returns:
        The items on a plane; ``None`` for fewer than ``FEWEST`` items or two dimensions.
    """
    length = np.linalg.norm(vectors, axis=1)
    there = length > 0
    rows, unit = rows[there], vectors[there] / length[there, None]
    if len(rows) < FEWEST or unit.shape[1] < 2:
        return None
    method = "UMAP" if len(rows) >= FEW and importlib.util.find_spec("umap") is not None else "PCA"
    points = _umap(unit, seed) if method == "UMAP" else _pca(unit, seed)
    return Projection(name, method, rows, _within_one(points), neighbours_kept(unit, points))


def modality_vectors(graph: HeteroData, modality: str, rows: IntArray) -> tuple[IntArray, FloatArray]:
    """Returns those of the item rows that have a vector of a modality, and the vectors; imputed ones are left out."""
    own = ~flagged_nodes(graph, modality).cpu().numpy()
    item = graph[modality].item_id.cpu().numpy()
    node = np.flatnonzero(own & np.isin(item, rows))
    return item[node].astype(np.int64), graph[modality].x.detach().cpu().numpy()[node].astype(np.float64)


def with_vectors(graph: HeteroData) -> tuple[str, ...]:
    """Returns the item modalities that have vectors."""
    return tuple(name for name in item_modalities(graph) if "x" in graph[name])


def neighbours_kept(vectors: FloatArray, points: FloatArray, k: int = NEAREST) -> float:
    """Returns the mean share of each row's ``k`` nearest rows by vectors that are among its ``k`` nearest by points."""
    k = min(k, len(vectors) - 1)
    true, shown = (_nearest(values, k) for values in (vectors, points))
    return float(np.mean([len(np.intersect1d(first, second)) / k for first, second in zip(true, shown, strict=True)]))


def _nearest(values: FloatArray, k: int) -> IntArray:
    from sklearn.neighbors import NearestNeighbors

    return np.asarray(NearestNeighbors(n_neighbors=k).fit(values).kneighbors(return_distance=False))


def _umap(vectors: FloatArray, seed: int) -> FloatArray:
    from sklearn.metrics import pairwise_distances
    from umap import UMAP

    apart = pairwise_distances(vectors).astype(np.float32)  # umap computes them one pair at a time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a seed costs it its threads, which it says every time
        layout: Any = UMAP(n_neighbors=15, min_dist=0.1, metric="precomputed", random_state=seed, n_jobs=1)
        return np.asarray(layout.fit_transform(apart), dtype=np.float64)


def _pca(vectors: FloatArray, seed: int) -> FloatArray:
    from sklearn.decomposition import PCA

    return np.asarray(PCA(n_components=2, random_state=seed).fit_transform(vectors), dtype=np.float64)


def _within_one(points: FloatArray) -> FloatArray:
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    return (points - low) / np.where(span > 0, span, 1.0)
