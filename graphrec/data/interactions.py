"""Interactions: who met what, as rows, with the external ids kept beside them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]


class Ids:
    """External ids of any hashable type and the rows 0 … n-1 they stand for.

    >>> ids = Ids(["b", "a"])
    >>> ids.rows(["a", "b"]).tolist(), ids.ids([0]).tolist()
    ([1, 0], ['b'])
    """

    def __init__(self, values: Iterable[Hashable], *, name: str = "id") -> None:
        self.index = pd.Index(list(values), tupleize_cols=False)
        self.name = name
        if self.index.hasnans:
            raise ValueError(f"expected every {name} id to be present, got a missing value")
        if not self.index.is_unique:
            twice = self.index[self.index.duplicated()][:3].tolist()
            raise ValueError(f"expected unique {name} ids, got duplicates: {_some(twice)}")

    @classmethod
    def from_values(cls, values: Sequence[Any] | NDArray[Any] | pd.Series | pd.Index, *, name: str = "id") -> Ids:
        """Builds the ids of a column with repeats: sorted where they can be, else in order of appearance."""
        unique = pd.Index(pd.unique(pd.Series(values)), tupleize_cols=False)
        try:
            return cls(unique.sort_values(), name=name)
        except TypeError:
            return cls(unique, name=name)

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, value: Hashable) -> bool:
        return value in self.index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ids) and self.index.equals(other.index)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ids({len(self)} {self.name}s)"

    def find(self, values: Sequence[Any] | NDArray[Any] | pd.Series | pd.Index) -> IntArray:
        """Returns the row of every id, -1 where it is unknown."""
        return self.index.get_indexer(_index(values)).astype(np.int64)

    def rows(self, values: Sequence[Any] | NDArray[Any] | pd.Series | pd.Index) -> IntArray:
        """Returns the row of every id.

        Raises:
            KeyError: If an id is unknown.
        """
        rows = self.find(values)
        if (rows < 0).any():
            missing = _index(values)[rows < 0].unique().tolist()
            raise KeyError(f"{len(missing)} unknown {self.name} id(s): {_some(missing)}")
        return rows

    def ids(self, rows: ArrayLike) -> NDArray[Any]:
        """Returns the external id of every row."""
        return self.index.to_numpy()[_positions(rows)]

    def fingerprint(self) -> str:
        """Returns a hash of the ids and their order."""
        values = self.index.to_numpy().astype(object)
        try:
            return _digest(pd.util.hash_array(values))
        except (TypeError, ValueError):  # pandas hashes no mixed types
            return _digest(pd.util.hash_array(np.array([repr(value) for value in values], dtype=object)))


@dataclass(frozen=True, eq=False)
class Interactions:
    """A set of user–item interactions over fixed vocabularies.

    Args:
        user: User rows ``(num_interactions,)``.
        item: Item rows ``(num_interactions,)``.
        users: The ids behind the user rows; may hold users without an interaction here.
        items: The ids behind the item rows.
        weight: Strength of each interaction ``(num_interactions,)``: a count or a rating.
        time: Time of each interaction ``(num_interactions,)``, in the unit of its source.
    """

    user: IntArray
    item: IntArray
    users: Ids
    items: Ids
    weight: NDArray[np.float32] | None = None
    time: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        for name, rows, size in (("user", self.user, len(self.users)), ("item", self.item, len(self.items))):
            if rows.ndim != 1 or len(rows) != len(self.user):
                raise ValueError(f"expected {name} rows of shape ({len(self.user)},), got {rows.shape}")
            if len(rows) and (rows.min() < 0 or rows.max() >= size):
                raise ValueError(f"expected {name} rows in [0, {size}), got [{rows.min()}, {rows.max()}]")
        for name, values in (("weight", self.weight), ("time", self.time)):
            if values is not None and values.shape != self.user.shape:
                raise ValueError(f"expected {name} of shape {self.user.shape}, got {values.shape}")

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        user: str = "user",
        item: str = "item",
        weight: str | None = None,
        time: str | None = None,
        users: Ids | None = None,
        items: Ids | None = None,
    ) -> Interactions:
        """Reads interactions from named columns.

        Args:
            frame: One row per interaction.
            user: The column of user ids.
            item: The column of item ids.
            weight: The column of ratings or counts, if any.
            time: The column of times, if any: numbers, dates, or texts that pandas reads as dates.
            users: A vocabulary to use instead of the ids found.
            items: A vocabulary to use instead of the ids found.

        Raises:
            ValueError: If a column or a value is missing.
            KeyError: If a given vocabulary lacks an id.
        """
        wanted = [column for column in (user, item, weight, time) if column is not None]
        absent = [column for column in wanted if column not in frame.columns]
        if absent:
            raise ValueError(f"expected columns {wanted}, missing {absent}; the columns are {list(frame.columns)}")
        empty = [column for column in wanted if frame[column].isna().any()]
        if empty:
            raise ValueError(f"expected no missing values in {wanted}, found some in {empty}")
        users = users if users is not None else Ids.from_values(frame[user], name="user")
        items = items if items is not None else Ids.from_values(frame[item], name="item")
        return cls(
            user=users.rows(frame[user]),
            item=items.rows(frame[item]),
            users=users,
            items=items,
            weight=None if weight is None else frame[weight].to_numpy(dtype=np.float32),
            time=None if time is None else _moments(frame[time]),
        )

    def __len__(self) -> int:
        return len(self.user)

    @property
    def num_users(self) -> int:
        """The number of users in the vocabulary."""
        return len(self.users)

    @property
    def num_items(self) -> int:
        """The number of items in the vocabulary."""
        return len(self.items)

    def take(self, selection: ArrayLike) -> Interactions:
        """Returns the interactions at these positions, or where a mask is true; vocabularies stay."""
        chosen = _positions(selection)
        return replace(
            self,
            user=self.user[chosen],
            item=self.item[chosen],
            weight=None if self.weight is None else self.weight[chosen],
            time=None if self.time is None else self.time[chosen],
        )

    def to_frame(self) -> pd.DataFrame:
        """Returns a frame with external ids in ``user`` and ``item`` and ``weight``, ``time`` where present."""
        columns: dict[str, Any] = {"user": self.users.ids(self.user), "item": self.items.ids(self.item)}
        columns |= {} if self.weight is None else {"weight": self.weight}
        columns |= {} if self.time is None else {"time": self.time}
        return pd.DataFrame(columns)

    def csr(self, *, weighted: bool = False) -> sp.csr_array:
        """Returns the ``(num_users, num_items)`` matrix of ones, or of weights; repeated pairs count once."""
        unique = self if self.is_unique() else self.deduplicate()
        values = unique.weight if weighted and unique.weight is not None else np.ones(len(unique), np.float32)
        shape = (self.num_users, self.num_items)
        return sp.coo_array((values, (unique.user, unique.item)), shape=shape).tocsr()

    def user_degree(self) -> IntArray:
        """Returns the number of interactions of every user ``(num_users,)``."""
        return np.bincount(self.user, minlength=self.num_users).astype(np.int64)

    def item_degree(self) -> IntArray:
        """Returns the number of interactions of every item ``(num_items,)``."""
        return np.bincount(self.item, minlength=self.num_items).astype(np.int64)

    def positive(self, threshold: float | None = None) -> NDArray[np.bool_]:
        """Returns which ratings are at or above the threshold ``(num_interactions,)``; all without one.

        Raises:
            ValueError: If a threshold is given and there are no ratings, or none reaches it.
        """
        if threshold is None:
            return np.ones(len(self), dtype=bool)
        if self.weight is None:
            raise ValueError(f"expected ratings for threshold={threshold}, got none; name the rating column")
        chosen = self.weight >= threshold
        if not chosen.any():
            highest = self.weight.max(initial=-np.inf)
            raise ValueError(f"expected ratings at or above threshold={threshold}, got none; the highest is {highest}")
        return chosen

    def implicit(self, threshold: float | None = None) -> Interactions:
        """Turns ratings into implicit feedback: those at or above the threshold, or all, each of weight 1.

        Raises:
            ValueError: If a threshold is given and there are no ratings, or none reaches it.
        """
        return replace(self.take(self.positive(threshold)), weight=None)

    def deduplicate(self, keep: Literal["sum", "first", "last"] = "sum") -> Interactions:
        """Makes every user–item pair unique.

        Args:
            keep: ``"sum"`` adds the weights (1 each where there are none) and keeps the latest time;
                ``"first"`` and ``"last"`` keep one interaction by time, or by position without times.
        """
        if keep not in ("sum", "first", "last"):
            raise ValueError(f"expected keep='sum', 'first' or 'last', got {keep!r}")
        if self.is_unique():
            return self
        order = np.arange(len(self)) if self.time is None else np.argsort(self.time, kind="stable")
        pair = self.pairs()[order]
        ordered = pair if keep == "first" else pair[::-1]
        _, first = np.unique(ordered, return_index=True)
        kept = order[first] if keep == "first" else order[len(pair) - 1 - first]
        kept.sort()
        result = self.take(kept)
        if keep != "sum":
            return result
        weight = np.ones(len(self), np.float32) if self.weight is None else self.weight
        _, group = np.unique(self.pairs(), return_inverse=True)
        total = np.bincount(group, weights=weight).astype(np.float32)
        return replace(result, weight=total[group[kept]])

    def k_core(self, k: int) -> Interactions:
        """Drops users and items with fewer than ``k`` interactions until none is left, and their ids."""
        if k < 1:
            raise ValueError(f"expected k >= 1, got {k}")
        current = self.deduplicate()
        while True:
            enough = (current.user_degree() >= k)[current.user] & (current.item_degree() >= k)[current.item]
            if enough.all():
                return current.compact()
            current = current.take(enough)

    def compact(self) -> Interactions:
        """Drops the ids without an interaction from the vocabularies."""
        users = Ids(self.users.ids(np.flatnonzero(self.user_degree())), name="user")
        items = Ids(self.items.ids(np.flatnonzero(self.item_degree())), name="item")
        return self.reindex(users=users, items=items)

    def reindex(self, *, users: Ids | None = None, items: Ids | None = None) -> Interactions:
        """Moves the interactions to other vocabularies, larger, smaller or in another order.

        Raises:
            KeyError: If a new vocabulary lacks an id that has an interaction.
        """
        users = self.users if users is None else users
        items = self.items if items is None else items
        user, item = _moved(self.user, self.users, users), _moved(self.item, self.items, items)
        return replace(self, user=user, item=item, users=users, items=items)

    def statistics(self) -> dict[str, float]:
        """Returns counts, density and degree statistics; ids without an interaction are counted apart."""
        users, items = self.user_degree(), self.item_degree()
        active_users, active_items = int((users > 0).sum()), int((items > 0).sum())
        cells = self.num_users * self.num_items
        return {
            "num_users": self.num_users,
            "num_items": self.num_items,
            "num_interactions": len(self),
            "density": len(self) / cells if cells else 0.0,
            "users_without_interaction": self.num_users - active_users,
            "items_without_interaction": self.num_items - active_items,
            "mean_user_degree": len(self) / active_users if active_users else 0.0,
            "mean_item_degree": len(self) / active_items if active_items else 0.0,
            "median_user_degree": float(np.median(users)) if len(users) else 0.0,
            "median_item_degree": float(np.median(items)) if len(items) else 0.0,
            "gini_item_degree": gini(items) if len(self) else 0.0,
        }

    def fingerprint(self) -> str:
        """Returns a hash of ids and interactions, the same for any order of the interactions."""
        order = np.lexsort((self.item, self.user))
        parts: list[NDArray[Any]] = [self.user[order], self.item[order]]
        parts += [] if self.weight is None else [self.weight[order]]
        text = f"{self.users.fingerprint()} {self.items.fingerprint()} {_digest(*parts)}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def pairs(self) -> IntArray:
        """Returns one integer per interaction that names its pair: ``user * num_items + item``."""
        return self.user * self.num_items + self.item

    def is_unique(self) -> bool:
        """Returns whether no user–item pair is repeated."""
        pairs = np.sort(self.pairs())
        return not (pairs[1:] == pairs[:-1]).any()


def gini(counts: ArrayLike) -> float:
    """Returns how unequal counts are: the Gini coefficient of the items' degree, or of their exposure in lists.

    With the counts ``x_1 <= … <= x_n``, ``G = sum_r (2 r - n - 1) x_r / (n sum_r x_r)`` (Fleder & Hosanagar 2009,
    https://doi.org/10.1287/mnsc.1080.0974). In [0, 1 - 1/n]; 0 where all items count the same, less is better; NaN
    without any count.

    >>> gini([1, 1, 1, 1]), gini([0, 0, 0, 8])
    (0.0, 0.75)

    Args:
        counts: One per item ``(num_items,)``.
    """
    ordered = np.sort(np.asarray(counts, dtype=np.float64))
    size, total = len(ordered), ordered.sum()
    return float((2 * np.arange(1, size + 1) - size - 1) @ ordered / (size * total)) if total else float("nan")


def _moments(values: pd.Series) -> NDArray[Any]:
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy()
    dates = to_dates(values)
    if dates.isna().any():
        wrong = values[dates.isna()].unique()[:3].tolist()
        raise ValueError(f"expected numbers or dates in {values.name!r}, got {_some(wrong)}; leave such rows out")
    return dates.dt.tz_localize(None).to_numpy()


def to_dates(values: pd.Series) -> pd.Series:
    """Returns moments in UTC, by ISO 8601 or else in the form of the first value; NaT for what is no date."""
    dates = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
    if dates.notna().any() or not len(values):
        return dates
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the form of the first value was guessed
        return pd.to_datetime(values, utc=True, errors="coerce")


def _positions(selection: ArrayLike) -> NDArray[Any]:
    chosen = np.asarray(selection)
    return chosen if chosen.size else chosen.astype(np.int64)  # an empty list is a list of floats to NumPy


def _moved(rows: IntArray, old: Ids, new: Ids) -> IntArray:
    present = np.flatnonzero(np.bincount(rows, minlength=len(old)))
    target = np.full(len(old), -1, dtype=np.int64)
    target[present] = new.rows(old.ids(present))
    return target[rows]


def _index(values: Any) -> pd.Index:
    return pd.Index(values, tupleize_cols=False)


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _some(values: list[Any], count: int = 5) -> str:
    return ", ".join(map(repr, values[:count])) + (", …" if len(values) > count else "")
