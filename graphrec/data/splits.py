"""Splits: which interactions train, which choose, and which are scored once at the end.

Every function returns ``(split, test)``: a ``Split`` with train and valid, which is all that training may see, and
the held-out interactions beside it. The result depends on the ids and the seed, not on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import model_validator

from graphrec.config import Config, unknown_name
from graphrec.data.dataset import Split, check_disjoint
from graphrec.data.interactions import IntArray, Interactions
from graphrec.runtime import logger

Ratios = tuple[float, float, float]
Parts = tuple[Split, Interactions]
Codes = NDArray[np.int8]
Repeats = Literal["sum", "first", "last"]

log = logger(__name__)
PARTS = ("train", "valid", "test")
DEFAULT_RATIOS: Ratios = (8, 1, 1)
TRAIN, VALID, TEST = range(3)


def given(interactions: Interactions, labels: ArrayLike) -> Parts:
    """Splits by a label per interaction.

    Args:
        interactions: The interactions.
        labels: 0 for train, 1 for valid, 2 for test ``(num_interactions,)``.

    Raises:
        ValueError: If labels are missing or unknown, a part is empty, or a pair is in two parts.
    """
    codes = np.asarray(labels)
    if codes.shape != interactions.user.shape:
        raise ValueError(f"expected one label per interaction {interactions.user.shape}, got {codes.shape}")
    unknown = [label for label in pd.unique(codes).tolist() if label not in (TRAIN, VALID, TEST)]
    if unknown:
        raise ValueError(f"expected the labels 0 (train), 1 (valid) and 2 (test), got {unknown[:5]} as well")
    split, test = _parts(interactions, codes)
    check_disjoint(split.train, test, names=("train", "test"))
    check_disjoint(split.valid, test, names=("valid", "test"))
    return split, test


def random_ratio(interactions: Interactions, ratios: Sequence[float] = DEFAULT_RATIOS, *, seed: int = 0) -> Parts:
    """Splits every user's interactions at random by ratio.

    Of ``n`` interactions ``n * ratio``, rounded half up, go to valid and to test, at least one each from three
    interactions on; users with fewer stay in train. Nobody's train part is empty.

    Raises:
        ValueError: If the ratios are wrong, a pair is repeated, or a part is empty.
    """
    valid, test = _ratio_counts(interactions.user_degree(), ratios)
    return _by_user(interactions, _random_order(interactions, seed), valid, test)


def random_mmrec(interactions: Interactions, *, seed: int = 0) -> Parts:
    """Splits every user's interactions at random with the counts of MMRec's published splits.

    Of ``n`` interactions ``max(1, n // 10)`` go to valid and ``(n + 5) // 10`` to test (https://arxiv.org/abs/2302.03497);
    a user's only interaction stays in train.

    Raises:
        ValueError: If a pair is repeated or a part is empty.
    """
    degree = interactions.user_degree()
    valid, test = _leave_some(degree, np.maximum(1, degree // 10), (degree + 5) // 10)
    return _by_user(interactions, _random_order(interactions, seed), valid, test)


def leave_one_out(interactions: Interactions, *, seed: int = 0) -> Parts:
    """Holds out every user's last interaction for test and the second last for valid.

    Without times the two are drawn at random by the seed. Users with fewer than three interactions stay in train.

    Raises:
        ValueError: If a pair is repeated or a part is empty.
    """
    timed = interactions.time is not None
    order = _time_order(interactions) if timed else _random_order(interactions, seed)
    one = (interactions.user_degree() >= len(PARTS)).astype(np.int64)
    return _by_user(interactions, order, one, one)


def temporal_user(interactions: Interactions, ratios: Sequence[float] = DEFAULT_RATIOS) -> Parts:
    """Splits every user's interactions by time: the newest are test, those before valid; counts as ``random_ratio``.

    Of a user's interactions at the same time the one with the lower item row counts as older.

    Raises:
        ValueError: If there are no times, the ratios are wrong, a pair is repeated, or a part is empty.
    """
    valid, test = _ratio_counts(interactions.user_degree(), ratios)
    return _by_user(interactions, _time_order(interactions), valid, test)


def temporal_global(interactions: Interactions, ratios: Sequence[float] = DEFAULT_RATIOS) -> Parts:
    """Splits all interactions at two moments, so that nothing is learnt from the future.

    Interactions at the moment of a cut belong to the later part. Users and items that first appear after the cut
    are in valid and test only; they are kept, and counted by ``Dataset.statistics``.

    Raises:
        ValueError: If there are no times, the ratios are wrong, a pair is repeated, or a part is empty.
    """
    time, shares = _times(interactions), _shares(ratios)
    _require_unique(interactions)
    ordered = np.sort(time)
    first, second = ordered[(np.cumsum(shares[:2]) * len(time) + 1e-9).astype(np.int64)] if len(time) else (0, 0)
    return _parts(interactions, (time >= first).astype(np.int8) + (time >= second))


def cold_item(interactions: Interactions, ratios: Sequence[float] = DEFAULT_RATIOS, *, seed: int = 0) -> Parts:
    """Holds out whole items: all interactions of a valid or test item leave train, so it is known by content alone.

    The ratios are shares of the items that have an interaction, at least one item each. A user who met held-out
    items only has no training interaction.

    Raises:
        ValueError: If the ratios are wrong, a pair is repeated, or a part is empty.
    """
    _require_unique(interactions)
    shares = _shares(ratios)
    items = np.random.default_rng(seed).permutation(np.flatnonzero(interactions.item_degree()))
    num_valid, num_test = np.maximum(1, np.floor(len(items) * shares[1:] + 0.5).astype(np.int64))
    code = np.full(interactions.num_items, TRAIN, dtype=np.int8)
    code[items[:num_test]] = TEST
    code[items[num_test : num_test + num_valid]] = VALID
    return _parts(interactions, code[interactions.item])


def hold_out_valid(interactions: Interactions, *, fraction: float = 0.1, seed: int = 0) -> Split:
    """Draws a validation part from given training interactions, where a source has only train and test.

    Of a user's ``n`` interactions ``n * fraction``, rounded half up, are drawn, at least one from two interactions on.

    Raises:
        ValueError: If the fraction is not between 0 and 1, a pair is repeated, or a part is empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"expected a validation fraction between 0 and 1, got {fraction}")
    _require_unique(interactions)
    degree = interactions.user_degree()
    wanted = np.maximum(1, np.floor(degree * fraction + 0.5).astype(np.int64))
    valid, test = _leave_some(degree, wanted, np.zeros_like(degree))
    codes = _codes(interactions, _random_order(interactions, seed), valid, test)
    train, drawn = (_part(interactions, codes, code) for code in (TRAIN, VALID))
    return Split(train, drawn)


