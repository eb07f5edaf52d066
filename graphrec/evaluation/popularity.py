"""How popular recommended items are: per-user measures from lists and the training interactions alone.

``items`` are the recommended item rows ``(num_users, k)``, -1 for none; ``degree`` are the training interactions of
every item ``(num_items,)``. Every function returns one float64 value per user, NaN for a user of whom it says nothing:
one without a recommendation or, where the profile counts, one without training interactions.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Rows = NDArray[np.integer]

HEAD, MID, TAIL = 0, 1, 2
HEAD_SHARE, TAIL_SHARE = 0.2, 0.2
SMOOTHING = 0.01  # Steck's alpha


def popularity_groups(degree: IntArray, *, head: float = HEAD_SHARE, tail: float = TAIL_SHARE) -> IntArray:
    """Splits the items into head, mid and tail by the share of training interactions that they make up.

    The head are the most popular items that take up about 20 % of the interactions, the tail the least popular ones
    that take up about 20 %, the rest is in between (Abdollahpouri et al. 2021, https://arxiv.org/abs/2103.06364). So
    the tail is what lies outside the items that make up 80 %: the long tail of Abdollahpouri, Burke & Mobasher (2017,
    https://doi.org/10.1145/3109859.3109912). Items are ordered by falling degree, equal ones by row; a group begins
    once the interactions before it reach the share. Items without an interaction are in the tail.

    >>> popularity_groups(np.array([2, 5, 1, 0, 2])).tolist()  # 5 of 10, then 2 + 2, then 1 + 0
    [1, 0, 2, 2, 1]

    Args:
        degree: Training interactions of every item ``(num_items,)``.
        head: The share of the head.
        tail: The share of the tail.

    Returns:
        0 for head, 1 for mid, 2 for tail ``(num_items,)``.

    Raises:
        ValueError: If the shares are negative or make up more than everything.
    """
    if head < 0 or tail < 0 or head + tail > 1:
        raise ValueError(f"expected shares head + tail <= 1, none negative, got {head} and {tail}")
    order = np.argsort(-degree, kind="stable")
    before = np.cumsum(degree[order]) - degree[order]
    total = degree.sum()
    groups = np.empty(len(degree), np.int64)
    groups[order] = np.where(before < head * total, HEAD, np.where(before < (1 - tail) * total, MID, TAIL))
    return np.where(degree > 0, groups, TAIL)


def self_information(degree: IntArray, num_users: int) -> FloatArray:
    """Returns the self-information of every item in bits, ``-log2(degree / num_users)`` ``(num_items,)``.

    Zhou et al. 2010 (https://doi.org/10.1073/pnas.1000488107). An item without a training interaction would be
    infinitely surprising; it gets what one interaction gives, ``log2(num_users)``, the least that can be said.

    Args:
        degree: Training interactions of every item.
        num_users: Users with training interactions.
    """
    return np.asarray(-np.log2(np.clip(degree, 1, None) / max(num_users, 1)), dtype=np.float64)


def novelty(items: Rows, degree: IntArray, num_users: int) -> FloatArray:
    """Returns the mean self-information of the recommended items, in bits.

    ``Novelty = mean_i -log2 p(i)``, ``p(i)`` the share of users with item ``i`` in training (Zhou et al. 2010,
    https://doi.org/10.1073/pnas.1000488107; Vargas & Castells 2011, https://doi.org/10.1145/2043932.2043955). In
    [0, log2 num_users]; more is more novel. Cold items count as if one user had them.

    >>> novelty(np.array([[0, 1], [2, -1]]), np.array([8, 2, 0]), 8).tolist()
    [1.0, 3.0]

    Args:
        items: Recommended item rows ``(num_users, k)``.
        degree: Training interactions of every item.
        num_users: Users with training interactions.
    """
    return mean_over(items, self_information(degree, num_users))


def average_popularity(items: Rows, degree: IntArray) -> FloatArray:
    """Returns the mean training interactions of the recommended items (ARP).

    Yin et al. 2012 (https://doi.org/10.14778/2311906.2311916). In [0, max degree]; less is less popularity bias.

    >>> average_popularity(np.array([[0, 1], [2, -1]]), np.array([8, 2, 0])).tolist()
    [5.0, 0.0]

    Args:
        items: Recommended item rows ``(num_users, k)``.
        degree: Training interactions of every item.
    """
    return mean_over(items, degree.astype(np.float64))


def popularity_lift(items: Rows, profiles: sp.csr_array, degree: IntArray) -> FloatArray:
    """Returns how much more popular the recommended items are than those of the user's profile.

    ``PL = (mean degree of the list - mean degree of the profile) / mean degree of the profile`` (Abdollahpouri et al.
    2019, https://arxiv.org/abs/1907.13286, and 2020, https://doi.org/10.1145/3383313.3418487). From -1 upwards; 0 is
    best: neither more nor less popular than what the user likes. Differs from the papers: they take both means over a
    group of users first; here every user has a value, and a mean of them weighs everyone's relative change alike.

    >>> profiles = sp.csr_array(np.array([[0, 1, 0], [0, 0, 0]]))
    >>> popularity_lift(np.array([[0, 1], [0, -1]]), profiles, np.array([4, 2, 1])).tolist()
    [0.5, nan]

    Args:
        items: Recommended item rows ``(num_users, k)``.
        profiles: Training interactions of the same users ``(num_users, num_items)``, ones.
        degree: Training interactions of every item.
    """
    size = np.diff(profiles.indptr)
    mean = np.divide(profiles @ degree.astype(np.float64), size, out=np.full(len(size), np.nan), where=size > 0)
    return average_popularity(items, degree) / mean - 1


def long_tail_share(items: Rows, groups: IntArray) -> FloatArray:
    """Returns the share of the recommended items that is in the long tail.

    The average percentage of long-tail items of Abdollahpouri, Burke & Mobasher (2019,
    https://arxiv.org/abs/1901.07555); the tail is what is outside the most popular items that make up 80 % of the
    training interactions, see ``popularity_groups``. In [0, 1]; more is more of the tail.

    >>> long_tail_share(np.array([[0, 1], [2, -1]]), np.array([0, 2, 2])).tolist()
    [0.5, 1.0]

    Args:
        items: Recommended item rows ``(num_users, k)``.
        groups: The popularity group of every item, as ``popularity_groups`` gives it.
    """
    return mean_over(items, (groups == TAIL).astype(np.float64))


def miscalibration(items: Rows, profiles: sp.csr_array, groups: IntArray, *, alpha: float = SMOOTHING) -> FloatArray:
    """Returns how far the groups of the recommended items are from those of the user's profile.

    Steck 2018 (https://doi.org/10.1145/3240323.3240372): the Kullback–Leibler divergence
    ``sum_g p(g) ln(p(g) / q'(g))`` with ``q' = (1 - alpha) q + alpha p``, ``p`` the shares of the groups among the
    training items of the user and ``q`` those among the recommended ones, all items weighing the same. In
    [0, -ln alpha] nats; 0 is best: the list holds what the profile holds, in the same shares. Items of no group are
    left out; a user who has no item of any group on one of the sides has no value.

    >>> profiles = sp.csr_array(np.array([[1, 1, 0, 0], [1, 1, 0, 0]]))
    >>> miscalibration(np.array([[2, 3], [2, -1]]), profiles, np.array([0, 1, 0, 1])).round(3).tolist()
    [0.0, 1.959]

    Args:
        items: Recommended item rows ``(num_users, k)``.
        profiles: Training interactions of the same users ``(num_users, num_items)``, ones.
        groups: The group of every item from 0 upwards, -1 for none: head, mid and tail, or any categorical column.
        alpha: How much of the profile is mixed in, so that the divergence is finite.
    """
    member = _membership(groups)
    wanted, given = _shares(profiles @ member), _shares(recommended(items, len(groups)) @ member)
    mixed = (1 - alpha) * given + alpha * wanted
    ratio = np.divide(wanted, mixed, out=np.ones_like(wanted), where=wanted > 0)
    return np.where(np.isnan(mixed).any(axis=1), np.nan, (wanted * np.log(ratio)).sum(axis=1))


def mean_over(items: Rows, values: FloatArray) -> FloatArray:
    """Returns the mean of an item's value over the recommended items ``(num_users,)``; NaN without any."""
    present = items >= 0
    count = present.sum(axis=1)
    total = np.where(present, values[items], 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(items), np.nan), where=count > 0)


def recommended(items: Rows, num_items: int) -> sp.csr_array:
    """Returns the lists as a matrix ``(num_users, num_items)`` of ones."""
    present = items >= 0
    bounds = np.concatenate([[0], present.sum(axis=1).cumsum()])
    return sp.csr_array((np.ones(bounds[-1], np.float32), items[present], bounds), shape=(len(items), num_items))


def _membership(groups: IntArray) -> sp.csr_array:
    """Returns a matrix ``(num_items, num_groups)`` with a one where an item is in a group."""
    inside = np.flatnonzero(groups >= 0)
    shape = (len(groups), int(groups.max(initial=0)) + 1)
    return sp.coo_array((np.ones(len(inside)), (inside, groups[inside])), shape=shape).tocsr()


def _shares(counts: sp.csr_array) -> FloatArray:
    dense = counts.toarray().astype(np.float64)
    total = dense.sum(axis=1, keepdims=True)
    return np.divide(dense, total, out=np.full_like(dense, np.nan), where=total > 0)
