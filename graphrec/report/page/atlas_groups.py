"""What the items of a map are coloured by: a category of the catalogue, and how popular they are."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphrec.data.catalog import Catalog

IntArray = NDArray[np.int64]

SHOWN = 7  # categories with a colour of their own
LONGEST = 32  # characters of a category; longer ones are sentences
NOT_CATEGORIES = ("text", "title", "name", "image", "audio", "video", "description", "id")
FIRST = ("genre", "categor", "type", "brand", "style", "topic")  # beginnings of names, the best first
OTHER, ABSENT = "other", "not given"
QUANTILES = (0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, eq=False)
class Groups:
    """Items in groups.

    Args:
        name: What the groups are.
        labels: Their names.
        member: The group of every item row ``(num_items,)``, a position in ``labels``.
        ordered: Whether the order of the groups means more and more.
        note: How an item got its group.
    """

    name: str
    labels: tuple[str, ...]
    member: IntArray = field(repr=False)
    ordered: bool
    note: str


def categories(catalog: Catalog) -> Groups | None:
    """Returns the items by category: the seven most frequent ones, the rest as ``other``; ``None`` if there is none.

    A category is a column of short words, or of several with commas, semicolons or bars between them, that at least
    half of the items have, and whose seven most frequent words cover half of those. Columns called like genre or
    category come first. An item with several words belongs to the one of the seven that is the rarest, which says most.
    """
    for column in sorted(catalog.columns, key=_preference):
        tokens = [_tokens(value) for value in catalog.values(column)] if _may_be(column) else []
        count = Counter(token for own in tokens for token in own)
        top = [token for token, _ in sorted(count.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN]]
        if _are_categories(tokens, count, top):
            return _by_category(column, tokens, count, top)
    return None


def popularity(degree: IntArray) -> Groups:
    """Returns the items by their number of training interactions: none, the quarters of the others, the top 5 %.

    Args:
        degree: Training interactions per item ``(num_items,)``.
    """
    some = degree[degree > 0]
    inner = np.unique(np.quantile(some, QUANTILES, method="lower").astype(np.int64)) + 1 if len(some) else ()
    edges = [0, 1, *(int(edge) for edge in inner if 1 < edge <= some.max())]  # where groups begin
    member = np.searchsorted(edges, degree, side="right") - 1
    ends = [edge - 1 for edge in edges[1:]] + [int(max(degree.max(initial=0), edges[-1]))]
    labels = tuple(f"{low:,}" if low == high else f"{low:,}–{high:,}" for low, high in zip(edges, ends, strict=True))
    note = "training interactions; groups begin at the quartiles and at the top 5 % of items that have some"
    return Groups("popularity", labels, member.astype(np.int64), True, note)


def _preference(column: str) -> int:
    return next((place for place, start in enumerate(FIRST) if column.lower().startswith(start)), len(FIRST))


def _may_be(column: str) -> bool:
    return column.lower() not in NOT_CATEGORIES


def _tokens(value: Any) -> tuple[str, ...]:
    if value is None or isinstance(value, Path | float | dict):
        return ()
    parts = value if isinstance(value, list | tuple | set) else re.split(r"[,;|]", str(value))
    return tuple(dict.fromkeys(word for word in (str(part).strip() for part in parts) if word))


def _are_categories(tokens: list[tuple[str, ...]], count: Counter[str], top: list[str]) -> bool:
    given = [own for own in tokens if own]
    if len(count) < 2 or 2 * len(given) < len(tokens) or max(map(len, count)) > LONGEST:
        return False
    covered = sum(not set(top).isdisjoint(own) for own in given)
    return 2 * covered >= len(given) and count[top[-1]] > 1


def _by_category(column: str, tokens: list[tuple[str, ...]], count: Counter[str], top: list[str]) -> Groups:
    labels = [*top, OTHER, ABSENT]
    place = {label: number for number, label in enumerate(labels)}
    member = [place[_group(own, set(top), count)] for own in tokens]
    used = sorted(set(member))
    names = tuple(labels[number] for number in used)
    several = any(len(own) > 1 for own in tokens)
    note = f"{column}; an item with several is shown under the rarest of those named" if several else column
    return Groups(column, names, np.searchsorted(used, member).astype(np.int64), False, note)


def _group(own: tuple[str, ...], top: set[str], count: Counter[str]) -> str:
    shown = [token for token in own if token in top]
    if not shown:
        return OTHER if own else ABSENT
    return min(shown, key=lambda token: (count[token], token))
