"""Everything beyond accuracy from the lists that users were given: novelty, diversity, exposure, fairness.

``beyond_accuracy`` computes all of it; ``MEASURES`` says of every column what it means and which way is better, so that
a table can list them. The definitions stand beside the functions, in ``popularity``, ``diversity`` and ``exposure``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from graphrec.config import unknown_name
from graphrec.data.interactions import Interactions
from graphrec.evaluation import diversity, exposure, popularity
from graphrec.evaluation.lists import Lists
from graphrec.evaluation.ranking import Evaluation
from graphrec.evaluation.slices import degree_labels
from graphrec.features.table import FeatureTable

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Value = TypeVar("Value")
ACCURACY = "ndcg"  # what the gap between groups of users is measured in


@dataclass(frozen=True)
class Measure:
    """What a column means.

    Args:
        label: How its columns begin, before ``-variant`` and ``@k``.
        of: Whether there is a value per user, or one over all items or all groups of users.
        better: Which values are better; ``"zero"`` for those nearest to 0, from both sides.
        unit: The unit, or the range of a share.
        meaning: One sentence for a reader of a table.
    """

    label: str
    of: Literal["user", "items", "groups"]
    better: Literal["higher", "lower", "zero"]
    unit: str
    meaning: str


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        measure.label: measure
        for measure in (
            Measure("Novelty", "user", "higher", "bits", "Mean self-information of the recommended items."),
            Measure("Popularity", "user", "lower", "interactions", "Mean training interactions of recommended items."),
            Measure("PopularityLift", "user", "zero", "relative", "How much more popular lists are than profiles."),
            Measure("LongTail", "user", "higher", "share", "Items outside those with 80 % of the interactions."),
            Measure("Miscalibration", "user", "lower", "nats", "Distance of the list's groups from the profile's."),
            Measure("ILD", "user", "higher", "1 - cosine", "Mean distance between two items of a list."),
            Measure("Serendipity", "user", "higher", "share", "Hits that popularity alone would not have brought."),
            Measure("Coverage", "items", "higher", "share", "Items of the catalogue that are in any list."),
            Measure("Gini", "items", "lower", "0 to 1", "How unequally often the items are recommended."),
            Measure("Entropy", "items", "higher", "bits", "How evenly the recommendations spread over the items."),
            Measure("Gap", "groups", "lower", "NDCG", "Largest minus smallest mean NDCG of a group of users."),
        )
    }
)


@dataclass(frozen=True, eq=False)
class BeyondAccuracy:
    """What lists are like, apart from being right; unrounded.

    Args:
        users: A column per measure such as ``Novelty@20`` or ``ILD-image@20``; the index ``user`` holds the rows of
            the users in the order of the lists. NaN where a measure says nothing of a user.
        items: ``degree`` (training interactions) and the counts ``Exposure@20``; the index ``item`` holds all rows.
        overall: Measures with a single value, such as ``Coverage@20`` and ``Gap-activity@20``.
    """

    users: pd.DataFrame = field(repr=False)
    items: pd.DataFrame = field(repr=False)
    overall: Mapping[str, float]

    def mean(self) -> dict[str, float]:
        """Returns the mean of every measure over the users that have a value, and then the single values."""
        means = {str(name): float(value) for name, value in self.users.mean().items()}
        return {**means, **self.overall}

    def count(self) -> dict[str, int]:
        """Returns how many users have a value, per measure."""
        return {str(name): int(value) for name, value in self.users.count().items()}


def measure_of(column: str) -> Measure:
    """Returns what a column such as ``"ILD-image@20"`` means.

    >>> measure_of("ILD-image@20").better
    'higher'

    Raises:
        ValueError: If there is no such measure.
    """
    label = column.partition("@")[0].partition("-")[0]
    if label not in MEASURES:
        raise ValueError(unknown_name(label, MEASURES, kind="measure"))
    return MEASURES[label]


def beyond_accuracy(
    lists: Lists | Evaluation,
    train: Interactions,
    ks: Sequence[int] = (20,),
    *,
    truth: Interactions | None = None,
    features: Mapping[str, FeatureTable] = MappingProxyType({}),
    item_groups: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    user_groups: Mapping[str, ArrayLike] | None = None,
) -> BeyondAccuracy:
    """Measures lists by everything but their accuracy.

    ``beyond_accuracy(Lists.by_id(run.users("test").index, run.lists("test"), train.users), train, truth=test)``

    Sums of vectors are made in blocks; beside them, one normalised copy of each modality's vectors is held.

    Args:
        lists: The lists of some users, or an evaluation that kept them.
        train: The training interactions: what is popular, what users have, how items behave.
        ks: The cut-offs.
        truth: The held-out interactions; with them, serendipity and the gaps between groups of users are measured.
        features: The vectors of every modality with vectors, by name, over the item rows: ``ILD-<name>``.
        item_groups: Categorical values of every item row, None or NaN for none: ``Miscalibration-<name>``, beside the
            one by popularity.
        user_groups: The group of every user row, by name: ``Gap-<name>``; by default ``activity``, the training
            interactions in the steps of ``degree_labels``.

    Raises:
        ValueError: If a cut-off is beyond the lists, rows are out of range, or values are not one per item or user.
    """
    lists = Lists.of(lists) if isinstance(lists, Evaluation) else lists
    lists.check(train)
    _check_lengths(train, features, item_groups, user_groups or {})
    known = _Known.of(lists, train, item_groups)
    columns: dict[str, FloatArray] = {}
    counts: dict[str, IntArray] = {}
    overall: dict[str, float] = {}
    for k in dict.fromkeys(ks):
        top = lists.top(k)
        columns |= _label(k, known.per_user(top, features))
        counts[f"Exposure@{k}"] = shown = exposure.exposure(top, train.num_items)
        over_items = {"Coverage": exposure.coverage, "Gini": exposure.gini, "Entropy": exposure.entropy}
        overall |= _label(k, {name: function(shown) for name, function in over_items.items()})
        if truth is not None:
            hits = lists.hits(truth)[:, :k]
            columns |= _label(k, {"Serendipity": diversity.serendipity(top, hits, known.profiles, known.degree)})
            groups = {"activity": degree_labels(train.user_degree())} if user_groups is None else user_groups
            overall |= _label(k, _gaps(lists, truth, groups, k))
    return BeyondAccuracy(
        pd.DataFrame(columns, index=pd.Index(lists.users, name="user")),
        pd.DataFrame({"degree": known.degree, **counts}, index=pd.RangeIndex(train.num_items, name="item")),
        overall,
    )


@dataclass(frozen=True, eq=False)
class _Known:
    """What the training interactions say, computed once for all cut-offs."""

    train: sp.csr_array
    profiles: sp.csr_array  # the rows of the users with a list
    degree: IntArray
    num_users: int
    groups: IntArray
    columns: Mapping[str, IntArray]

    @classmethod
    def of(cls, lists: Lists, train: Interactions, item_groups: Mapping[str, Sequence[Any]]) -> _Known:
        matrix = train.csr()
        matrix.sort_indices()
        degree = np.bincount(matrix.indices, minlength=train.num_items).astype(np.int64)
        groups = popularity.popularity_groups(degree)
        given = {name: _codes(values) for name, values in item_groups.items()}
        active = int((np.diff(matrix.indptr) > 0).sum())
        return cls(matrix, matrix[lists.users], degree, active, groups, {"popularity": groups, **given})

    def per_user(self, top: NDArray[np.int32], features: Mapping[str, FeatureTable]) -> dict[str, FloatArray]:
        """Returns every measure of a user that needs no held-out items, without the cut-off in its name."""
        found = {
            "Novelty": popularity.novelty(top, self.degree, self.num_users),
            "Popularity": popularity.average_popularity(top, self.degree),
            "PopularityLift": popularity.popularity_lift(top, self.profiles, self.degree),
            "LongTail": popularity.long_tail_share(top, self.groups),
        }
        for name, codes in self.columns.items():
            found[f"Miscalibration-{name}"] = popularity.miscalibration(top, self.profiles, codes)
        found["ILD-behavior"] = diversity.behavior_diversity(top, self.train)
        return found | {f"ILD-{name}": diversity.feature_diversity(top, table) for name, table in features.items()}


def _gaps(lists: Lists, truth: Interactions, groups: Mapping[str, ArrayLike], k: int) -> dict[str, float]:
    values = lists.accuracy(truth, (ACCURACY,), (k,)).iloc[:, 0]
    rows = values.index.to_numpy()
    return {f"Gap-{name}": exposure.fairness_gap(values, np.asarray(labels)[rows]) for name, labels in groups.items()}


def _label(k: int, values: Mapping[str, Value]) -> dict[str, Value]:
    return {f"{name}@{k}": value for name, value in values.items()}


def _codes(values: Sequence[Any]) -> IntArray:
    """Returns a number from 0 per distinct value, -1 for None and NaN."""
    return pd.factorize(pd.Series(values, dtype=object))[0].astype(np.int64)


def _check_lengths(
    train: Interactions,
    features: Mapping[str, FeatureTable],
    item_groups: Mapping[str, Sequence[Any]],
    user_groups: Mapping[str, ArrayLike],
) -> None:
    lengths = [(f"features {name!r}", "item", len(table.ids), train.num_items) for name, table in features.items()]
    lengths += [(f"groups {name!r}", "item", len(values), train.num_items) for name, values in item_groups.items()]
    lengths += [
        (f"groups {name!r}", "user", len(np.asarray(values)), train.num_users) for name, values in user_groups.items()
    ]
    for name, kind, length, expected in lengths:
        if length != expected:
            raise ValueError(f"expected {name} over the {expected} {kind} rows of training, got {length}")
