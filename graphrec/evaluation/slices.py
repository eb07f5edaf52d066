"""Accuracy on parts: cold and warm items, head and tail, users by activity, items by modality, any column.

A slice is a boolean over all item rows, or over all user rows. On a slice of items all items are ranked, but only hits
of the slice count, averaged over the users that have held-out items in it. On a slice of users the values are the
users' own. Values stay per user, so that intervals and paired tests of a slice are possible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graphrec.data.catalog import Catalog
from graphrec.data.interactions import Interactions
from graphrec.evaluation.lists import Lists
from graphrec.evaluation.metrics import METRICS
from graphrec.evaluation.popularity import HEAD, MID, TAIL, popularity_groups
from graphrec.evaluation.ranking import Evaluation

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Slices = Mapping[str, BoolArray]
DEGREE_EDGES = (1, 5, 10, 20)
MOST_VALUES = 12  # of a column; the rarer ones are one slice together
OTHER = "other"
NUMBERS = (int, float, np.number)


@dataclass(frozen=True, eq=False)
class SliceMetrics:
    """An accuracy metric on every slice.

    Args:
        values: A column per metric; the index holds ``slice`` and ``user``, a user's row. Slices without a user that
            has held-out items there are missing.
        counts: A row per slice, empty ones included: ``size`` (items or users in it), ``num_held_out``
            (interactions that count) and ``num_users`` (users that the mean is over).
    """

    values: pd.DataFrame = field(repr=False)
    counts: pd.DataFrame = field(repr=False)

    def of(self, name: str) -> pd.DataFrame:
        """Returns the values of the users of a slice, indexed by their rows; empty for an empty slice."""
        found = self.values[self.values.index.get_level_values("slice") == name]
        return found.droplevel("slice")

    def mean(self) -> pd.DataFrame:
        """Returns a row per slice: its counts and the mean of every metric, NaN for an empty slice."""
        return self.counts.join(self.values.groupby(level="slice").mean())


def item_slices(
    train: Interactions,
    *,
    modalities: Mapping[str, BoolArray] | None = None,
    catalog: Catalog | None = None,
    columns: Sequence[str] = (),
) -> dict[str, BoolArray]:
    """Returns slices of the items: by popularity, by the modalities that they have, by columns of the catalogue.

    * ``cold`` (no training interaction), ``tail``, ``mid``, ``head``: a partition, see ``popularity_groups``;
    * ``image + text``, ``image only``, …, ``no modality``: the combinations that occur, of the given modalities;
    * ``genre=comedy``: a value of a column; the rarest of many values are ``genre=other``, absent is ``genre=?``;
      ``price=5–20``: a quarter of the numbers of a column with many.

    Args:
        train: The training interactions.
        modalities: Which items have a modality ``(num_items,)``, by name: ``{name: table.mask …}``.
        catalog: What the items are.
        columns: The columns of the catalogue to slice by.

    Raises:
        KeyError: If a column is not in the catalogue.
        ValueError: If columns are named without a catalogue, or a mask has another length.
    """
    degree = train.item_degree()
    groups = popularity_groups(degree)
    slices = {"cold": degree == 0}
    slices |= {name: (groups == group) & (degree > 0) for name, group in (("tail", TAIL), ("mid", MID), ("head", HEAD))}
    slices |= _by_modality(modalities or {}, train.num_items)
    return slices | _by_column(catalog, columns, train.num_items)


def user_slices(
    train: Interactions,
    *,
    edges: Sequence[int] = DEGREE_EDGES,
    catalog: Catalog | None = None,
    columns: Sequence[str] = (),
) -> dict[str, BoolArray]:
    """Returns slices of the users: by their training interactions, and by columns of what is known of them.

    Args:
        train: The training interactions.
        edges: Ascending lower bounds of the steps after the first, see ``degree_labels``.
        catalog: What the users are.
        columns: The columns of the catalogue to slice by.

    Raises:
        KeyError: If a column is not in the catalogue.
        ValueError: If columns are named without a catalogue.
    """
    labels = degree_labels(train.user_degree(), edges)
    slices = {f"{name} interactions": labels == name for name in degree_names(edges)}
    return {name: mask for name, mask in slices.items() if mask.any()} | _by_column(catalog, columns, train.num_users)


def slice_items(
    lists: Lists | Evaluation,
    truth: Interactions,
    slices: Slices,
    metrics: Sequence[str] = tuple(METRICS),
    ks: Sequence[int] = (20,),
) -> SliceMetrics:
    """Returns metrics that count only the hits of a slice of items, from lists over all items.

    Args:
        lists: The lists, or an evaluation that kept them.
        truth: The held-out interactions.
        slices: Which items belong to a slice ``(num_items,)``, by name.
        metrics: Keys of ``METRICS``.
        ks: The cut-offs, up to the length of the lists.

    Raises:
        ValueError: If a slice has another length, a metric is unknown, or a cut-off is beyond the lists.
    """
    lists = Lists.of(lists) if isinstance(lists, Evaluation) else lists
    _check_slices(slices, truth.num_items, "item")
    listed = np.isin(truth.user, lists.users)

    def measure(mask: BoolArray) -> tuple[pd.DataFrame, int]:
        part = truth.take(mask[truth.item] & listed)
        return lists.accuracy(part, metrics, ks), len(np.unique(part.pairs()))

    return _collect(slices, measure)


def slice_users(
    lists: Lists | Evaluation,
    truth: Interactions,
    slices: Slices,
    metrics: Sequence[str] = tuple(METRICS),
    ks: Sequence[int] = (20,),
) -> SliceMetrics:
    """Returns the metrics of the users of every slice.

    Args:
        lists: The lists, or an evaluation that kept them.
        truth: The held-out interactions.
        slices: Which users belong to a slice ``(num_users,)``, by name.
        metrics: Keys of ``METRICS``.
        ks: The cut-offs, up to the length of the lists.

    Raises:
        ValueError: If a slice has another length, a metric is unknown, or a cut-off is beyond the lists.
    """
    lists = Lists.of(lists) if isinstance(lists, Evaluation) else lists
    _check_slices(slices, truth.num_users, "user")
    values = lists.accuracy(truth, metrics, ks)
    held_out = np.diff(truth.csr().indptr)

    def measure(mask: BoolArray) -> tuple[pd.DataFrame, int]:
        part = values[mask[values.index.to_numpy()]]
        return part, int(held_out[part.index.to_numpy()].sum())

    return _collect(slices, measure)


def degree_names(edges: Sequence[int] = DEGREE_EDGES) -> list[str]:
    """Returns the names of the steps of a degree, ascending.

    >>> degree_names((1, 5))
    ['0', '1–4', '5+']

    Args:
        edges: Ascending lower bounds of the steps after the first.
    """
    bounds = [0, *edges]
    return [_span(low, high) for low, high in zip(bounds, [*edges, None], strict=True)]


def degree_labels(degree: IntArray, edges: Sequence[int] = DEGREE_EDGES) -> NDArray[np.object_]:
    """Returns the step that every degree falls into, by its name ``(len(degree),)``.

    >>> degree_labels(np.array([0, 3, 70])).tolist()
    ['0', '1–4', '20+']

    Args:
        degree: Degrees, as ``train.user_degree()`` gives them.
        edges: Ascending lower bounds of the steps after the first.
    """
    names = np.array(degree_names(edges), dtype=object)
    return names[np.searchsorted(np.asarray(edges), degree, side="right")]


def mean_by_degree(evaluation: Evaluation, degree: IntArray, edges: Sequence[int] = DEGREE_EDGES) -> pd.DataFrame:
    """Returns the mean of every metric per bucket of user degree.

    Args:
        evaluation: The values of every user.
        degree: The training interactions of every user row ``(num_users,)``, as ``train.user_degree()`` gives them.
        edges: Ascending lower bounds of the buckets after the first; the default gives 0, 1–4, 5–9, 10–19, 20+.

    Returns:
        A row per bucket that has users, with their number in ``num_users`` and the mean of every metric.

    Raises:
        ValueError: If there is not one degree per user id.
    """
    if len(degree) != len(evaluation.users):
        raise ValueError(f"expected a degree for each of {len(evaluation.users)} users, got {len(degree)}")
    labels = pd.Categorical(degree_labels(degree[evaluation.frame.index], edges), categories=degree_names(edges))
    groups = evaluation.frame.groupby(pd.Series(labels, index=evaluation.frame.index), observed=True)
    return groups.mean().assign(num_users=groups.size()).rename_axis("degree")


def split_by_coldness(
    truth: Interactions, seen: Interactions, *, threshold: int = 0
) -> tuple[Interactions, Interactions]:
    """Splits held-out interactions by their item: cold ones first, then warm ones.

    ``evaluate`` on each part gives a metric over cold items only: all items are ranked, but only the hits of that
    part count, averaged over the users that have such items.

    Args:
        truth: The held-out interactions.
        seen: The training interactions.
        threshold: An item is cold with at most so many training interactions.
    """
    cold = seen.item_degree()[truth.item] <= threshold
    return truth.take(cold), truth.take(~cold)


def _by_modality(masks: Slices, num_items: int) -> dict[str, BoolArray]:
    """Returns a slice per combination of modalities that occurs, those with the fewest first."""
    if not masks:
        return {}
    _check_slices(masks, num_items, "item")
    names = sorted(masks)
    code = np.zeros(num_items, np.int64)
    for place, name in enumerate(names):
        code += masks[name].astype(np.int64) << place
    found = sorted(np.unique(code).tolist(), key=lambda value: (value.bit_count(), value))
    return {_combination(names, value): code == value for value in found}


def _combination(names: Sequence[str], code: int) -> str:
    present = [name for place, name in enumerate(names) if code >> place & 1]
    if not present:
        return "no modality"
    return f"{present[0]} only" if len(present) == 1 and len(names) > 1 else " + ".join(present)


def _by_column(catalog: Catalog | None, columns: Sequence[str], size: int) -> dict[str, BoolArray]:
    if not columns:
        return {}
    if catalog is None or len(catalog.ids) != size:
        got = "none" if catalog is None else f"one of {len(catalog.ids)}"
        raise ValueError(f"expected a catalogue of {size} rows for the columns {list(columns)}, got {got}")
    slices: dict[str, BoolArray] = {}
    for column in columns:
        slices |= {f"{column}={value}": mask for value, mask in column_slices(catalog, column).items()}
    return slices


def column_slices(catalog: Catalog, column: str) -> dict[str, BoolArray]:
    """Returns which rows have a value of a column, by the value: the most frequent first, the rarest of many as one.

    Numbers of more than twelve different values are in quarters: ``18–25`` and so on.

    Raises:
        KeyError: If the column is not in the catalogue.
    """
    values = catalog.values(column)
    if all(value is None or isinstance(value, NUMBERS) for value in values):
        numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        if len(np.unique(numbers[~np.isnan(numbers)])) > MOST_VALUES:
            return _quarters(numbers)
    texts = pd.Series([None if value is None else str(value) for value in values], dtype=object)
    frequent = texts.value_counts().sort_index().sort_values(ascending=False, kind="stable").index.tolist()
    kept = frequent if len(frequent) <= MOST_VALUES else frequent[: MOST_VALUES - 1]
    slices = {value: (texts == value).to_numpy(dtype=bool) for value in kept}
    if len(kept) < len(frequent):
        slices[OTHER] = texts.isin(frequent[len(kept) :]).to_numpy(dtype=bool) | slices.get(OTHER, False)
    return slices | ({"?": texts.isna().to_numpy(dtype=bool)} if texts.isna().any() else {})


def _quarters(numbers: NDArray[np.float64]) -> dict[str, BoolArray]:
    """Returns the quarters of numbers, by their lowest and highest; ties are in one, and absent ones in ``?``."""
    given = ~np.isnan(numbers)
    inner = np.unique(np.quantile(numbers[given], (0.25, 0.5, 0.75)))
    place = np.where(given, np.searchsorted(inner, numbers, side="left"), -1)
    masks = [place == each for each in np.unique(place[given])]
    slices = {f"{numbers[mask].min():g}–{numbers[mask].max():g}": mask for mask in masks}
    return slices | ({} if given.all() else {"?": ~given})


def _collect(slices: Slices, measure: Callable[[BoolArray], tuple[pd.DataFrame, int]]) -> SliceMetrics:
    if not slices:
        raise ValueError("expected at least one slice, got none")
    parts, counts = {}, {}
    for name, mask in slices.items():
        parts[name], held_out = measure(mask)
        counts[name] = {"size": int(mask.sum()), "num_held_out": held_out, "num_users": len(parts[name])}
    return SliceMetrics(
        pd.concat(parts, names=["slice"]), pd.DataFrame.from_dict(counts, orient="index").rename_axis("slice")
    )


def _check_slices(slices: Slices, size: int, kind: str) -> None:
    for name, mask in slices.items():
        if mask.shape != (size,) or mask.dtype != np.bool_:
            raise ValueError(f"expected booleans ({size},) over {kind}s in {name!r}, got {mask.dtype} {mask.shape}")


def _span(low: int, high: int | None) -> str:
    if high is None:
        return f"{low}+"
    return str(low) if high == low + 1 else f"{low}–{high - 1}"