def split_given(
    interactions: Interactions,
    labels: ArrayLike,
    *,
    threshold: float | None = None,
    repeats: Repeats = "sum",
    name: str = "the data",
) -> Parts:
    """Makes interactions implicit, merges those repeated within a part, and splits them by label.

    Args:
        interactions: All interactions; weights are ratings.
        labels: 0 for train, 1 for valid, 2 for test ``(num_interactions,)``.
        threshold: The lowest rating that counts; all count without one.
        repeats: How repeated pairs become one, see ``Interactions.deduplicate``.
        name: What is read, for messages.

    Raises:
        ValueError: If no rating reaches the threshold, labels are wrong, a part is empty, or a pair is in two parts.
    """
    kept = interactions.positive(threshold)
    split, test = given(interactions.implicit(threshold), np.asarray(labels)[kept])
    train, valid, test = (merge_repeats(part, repeats, name=name) for part in (split.train, split.valid, test))
    return Split(train, valid), test


def merge_repeats(interactions: Interactions, repeats: Repeats = "sum", *, name: str = "the data") -> Interactions:
    """Makes every pair unique and logs a warning with the number of repeated rows."""
    merged = interactions.deduplicate(repeats)
    extra = len(interactions) - len(merged)
    if extra:
        log.warning("%s: merged %d repeated interactions into earlier ones (rule %r)", name, extra, repeats)
    return merged


