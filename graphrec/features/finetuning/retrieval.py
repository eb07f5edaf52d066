"""Whether two modalities find each other: the ranks of an item's own counterpart, and a paired test of two models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

KS = (1, 5, 10)
BLOCK = 1024  # queries whose scores are held at a time


def ranks(
    queries: NDArray[Any], candidates: NDArray[Any], *, same: Sequence[NDArray[Any]] = (), block: int = BLOCK
) -> NDArray[np.int64]:
    """Returns the rank of every query's own candidate by cosine, 1 being the best ``(n,)``.

    The candidate of query ``i`` is row ``i``. All candidates are scored, ``block`` queries at a time; of equal scores
    the lower row comes first. A vector of zeros has the cosine 0 with everything.

    >>> ranks(np.eye(3)[[0, 2, 1]], np.eye(3)).tolist()
    [1, 3, 3]

    Args:
        queries: One vector per item ``(n, dim)``.
        candidates: The counterpart of every item ``(n, dim)``.
        same: Labels ``(n,)``, such as of what is shown or said: two items that share one of them are not told apart,
            so neither counts against the other.
        block: Queries at a time.

    Raises:
        ValueError: If the shapes differ, a number is not finite, or labels are not one per row.
    """
    first, second = _checked(queries, candidates)
    labels = [_labels(values, len(first)) for values in same]
    found = [_block_ranks(first, second, labels, start, block) for start in range(0, len(first), block)]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def retrieval(
    first: NDArray[Any],
    second: NDArray[Any],
    ks: Sequence[int] = KS,
    *,
    same: Sequence[NDArray[Any]] = (),
    block: int = BLOCK,
) -> dict[str, dict[str, float]]:
    """Returns how well the items' vectors of two modalities find each other, by direction.

    ``"forward"`` looks for the second with the first, ``"backward"`` for the first with the second. Each has
    ``recall@k``, the share of items whose own counterpart is among the first k, ``mrr``, the mean of 1/rank, and
    ``median_rank``.

    >>> retrieval(np.eye(2), np.eye(2)[[1, 0]], ks=(1,))["forward"]
    {'recall@1': 0.0, 'mrr': 0.5, 'median_rank': 2.0}

    Args:
        first: One vector per item ``(n, dim)``.
        second: The counterpart of every item ``(n, dim)``.
        ks: The lengths of the lists.
        same: Labels ``(n,)``, as for ``ranks``.
        block: Queries at a time.

    Raises:
        ValueError: As for ``ranks``, or if there are no items.
    """
    return {
        "forward": summary(ranks(first, second, same=same, block=block), ks),
        "backward": summary(ranks(second, first, same=same, block=block), ks),
    }


def summary(found: NDArray[np.int64], ks: Sequence[int] = KS) -> dict[str, float]:
    """Returns recall at every k, the mean reciprocal rank and the median rank of some ranks ``(n,)``.

    Raises:
        ValueError: If there are no ranks.
    """
    if not len(found):
        raise ValueError("expected the ranks of items, got none")
    recall = {f"recall@{k}": float((found <= k).mean()) for k in ks}
    return recall | {"mrr": float((1 / found).mean()), "median_rank": float(np.median(found))}


def compare_ranks(before: NDArray[np.int64], after: NDArray[np.int64]) -> dict[str, float]:
    """Returns how many items rank better, worse and equal, and the two-sided p-value of Wilcoxon's signed-rank test.

    From `"Individual Comparisons by Ranking Methods" <https://doi.org/10.2307/3001968>`_. Items whose rank did not
    change say nothing and are left out of the test; where none changed, ``p_value`` is 1.

    Args:
        before: The rank of every item's counterpart by one model ``(n,)``.
        after: The same items' ranks by another ``(n,)``.

    Raises:
        ValueError: If the shapes differ.
    """
    from scipy.stats import wilcoxon

    before, after = np.asarray(before), np.asarray(after)
    if before.shape != after.shape:
        raise ValueError(f"expected the ranks of the same items, got shapes {before.shape} and {after.shape}")
    moved = before != after
    p_value = float(wilcoxon(before[moved], after[moved]).pvalue) if moved.any() else 1.0
    counts = {"better": int((after < before).sum()), "worse": int((after > before).sum()), "equal": int((~moved).sum())}
    return counts | {"p_value": p_value}


def _checked(queries: NDArray[Any], candidates: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(queries, dtype=np.float64), np.asarray(candidates, dtype=np.float64)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"expected two arrays of the same shape (n, dim), got {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("expected finite vectors, got NaN or infinite numbers")
    return _unit(first), _unit(second)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def _labels(values: NDArray[Any], count: int) -> NDArray[Any]:
    labels = np.asarray(values)
    if labels.shape != (count,):
        raise ValueError(f"expected {count} labels, one per row, got shape {labels.shape}")
    return labels


def _block_ranks(
    first: NDArray[np.float64], second: NDArray[np.float64], labels: list[NDArray[Any]], start: int, block: int
) -> NDArray[np.int64]:
    rows = np.arange(start, min(start + block, len(first)))
    # rounded, since equal vectors get scores that differ in the last bits, by where a block ends
    scores = (first[rows] @ second.T).round(12)
    own = scores[rows - start, rows][:, None]
    columns = np.arange(len(second))
    ahead = (scores > own) | ((scores == own) & (columns < rows[:, None]))
    for label in labels:
        ahead &= label[rows, None] != label
    return 1 + ahead.sum(axis=1, dtype=np.int64)
