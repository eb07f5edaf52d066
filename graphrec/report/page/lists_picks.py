"""Whose recommendations are shown, what is recommended to them, and why."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from graphrec.data.interactions import Interactions
from graphrec.pipeline import Run
from graphrec.report.page.explain import (
    FloatArray,
    Path,
    Ways,
    contributions,
    lifts,
    liked_weights,
    parts_of,
    shares,
)
from graphrec.report.sheet import typical_users

NUM_TYPICAL, LENGTH, NUM_WHY = 5, 8, 3


@dataclass(frozen=True)
class Reader:
    """A user whose recommendations are shown.

    Args:
        row: The user row.
        had: Item rows of training, the latest first where times are known.
        wanted: Item rows of the test set.
        is_miss: Whether this is the user for whom the model does worst.
    """

    row: int
    had: tuple[int, ...] = field(repr=False)
    wanted: frozenset[int] = field(repr=False)
    is_miss: bool = False


@dataclass(frozen=True)
class Pick:
    """A recommended item.

    Args:
        row: The item row.
        hit: Whether it is in the user's test set.
        parts: The signed share of each part of the model in its lift; empty where the model has no parts.
        weights: The signed shares of the liked items that weigh most in its score, by item row; empty where the score
            is no sum of such weights.
        ways: The strongest ways through the graph; left out where there are weights.
    """

    row: int
    hit: bool
    parts: Mapping[str, float]
    weights: Mapping[int, float]
    ways: tuple[Path, ...]


def readers(run: Run, metric: str) -> list[Reader]:
    """Returns users with test items spread over activity, see ``typical_users``, and the one a model serves worst.

    That is the user with the most test items among those with the lowest value of the metric, the lowest row of them.

    Args:
        run: The model, with its test scores.
        metric: What does worst is told by.
    """
    users = run.data.split.users
    if not len(run.data.test):
        return []
    typical = [int(row) for row in users.rows(typical_users(run, NUM_TYPICAL))]
    worst = None if run.folder is None else hardest(run.folder.users("test"), metric, run)
    found = [_reader(run, row) for row in typical if row != worst]
    found.sort(key=lambda one: len(one.had))
    return found if worst is None else [*found, replace(_reader(run, worst), is_miss=True)]


def hardest(scores: pd.DataFrame, metric: str, run: Run) -> int | None:
    """Returns the row of the user for whom a model does worst; ``None`` where the metric was not measured.

    Args:
        scores: Values by user id.
        metric: The column.
        run: Whose users these are.
    """
    if metric not in scores:
        return None
    low = scores.index[scores[metric] == scores[metric].min()].tolist()
    rows = np.sort(run.data.split.users.rows(low))
    return int(rows[np.argmax(run.data.test.user_degree()[rows])])


def picks(run: Run, chosen: Sequence[Reader]) -> list[list[Pick]]:
    """Returns what a model recommends to each of the users, best first, with the reasons.

    Items that the user met in training or validation are not recommended.
    """
    users, items = run.data.split.users, run.data.split.items
    ids = users.ids([one.row for one in chosen])
    found = run.recommend(list(ids), min(LENGTH, len(items)))
    why = _Why(run)
    lists: dict[int, list[int]] = {one.row: [] for one in chosen}
    for user, item in zip(users.rows(found["user"]).tolist(), items.rows(found["item"]).tolist(), strict=True):
        lists[user].append(item)
    return [[why.pick(one, item) for item in lists[one.row]] for one in chosen]


class _Why:
    """The reasons of one model."""

    def __init__(self, run: Run) -> None:
        self.run, self.ways, self.parts = run, Ways(run.graph), parts_of(run.model)
        self._scores: dict[int, dict[str, FloatArray]] = {}

    def pick(self, reader: Reader, item: int) -> Pick:
        parts = shares(lifts(self._contributions(reader.row), item)) if self.parts else {}
        weights = shares(liked_weights(self.run.model, self.ways.liked(reader.row), item))
        top = {row: share for row, share in itertools.islice(weights.items(), NUM_WHY) if share > 0}
        ways = () if top else self.ways.strongest(reader.row, item, count=NUM_WHY)
        return Pick(item, item in reader.wanted, parts, top, ways)

    def _contributions(self, user: int) -> dict[str, FloatArray]:
        if user not in self._scores:
            self._scores[user] = contributions(self.parts, user)
        return self._scores[user]


def _reader(run: Run, row: int) -> Reader:
    wanted = run.data.test.item[run.data.test.user == row].tolist()
    return Reader(row, _had(run.trained_on, row), frozenset(wanted))


def _had(train: Interactions, row: int) -> tuple[int, ...]:
    place = np.flatnonzero(train.user == row)
    if train.time is not None:
        place = place[np.argsort(train.time[place], kind="stable")[::-1]]
    return tuple(train.item[place].tolist())
