"""How often every item is recommended, what that says of the whole catalogue, and gaps between groups of users."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from graphrec.data.interactions import gini

__all__ = [
    "coverage",
    "entropy",
    "exposure",
    "exposure_shares",
    "fairness_gap",
    "gap_p_value",
    "gini",
    "group_means",
]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Rows = NDArray[np.integer]
SMALLEST_GROUP = 30  # users; the mean of fewer is mostly chance, and a gap takes the extremes


def exposure(items: Rows, num_items: int) -> IntArray:
    """Returns in how many lists every item is ``(num_items,)``.

    >>> exposure(np.array([[0, 2], [2, -1]]), 4).tolist()
    [1, 0, 2, 0]

    Args:
        items: Recommended item rows ``(num_users, k)``, -1 for none.
        num_items: The size of the catalogue.
    """
    return np.bincount(items[items >= 0], minlength=num_items).astype(np.int64)


def coverage(counts: ArrayLike) -> float:
    """Returns the share of the catalogue that is in at least one list; in [0, 1], more is better.

    Herlocker et al. 2004 (https://doi.org/10.1145/963770.963772); Ge et al. 2010
    (https://doi.org/10.1145/1864708.1864761). The catalogue includes items that training never saw.

    >>> coverage([1, 0, 2, 0])
    0.5

    Args:
        counts: Exposure of every item ``(num_items,)``.
    """
    return float((np.asarray(counts) > 0).mean())


def entropy(counts: ArrayLike) -> float:
    """Returns the Shannon entropy of the exposure in bits, ``-sum_i q_i log2 q_i``, ``q_i`` the share of item ``i``.

    Adomavicius & Kwon 2012 (https://doi.org/10.1109/TKDE.2011.15) use it for aggregate diversity. In
    [0, log2 num_items]; more is more equal and better; NaN without any exposure.

    >>> entropy([2, 2, 2, 2]), entropy([4, 0, 0, 0])
    (2.0, 0.0)

    Args:
        counts: Exposure of every item ``(num_items,)``.
    """
    shown = np.asarray(counts, dtype=np.float64)
    shown = shown[shown > 0] / max(shown.sum(), 1.0)
    return float(abs(-(shown @ np.log2(shown)))) if len(shown) else float("nan")


def exposure_shares(counts: ArrayLike, degree: IntArray, slices: Mapping[str, NDArray[np.bool_]]) -> pd.DataFrame:
    """Returns how much of the exposure groups of items get, beside how much of the interactions is theirs.

    Exposure in proportion to merit, here to the training interactions, is what Singh & Joachims 2018
    (https://doi.org/10.1145/3219819.3220088) call fair; a model that shows more of the head than the head's share of
    interactions amplifies popularity.

    >>> head = {"head": np.array([True, False]), "tail": np.array([False, True])}
    >>> exposure_shares([9, 1], np.array([6, 4]), head)["exposure"].to_dict()
    {'head': 0.9, 'tail': 0.1}

    Args:
        counts: Exposure of every item ``(num_items,)``.
        degree: Training interactions of every item ``(num_items,)``.
        slices: The items of every group, as ``item_slices`` gives them.

    Returns:
        A row per group: ``num_items``, and the shares ``items``, ``interactions`` and ``exposure``; NaN of nothing.
    """
    shown = np.asarray(counts, dtype=np.float64)
    parts = {"items": np.ones(len(shown)), "interactions": degree.astype(np.float64), "exposure": shown}
    rows = {
        name: {"num_items": int(mask.sum())} | {part: _share(values, mask) for part, values in parts.items()}
        for name, mask in slices.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("slice")


def group_means(values: pd.Series, groups: ArrayLike) -> pd.DataFrame:
    """Returns the mean of a metric per group of users.

    Args:
        values: One value per user ``(num_users,)``; NaN for none.
        groups: The group of every user, in that order ``(num_users,)``; None or NaN for none.

    Returns:
        A row per group with a value: ``mean`` and ``num_users``.

    Raises:
        ValueError: If there is not one group per value.
    """
    labels = np.asarray(groups)
    if labels.shape != values.shape:
        raise ValueError(f"expected one group per user {values.shape}, got {labels.shape}")
    kept = values.notna().to_numpy() & ~pd.isna(labels)
    found = pd.DataFrame({"group": labels[kept], "value": values.to_numpy()[kept]}).groupby("group")["value"]
    return pd.DataFrame({"mean": found.mean(), "num_users": found.size()})


def fairness_gap(values: pd.Series, groups: ArrayLike, *, smallest: int = SMALLEST_GROUP) -> float:
    """Returns the largest minus the smallest group mean of a metric.

    Li et al. 2021 (https://doi.org/10.1145/3442381.3449866) for two groups; groups of Ekstrand et al. 2018
    (https://proceedings.mlr.press/v81/ekstrand18b.html). In the unit of the metric, from 0 upwards, less is fairer.
    Means of users vary, so the gap is above 0 even where no group is treated otherwise: see ``gap_p_value``.

    >>> values = pd.Series([0.5, 0.7, 0.1, 0.2])
    >>> round(fairness_gap(values, ["a", "a", "b", "b"], smallest=1), 6)
    0.45

    Args:
        values: One value per user ``(num_users,)``.
        groups: The group of every user ``(num_users,)``.
        smallest: Groups of fewer users are left out; NaN if fewer than two groups stay.

    Raises:
        ValueError: If there is not one group per value.
    """
    found = group_means(values, groups)
    means = found["mean"][found["num_users"] >= smallest]
    return float(means.max() - means.min()) if len(means) > 1 else float("nan")


def gap_p_value(
    values: pd.Series, groups: ArrayLike, *, smallest: int = SMALLEST_GROUP, rounds: int = 999, seed: int = 0
) -> float:
    """Returns how often groups drawn at random, of the same sizes, have at least that gap: a permutation test.

    Args:
        values: One value per user ``(num_users,)``.
        groups: The group of every user ``(num_users,)``.
        smallest: Groups of fewer users are left out.
        rounds: How often the groups are drawn.
        seed: Seed of the draws.

    Returns:
        A p-value, at least ``1 / (rounds + 1)``; NaN where there is no gap to test.

    Raises:
        ValueError: If there is not one group per value, or ``rounds`` is below 1.
    """
    if rounds < 1:
        raise ValueError(f"expected rounds >= 1, got {rounds}")
    observed = fairness_gap(values, groups, smallest=smallest)
    if np.isnan(observed):
        return observed
    found = group_means(values, groups)
    large = found.index[found["num_users"] >= smallest]
    codes = large.get_indexer(pd.Index(np.asarray(groups)))
    kept = (codes >= 0) & values.notna().to_numpy()
    codes, present = codes[kept], values.to_numpy()[kept]
    sizes, rng, reached = np.bincount(codes), np.random.default_rng(seed), 0
    for _ in range(rounds):
        means = np.bincount(rng.permutation(codes), weights=present) / sizes
        reached += bool(means.max() - means.min() >= observed * (1 - 1e-12))
    return (reached + 1) / (rounds + 1)


def _share(values: FloatArray, mask: NDArray[np.bool_]) -> float:
    total = values.sum()
    return float(values[mask].sum() / total) if total else float("nan")
