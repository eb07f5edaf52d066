"""A data set: interactions already split, and what is known about its items and users."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from graphrec.data.catalog import Catalog
from graphrec.data.interactions import Ids, Interactions


@dataclass(frozen=True, eq=False)
class Vectors:
    """Feature vectors as they came: one row per id, ids in any order, not every item present.

    Args:
        ids: The external id of every row.
        values: The vectors ``(len(ids), dim)``.
    """

    ids: Ids
    values: NDArray[Any] = field(repr=False)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != len(self.ids):
            raise ValueError(f"expected {len(self.ids)} feature rows, got an array of shape {self.values.shape}")


@dataclass(frozen=True, eq=False)
class Split:
    """What training and tuning may see: training and validation interactions. There is no test set in here.

    Args:
        train: Interactions to learn from.
        valid: Interactions to choose epochs and hyper-parameters on; may be empty after a refit.
    """

    train: Interactions
    valid: Interactions

    def __post_init__(self) -> None:
        check_disjoint(self.train, self.valid, names=("train", "valid"))
        if not len(self.train):
            raise ValueError("expected training interactions, got an empty training split")

    @property
    def users(self) -> Ids:
        """The user vocabulary."""
        return self.train.users

    @property
    def items(self) -> Ids:
        """The item vocabulary."""
        return self.train.items

    def merged(self) -> Split:
        """Returns the split that trains on train and valid together, with an empty valid: for a refit."""
        return Split(concatenate(self.train, self.valid), self.valid.take(np.zeros(0, np.int64)))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything a benchmark knows. Training receives only ``split``.

    Args:
        name: The name shown in tables.
        split: Training and validation interactions.
        test: The held-out interactions, scored once per run.
        items: What the items are.
        people: What the users are.
        vectors: Item feature vectors as given, by modality.
        user_vectors: User feature vectors as given, by modality.
        neighbors: Given item–item kNN graphs ``(num_items, num_items)`` in item-row order, by modality.
        notes: Labels that a table must show, such as ``"unseen test ids dropped"``.
        truth: For synthetic data only: the true preference, see ``graphrec.data.synthetic``.
    """

    name: str
    split: Split
    test: Interactions
    items: Catalog
    people: Catalog
    vectors: Mapping[str, Vectors] = field(default_factory=dict)
    user_vectors: Mapping[str, Vectors] = field(default_factory=dict)
    neighbors: Mapping[str, sp.csr_array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    truth: Any = None

    def __post_init__(self) -> None:
        check_disjoint(self.split.train, self.test, names=("train", "test"))
        check_disjoint(self.split.valid, self.test, names=("valid", "test"))
        for kind, catalog, ids in (("item", self.items, self.split.items), ("user", self.people, self.split.users)):
            if catalog.ids != ids:
                raise ValueError(
                    f"expected the {kind} catalogue to have the {len(ids)} {kind} ids of the split, in order"
                )
        for modality, matrix in self.neighbors.items():
            expected = (self.num_items, self.num_items)
            if matrix.shape != expected:
                raise ValueError(f"expected a kNN graph of shape {expected} for {modality!r}, got {matrix.shape}")

    @property
    def num_users(self) -> int:
        """The number of users, those without training interactions included."""
        return len(self.split.users)

    @property
    def num_items(self) -> int:
        """The number of items, those without training interactions included."""
        return len(self.split.items)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities for which there are vectors or neighbours, sorted."""
        return tuple(sorted({*self.vectors, *self.neighbors}))

    def fingerprint(self) -> str:
        """Returns a hash of the training interactions, ids and given features: what a model depends on."""
        digest = hashlib.sha256(self.split.train.fingerprint().encode())
        for name, vectors in sorted([*self.vectors.items(), *self.user_vectors.items()], key=lambda pair: pair[0]):
            digest.update(f"{name} {vectors.ids.fingerprint()}".encode())
            digest.update(np.ascontiguousarray(vectors.values).tobytes())
        for name, matrix in sorted(self.neighbors.items()):
            digest.update(name.encode())
            for part in (matrix.indptr, matrix.indices, matrix.data):
                digest.update(np.ascontiguousarray(part).tobytes())
        for column in self.items.columns:
            values = self.items.frame[column].map(_path_name).astype(str)
            digest.update(pd.util.hash_array(values.to_numpy(dtype=object)).tobytes())
        return digest.hexdigest()[:16]

    def without_test(self) -> Dataset:
        """Returns the data set with an empty test split, and without the truth of synthetic data: what a tuner sees."""
        return replace(self, test=self.test.take(np.zeros(0, np.int64)), truth=None)

    def drop_unseen(self) -> Dataset:
        """Drops valid and test interactions whose user or item never occurs in training, and says so in ``notes``.

        Raises:
            ValueError: If no test interaction, or none of those for validation, is left.
        """
        train = self.split.train
        seen_user, seen_item = train.user_degree() > 0, train.item_degree() > 0
        kept = [part.take(seen_user[part.user] & seen_item[part.item]) for part in (self.split.valid, self.test)]
        if not len(kept[1]):
            raise ValueError(
                "expected test interactions with ids seen in training, got an empty split; keep unseen ids"
            )
        if len(self.split.valid) and not len(kept[0]):
            raise ValueError(
                "expected validation interactions with ids seen in training, got an empty split; keep unseen ids"
            )
        note = f"unseen ids dropped: {len(self.split.valid) - len(kept[0])} valid, {len(self.test) - len(kept[1])} test"
        return replace(self, split=Split(train, kept[0]), test=kept[1], notes=(*self.notes, note))

    def drop_without(self, modality: str, rows: NDArray[np.int64]) -> Dataset:
        """Drops the training interactions of items that lack a modality, and says so in ``notes``.

        Validation and test stay as they are, so that their metrics stay comparable.

        Args:
            modality: What the dropped items lack, for the note.
            rows: The item rows that have it.

        Raises:
            ValueError: If no training interaction is left.
        """
        train, has = self.split.train, np.zeros(self.num_items, bool)
        has[rows] = True
        kept = train.take(has[train.item])
        if not len(kept):
            raise ValueError(f"expected training interactions with items that have {modality!r}, got none; keep them")
        lost = len(np.unique(train.item[~has[train.item]]))
        note = f"items without {modality} dropped from training: {lost}, with {len(train) - len(kept)} interactions"
        return replace(self, split=Split(kept, self.split.valid), notes=(*self.notes, note) if lost else self.notes)

    def statistics(self) -> dict[str, float]:
        """Returns the statistics of all interactions together, the split sizes and the unseen ids."""
        train = self.split.train
        seen_user, seen_item = train.user_degree() > 0, train.item_degree() > 0
        everything = concatenate(concatenate(train, self.split.valid), self.test)
        counts: dict[str, float] = {"train": len(train), "valid": len(self.split.valid), "test": len(self.test)}
        for name, part in (("valid", self.split.valid), ("test", self.test)):
            counts[f"{name}_with_unseen_user"] = int((~seen_user[part.user]).sum())
            counts[f"{name}_with_unseen_item"] = int((~seen_item[part.item]).sum())
        return everything.statistics() | counts


def concatenate(first: Interactions, second: Interactions) -> Interactions:
    """Joins two sets of interactions over the same vocabularies; where only one has weights, the other's are 1."""
    weighted = first.weight is not None or second.weight is not None
    weight = np.concatenate([_weight(first), _weight(second)]) if weighted else None
    time = None if first.time is None or second.time is None else np.concatenate([first.time, second.time])
    return Interactions(
        user=np.concatenate([first.user, second.user]),
        item=np.concatenate([first.item, second.item]),
        users=first.users,
        items=first.items,
        weight=weight,
        time=time,
    )


def _weight(interactions: Interactions) -> NDArray[np.float32]:
    return np.ones(len(interactions), np.float32) if interactions.weight is None else interactions.weight


def _path_name(value: Any) -> Any:
    return value.name if isinstance(value, Path) else value  # the same data in another folder is the same data


def check_disjoint(first: Interactions, second: Interactions, *, names: tuple[str, str]) -> None:
    """Checks that two parts share vocabularies and no user–item pair.

    Raises:
        ValueError: If the vocabularies differ or a pair is in both.
    """
    if not (first.users == second.users and first.items == second.items):
        raise ValueError(f"expected {names[0]} and {names[1]} to share their user and item ids")
    pairs = first.pairs()
    shared = np.unique(pairs[pd.Index(pairs).isin(second.pairs())])
    if len(shared):
        user, item = divmod(int(shared[0]), first.num_items)
        example = f"user {first.users.ids([user]).tolist()[0]!r}, item {first.items.ids([item]).tolist()[0]!r}"
        raise ValueError(
            f"expected {names[0]} and {names[1]} to be disjoint, got {len(shared)} shared pairs, e.g. {example}"
        )
