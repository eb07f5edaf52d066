"""Slow versions of the measures beyond accuracy, of one user's list at a time, from sets and dictionaries."""

import math
from itertools import combinations

import numpy as np

NAN = float("nan")


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else NAN


def group_of(item, degree, head=0.2, tail=0.2):
    """0 for head, 1 for mid, 2 for tail: by the interactions of the items before this one, most popular first."""
    before = sum(
        count for other, count in enumerate(degree) if count > degree[item] or (count == degree[item] and other < item)
    )
    if degree[item] == 0 or before >= (1 - tail) * sum(degree):
        return 2
    return 0 if before < head * sum(degree) else 1


def novelty(ranked, degree, num_users):
    return mean(-math.log2(max(degree[item], 1) / num_users) for item in ranked)


def popularity_lift(ranked, profile, degree):
    liked = mean(degree[item] for item in profile)
    return (mean(degree[item] for item in ranked) - liked) / liked if profile and ranked else NAN


def miscalibration(ranked, profile, groups, alpha=0.01):
    """``groups`` is the group of every item, None for none."""
    sides = [[groups[item] for item in side if groups[item] is not None] for side in (profile, ranked)]
    if not all(sides):
        return NAN
    total = 0.0
    for group in set(sides[0]):
        wanted, given = (side.count(group) / len(side) for side in sides)
        total += wanted * math.log(wanted / ((1 - alpha) * given + alpha * wanted))
    return total


def cosine(one, other):
    return float(one @ other) / math.sqrt(float(one @ one) * float(other @ other))


def diversity(ranked, vectors):
    """``vectors`` maps items to vectors; those that are missing or zero are left out."""
    known = [np.asarray(vectors[item], np.float64) for item in ranked if item in vectors and np.any(vectors[item])]
    return mean(1 - cosine(one, other) for one, other in combinations(known, 2))


def serendipity(ranked, profile, held_out, degree, k):
    order = sorted(range(len(degree)), key=lambda item: (-degree[item], item))
    primitive = [item for item in order if item not in profile][:k]
    return len([item for item in ranked if item in held_out and item not in primitive]) / k


def gap(values, groups, smallest):
    """``values`` and ``groups`` map users."""
    members = {}
    for user, value in values.items():
        members.setdefault(groups[user], []).append(value)
    means = [mean(found) for found in members.values() if len(found) >= smallest]
    return max(means) - min(means) if len(means) > 1 else NAN
