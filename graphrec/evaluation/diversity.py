"""How different the items of a list are from each other, and how surprising its hits: one value per user."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphrec.evaluation.popularity import recommended
from graphrec.features.table import FeatureTable

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Rows = NDArray[np.integer]
BLOCK_CELLS = 1 << 22  # entries of summed vectors held at once: 16 MiB of float32


def feature_diversity(items: Rows, table: FeatureTable) -> FloatArray:
    """Returns the intra-list diversity by the vectors of a modality.

    ``ILD = mean_{i < j} (1 - cos(x_i, x_j))`` over the pairs of a list (Smyth & McClave 2001,
    https://doi.org/10.1007/3-540-44593-5_25; Ziegler et al. 2005, https://doi.org/10.1145/1060745.1060754). In [0, 2];
    more is more diverse. Pairs with an item that lacks the modality, or whose vector is zero, are left out; a list
    without a pair has no value (NaN). Where a modality has given neighbours but no vectors there are no distances
    between all pairs, so the measure does not exist for it.

    With unit vectors of sum ``s``, the pairs need not be visited: ``sum_{i != j} cos = |s|^2 - sum_i |x_i|^2``.

    Args:
        items: Recommended item rows ``(num_users, k)``, -1 for none.
        table: The vectors; those of all items with the modality are normalised at once, sums are made in blocks.
    """
    norm = np.sqrt(_squares(table.values))
    unit = table.values / np.where(norm > 0, norm, 1.0)[:, None].astype(np.float32)
    here = np.zeros(len(table.ids), np.float64)
    here[table.rows] = norm > 0
    chosen = recommended(items, len(table.ids))
    among = chosen[:, table.rows]
    squared = np.concatenate([_squares(among[rows] @ unit) for rows in _blocks(len(items), table.dim)])
    return _mean_distance(squared - among @ _squares(unit), chosen @ here)


def behavior_diversity(items: Rows, train: sp.csr_array) -> FloatArray:
    """Returns the intra-list diversity by behaviour: items are as alike as the users who have them.

    ``feature_diversity`` with the training users of an item as its vector, ``cos = common / sqrt(d_i d_j)``; in
    [0, 1], more is more diverse. Pairs with a cold item, of which no user is known, are left out. The work grows with
    the degrees of all recommended items together.

    >>> train = sp.csr_array(np.array([[1, 1, 0, 0], [1, 1, 1, 0]]))
    >>> behavior_diversity(np.array([[0, 1, 3], [0, 2, -1], [3, 0, -1]]), train).round(6).tolist()
    [0.0, 0.292893, nan]

    Args:
        items: Recommended item rows ``(num_users, k)``, -1 for none.
        train: The training interactions ``(all users, num_items)``, ones.
    """
    degree = np.asarray(train.sum(axis=0), dtype=np.float64)
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    unit = sp.csr_array(train.T.astype(np.float64).multiply(scale[:, None]))
    chosen = recommended(items, len(degree))
    width = max(1, int((chosen @ degree).max(initial=1)))  # entries that a sum may have
    squared = np.concatenate([_squares(chosen[rows] @ unit) for rows in _blocks(len(items), width)])
    count = chosen @ (degree > 0).astype(np.float64)
    return _mean_distance(squared - count, count)


def serendipity(items: Rows, hits: BoolArray, profiles: sp.csr_array, popularity: Rows) -> FloatArray:
    """Returns the share of a list that is relevant and that popularity alone would not have brought.

    ``|(R minus PM) and relevant| / k``: ``R`` are the ``k`` recommended items, ``PM`` those of a primitive model,
    relevant are the held-out items (Ge, Delgado-Battenfeld & Jannach 2010, https://doi.org/10.1145/1864708.1864761,
    after Murakami et al. 2008, https://doi.org/10.1007/978-3-540-78197-4_5). The primitive model recommends the ``k``
    most popular items that the user does not have in training; ties go to the lowest row. In [0, Precision@k]; more is
    better; a list shorter than ``k`` is still divided by ``k``.

    >>> profiles = sp.csr_array(np.array([[1, 0, 0, 0], [0, 0, 0, 0]]))  # primitive: items 1, 2 and items 0, 1
    >>> hits = np.array([[True, True], [False, True]])
    >>> serendipity(np.array([[3, 1], [3, 2]]), hits, profiles, np.array([9, 5, 2, 1])).tolist()
    [0.5, 0.5]

    Args:
        items: Recommended item rows ``(num_users, k)``, -1 for none.
        hits: Which of them are held-out items of the user, of that shape.
        profiles: Training interactions of the same users ``(num_users, num_items)``, ones.
        popularity: Training interactions of every item ``(num_items,)``.
    """
    num_items, k = len(popularity), items.shape[1]
    position = np.empty(num_items, np.int64)
    position[np.argsort(-popularity, kind="stable")] = np.arange(num_items)
    user, rank = np.nonzero(hits)
    place = position[items[user, rank]]
    owner = np.repeat(np.arange(len(items)), np.diff(profiles.indptr))
    owned = np.sort(owner * num_items + position[profiles.indices])  # by user, then by popularity
    more_popular = np.searchsorted(owned, user * num_items + place) - profiles.indptr[user]  # that the user has
    unexpected = place - more_popular >= k
    return np.bincount(user[unexpected], minlength=len(items)) / k


def _squares(sums: NDArray[np.float32] | sp.csr_array) -> FloatArray:
    """Returns the squared length of every row."""
    if isinstance(sums, np.ndarray):
        return np.einsum("nd,nd->n", sums, sums, dtype=np.float64)
    return np.asarray(sums.power(2).sum(axis=1), dtype=np.float64)


def _mean_distance(cosines: FloatArray, count: FloatArray) -> FloatArray:
    """Returns one minus the mean cosine of the ordered pairs; rounding must not make it negative."""
    pairs = count * (count - 1)
    mean = np.divide(cosines, pairs, out=np.full(len(count), np.nan), where=pairs > 0)
    return np.clip(1 - mean, 0.0, None)


def _blocks(rows: int, width: int) -> Iterator[slice]:
    size = max(1, BLOCK_CELLS // width)
    for start in range(0, max(rows, 1), size):
        yield slice(start, start + size)
