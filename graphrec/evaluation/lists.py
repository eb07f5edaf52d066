"""The lists that users were given: what accuracy, slices and everything beyond accuracy are computed from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from graphrec.data.interactions import Ids, Interactions
from graphrec.evaluation.metrics import METRICS, MetricAt
from graphrec.evaluation.ranking import Evaluation

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Lists:
    """The items recommended to some users, best first. No model is needed any more.

    >>> lists = Lists(np.array([0, 4]), np.array([[2, 0, 1], [3, -1, -1]], dtype=np.int32))
    >>> len(lists), lists.depth, lists.top(2).tolist()
    (2, 3, [[2, 0], [3, -1]])

    Args:
        users: User rows ``(num_lists,)``, each once.
        items: Item rows ``(num_lists, depth)``; -1 at the end where nothing eligible was left.

    Raises:
        ValueError: If the shapes do not fit, a row is below -1, a user comes twice, or -1 stands before an item.
    """

    users: IntArray = field(repr=False)
    items: NDArray[np.int32] = field(repr=False)

    def __post_init__(self) -> None:
        if self.users.ndim != 1 or self.items.ndim != 2 or len(self.users) != len(self.items):
            raise ValueError(
                f"expected users (num_lists,) and items (num_lists, depth), got {self.users.shape} "
                f"and {self.items.shape}"
            )
        if (self.items < -1).any() or (self.users < 0).any():
            raise ValueError("expected user rows from 0 and item rows from -1 (none left), got lower ones")
        if len(np.unique(self.users)) < len(self.users):
            raise ValueError("expected one list per user, got a user twice")
        if ((self.items[:, 1:] >= 0) & (self.items[:, :-1] < 0)).any():
            raise ValueError("expected -1 only at the end of a list, got an item after it")

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def of(cls, evaluation: Evaluation) -> Lists:
        """Returns the lists that an evaluation kept.

        Raises:
            ValueError: If it kept none.
        """
        if evaluation.lists is None:
            raise ValueError("expected an evaluation with lists, got one without; evaluate the model again")
        return cls(np.asarray(evaluation.frame.index, dtype=np.int64), evaluation.lists)

    @classmethod
    def by_id(cls, ids: Sequence[Hashable] | pd.Index, items: NDArray[np.int32], users: Ids) -> Lists:
        """Returns the lists of users named by their external ids, as a run folder keeps them.

        ``Lists.by_id(folder.users("test").index, folder.lists("test"), data.split.users)``

        Args:
            ids: The external id of every list ``(num_lists,)``.
            items: Item rows ``(num_lists, depth)``.
            users: The vocabulary.

        Raises:
            KeyError: If an id is unknown.
        """
        return cls(users.rows(pd.Index(ids, tupleize_cols=False)), items)

    @property
    def depth(self) -> int:
        """The length of a list."""
        return int(self.items.shape[1])

    def top(self, k: int) -> NDArray[np.int32]:
        """Returns the first ``k`` items of every user ``(num_lists, k)``.

        Raises:
            ValueError: If the lists are shorter.
        """
        if not 1 <= k <= self.depth:
            raise ValueError(f"expected a cut-off in [1, {self.depth}], the length of the lists, got k={k}")
        return self.items[:, :k]

    def check(self, known: Interactions) -> None:
        """Checks that the rows lie in the vocabularies of some interactions.

        Raises:
            ValueError: If one does not.
        """
        for name, rows, size in (("user", self.users, known.num_users), ("item", self.items, known.num_items)):
            if rows.size and rows.max() >= size:
                raise ValueError(f"expected {name} rows below {size}, got {rows.max()}; are the lists of other data?")

    def hits(self, truth: Interactions) -> BoolArray:
        """Returns which items are held-out items of their user ``(num_lists, depth)``."""
        pairs = self.users[:, None] * truth.num_items + self.items
        return np.isin(pairs, truth.pairs()) & (self.items >= 0)

    def accuracy(
        self, truth: Interactions, metrics: Sequence[str] = tuple(METRICS), ks: Sequence[int] = (10, 20)
    ) -> pd.DataFrame:
        """Returns the accuracy of the lists at any cut-off up to their length, as ``evaluate`` does.

        Args:
            truth: The held-out interactions; only those of users with a list count.
            metrics: Keys of ``METRICS``.
            ks: The cut-offs.

        Returns:
            A column per metric such as ``Recall@20``, a row per user that has a list and held-out items; the index
            ``user`` holds their rows, in the order of the lists.

        Raises:
            ValueError: If a metric is unknown or needs scores, a cut-off is beyond the lists, or a row is out of range.
        """
        self.check(truth)
        relevant = np.diff(truth.csr().indptr).astype(np.int64)[self.users]
        chosen = relevant > 0
        hits, count = torch.from_numpy(self.hits(truth)[chosen]), torch.from_numpy(relevant[chosen])
        values = {metric.label: metric(hits, count).numpy() for metric in MetricAt.expand(metrics, ks)}
        return pd.DataFrame(values, index=pd.Index(self.users[chosen], name="user"))