class SplitConfig(Config):
    """A split by name, as a YAML file states it; a bare string is its name.

    Args:
        name: One of ``random``, ``mmrec``, ``leave-one-out``, ``temporal-user``, ``temporal-global``, ``cold-item``.
        ratios: Shares of train, valid and test, for the splits that take them; 8:1:1 if not given.
        seed: The seed, for the splits that draw.
    """

    name: str = "random"
    ratios: Ratios | None = None
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, values: Any) -> Any:
        return {"name": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in SPLITS:
            raise ValueError(unknown_name(self.name, SPLITS, kind="split"))
        if self.ratios is not None:
            _shares(self.ratios)
            if self.name in WITHOUT_RATIOS:
                raise ValueError(
                    f"expected no ratios for the split {self.name!r}, got {self.ratios}; its counts are fixed"
                )
        return self

    def apply(self, interactions: Interactions) -> Parts:
        """Splits the interactions; see the function of that name for the errors it raises."""
        return SPLITS[self.name](interactions, self.ratios or DEFAULT_RATIOS, self.seed)


SPLITS: dict[str, Callable[[Interactions, Ratios, int], Parts]] = {
    "random": lambda interactions, ratios, seed: random_ratio(interactions, ratios, seed=seed),
    "mmrec": lambda interactions, _, seed: random_mmrec(interactions, seed=seed),
    "leave-one-out": lambda interactions, _, seed: leave_one_out(interactions, seed=seed),
    "temporal-user": lambda interactions, ratios, _: temporal_user(interactions, ratios),
    "temporal-global": lambda interactions, ratios, _: temporal_global(interactions, ratios),
    "cold-item": lambda interactions, ratios, seed: cold_item(interactions, ratios, seed=seed),
}
WITHOUT_RATIOS = ("mmrec", "leave-one-out")


def _shares(ratios: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(ratios, dtype=np.float64)
    if values.shape != (3,) or not np.isfinite(values).all() or (values <= 0).any():
        raise ValueError(f"expected three positive ratios (train, valid, test) such as (8, 1, 1), got {tuple(ratios)}")
    return values / values.sum()


def _ratio_counts(degree: IntArray, ratios: Sequence[float]) -> tuple[IntArray, IntArray]:
    shares = _shares(ratios)
    valid, test = (np.floor(degree * share + 0.5).astype(np.int64) for share in shares[1:])
    enough = degree >= len(PARTS)
    return _leave_some(degree, np.maximum(valid, 1) * enough, np.maximum(test, 1) * enough)


def _leave_some(degree: IntArray, valid: IntArray, test: IntArray) -> tuple[IntArray, IntArray]:
    """Caps the held-out counts so that one interaction stays: test gives first, down to one, then valid, then test."""
    excess = np.maximum(valid + test - np.maximum(degree - 1, 0), 0)
    from_test = np.minimum(excess, np.maximum(test - 1, 0))
    from_valid = np.minimum(excess - from_test, valid)
    return valid - from_valid, test - (excess - from_valid)


def _by_user(interactions: Interactions, order: IntArray, valid: IntArray, test: IntArray) -> Parts:
    _require_unique(interactions)
    return _parts(interactions, _codes(interactions, order, valid, test))


def _codes(interactions: Interactions, order: IntArray, valid: IntArray, test: IntArray) -> Codes:
    """Returns the part of every interaction, the last ones of each user in ``order`` being held out."""
    user = interactions.user[order]
    end = np.cumsum(interactions.user_degree())[user]
    from_end = end - np.arange(len(order))  # 1 for the last interaction of a user
    held_out = np.where(from_end <= test[user], TEST, np.where(from_end <= (test + valid)[user], VALID, TRAIN))
    codes = np.empty(len(order), dtype=np.int8)
    codes[order] = held_out
    return codes


def _random_order(interactions: Interactions, seed: int) -> IntArray:
    """Returns positions sorted by user and at random within; drawn over sorted pairs, so row order does not matter."""
    by_pair = np.argsort(interactions.pairs())
    draw = np.random.default_rng(seed).permutation(len(by_pair))
    return by_pair[np.argsort(interactions.user[by_pair] * len(by_pair) + draw)]


def _time_order(interactions: Interactions) -> IntArray:
    """Returns positions sorted by user and by time within; at the same time by item row."""
    by_pair = np.argsort(interactions.pairs())
    moments, moment = np.unique(_times(interactions)[by_pair], return_inverse=True)
    return by_pair[np.argsort(interactions.user[by_pair] * len(moments) + moment, kind="stable")]


def _times(interactions: Interactions) -> NDArray[Any]:
    if interactions.time is None:
        raise ValueError("expected times for a temporal split, got interactions without time; name the time column")
    return interactions.time


def _require_unique(interactions: Interactions) -> None:
    if not interactions.is_unique():
        raise ValueError("expected unique user–item pairs to split, got repeated ones; call deduplicate() first")


def _parts(interactions: Interactions, codes: NDArray[Any]) -> Parts:
    train, valid, test = (_part(interactions, codes, code) for code in (TRAIN, VALID, TEST))
    return Split(train, valid), test


def _part(interactions: Interactions, codes: NDArray[Any], code: int) -> Interactions:
    part = interactions.take(codes == code)
    if not len(part):
        longest = interactions.user_degree().max(initial=0)
        raise ValueError(
            f"expected interactions in every split, got an empty split: no {PARTS[code]} interactions out of "
            f"{len(interactions)} (at most {longest} per user); use more data, other ratios or another split"
        )
    return part
