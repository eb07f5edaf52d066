"""What tests of evaluation need: a scorer that looks its scores up, drawn splits, and slow orders."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from graphrec.data.interactions import Ids, Interactions

INF = float("inf")


@dataclass
class Table:
    """A scorer that looks its scores up."""

    table: Tensor
    asked: list[int] = field(default_factory=list)

    def score(self, users: Tensor) -> Tensor:
        self.asked.append(len(users))
        return self.table[users]


def interactions(pairs, num_users, num_items) -> Interactions:
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    users = Ids([f"u{row}" for row in range(num_users)], name="user")
    items = Ids([f"i{row}" for row in range(num_items)], name="item")
    return Interactions(user=pairs[:, 0], item=pairs[:, 1], users=users, items=items)


def draw(seed, num_users=23, num_items=31, *, integer=False) -> tuple[Tensor, Interactions, Interactions, Interactions]:
    """Scores and disjoint train, valid, test; the last two users have no training, every fifth user no test."""
    rng = np.random.default_rng(seed)
    part = rng.choice(4, (num_users, num_items), p=[0.7, 0.15, 0.05, 0.1])
    part[-2:][part[-2:] == 1] = 0
    part[::5][part[::5] == 3] = 0
    scores = rng.integers(0, 4, (num_users, num_items)) if integer else rng.normal(size=(num_users, num_items))
    sets = [interactions(np.argwhere(part == label), num_users, num_items) for label in (1, 2, 3)]
    return torch.from_numpy(scores.astype(np.float32)), *sets


def reference_order(scores, banned) -> list[int]:
    """Best first, the lowest row first among equals, banned items and -inf left out."""
    rows = [item for item, score in enumerate(scores) if item not in banned and score != -INF]
    return sorted(rows, key=lambda item: (-scores[item], item))


def by_user(part: Interactions) -> list[set[int]]:
    sets: list[set[int]] = [set() for _ in range(part.num_users)]
    for user, item in zip(part.user.tolist(), part.item.tolist(), strict=True):
        sets[user].add(item)
    return sets
