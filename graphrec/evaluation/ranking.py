"""Full ranking in blocks of users: the exact top k, the items to recommend, and the metrics of every user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from graphrec.data.dataset import check_disjoint
from graphrec.data.interactions import Ids, Interactions
from graphrec.evaluation.metrics import METRICS, WITHOUT_CUTOFF, MetricAt
from graphrec.runtime import track

Result = TypeVar("Result")
BLOCK_CELLS = 1 << 22  # 16 MiB of float32 scores: measured fastest on CPU, where a block then stays in the cache
BLOCK_CELLS_GPU = 1 << 26
METRIC_BLOCK = 1 << 16  # users per step of the metrics, whose temporaries are (users, k): few and large operations


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores all items for some users; evaluation knows no more of a model."""

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``, for user rows ``(len(users),)``.

        The tensor belongs to the caller, who masks items in it; a view of something else is copied first.
        """


class TopK(NamedTuple):
    """The best items of every row, best first: ``values (num_rows, k)`` and ``items (num_rows, k)``."""

    values: Tensor
    items: Tensor


class Ranking(NamedTuple):
    """Ranked items: ``users (num_users,)``, ``items (num_users, k)``, ``scores (num_users, k)``.

    A user with fewer than ``k`` eligible items has -1 in ``items`` and ``-inf`` in ``scores`` at the end.
    """

    users: Tensor
    items: Tensor
    scores: Tensor


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics with one value per user, unrounded.

    Args:
        frame: A column per metric such as ``Recall@20``; the index ``user`` holds the rows of the users that have
            held-out items, ascending.
        users: The ids behind the user rows.
        lists: The item rows ranked for each of these users, best first ``(len(frame), max_k)``; -1 for none left.
    """

    frame: pd.DataFrame = field(repr=False)
    users: Ids
    lists: NDArray[np.int32] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.frame)

    def mean(self) -> dict[str, float]:
        """Returns the mean of every metric over the users with held-out items, unrounded."""
        return {str(name): float(value) for name, value in self.frame.mean().items()}

    def by_id(self) -> pd.DataFrame:
        """Returns the values of every user, indexed by external user id."""
        return self.frame.set_axis(pd.Index(self.users.ids(self.frame.index), name="user", tupleize_cols=False))


def top_k(scores: Tensor, k: int, *, users: Tensor | None = None) -> TopK:
    """Returns the ``k`` highest scores of every row; ties go to the lowest item row, exactly.

    ``torch.topk`` leaves open which of several equal items it takes. So one item more is asked for: a row without
    equal neighbours among its ``k + 1`` best is final, and only the others are resolved.

    >>> top_k(torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0]]), 3).items.tolist()
    [[1, 3, 2]]

    Args:
        scores: Scores ``(num_rows, num_items)``; half precision is compared in float32, integers in float64.
        k: How many.
        users: What the rows are called in an error message ``(num_rows,)``; by default their numbers.

    Returns:
        Values and item rows ``(num_rows, k)``, best first.

    Raises:
        ValueError: If ``k`` is not in ``[1, num_items]``, or a score is NaN.
    """
    num_items = scores.shape[1]
    if not 1 <= k <= num_items:
        raise ValueError(f"expected 1 <= k <= {num_items}, the size of the catalogue, got k={k}")
    scores = _comparable(scores)
    best = TopK(*scores.topk(min(k + 1, num_items), dim=1))
    _check_no_nan(best.values[:, 0], users)
    equal = best.values[:, 1:] == best.values[:, :-1]
    values, items = best.values[:, :k], best.items[:, :k]
    if equal.any():
        at_edge = equal[:, k - 1 :].any(dim=1).nonzero().squeeze(1)
        items[at_edge] = _resolve_edge(scores[at_edge], values[at_edge], items[at_edge])
        tied = equal.any(dim=1).nonzero().squeeze(1)
        values[tied], items[tied] = _lowest_first(values[tied], items[tied])
    return TopK(values, items)


def rank(
    scorer: Scorer,
    users: ArrayLike | Tensor,
    k: int,
    *,
    seen: Interactions | sp.csr_array,
    candidates: ArrayLike | None = None,
    exclude: ArrayLike | Interactions | sp.csr_array | None = None,
    block_size: int | None = None,
    progress: bool = False,
) -> Ranking:
    """Returns the ``k`` best items of every user among those that the user has not seen.

    Args:
        scorer: What gives the scores.
        users: User rows ``(num_users,)`` in any order; on the scorer's device if it needs them there.
        k: How many items per user.
        seen: Interactions never to be recommended, usually training; as a matrix, ``(all users, num_items)``.
        candidates: The only item rows to choose from; all by default.
        exclude: Item rows never to be recommended to anyone, or pairs not to be recommended to these users.
        block_size: Users scored at once; by default so many that a block of scores fits the cache.
        progress: Whether a bar is shown on a terminal, after two seconds.

    Raises:
        ValueError: If ``k`` is larger than the catalogue, a row is out of range, or a score is NaN.
    """
    users = users if isinstance(users, Tensor) else torch.as_tensor(np.asarray(users, dtype=np.int64))
    by_user, everywhere = (exclude, None) if isinstance(exclude, Interactions | sp.csr_array) else (None, exclude)
    matrices = [_matrix(part) for part in (seen, by_user) if part is not None]
    closed = _closed_items(matrices[0].shape[1], candidates, everywhere)
    masks, work = _selected(matrices, users), partial(_best, k=k)
    parts = list(_blocks(scorer, users, k, masks, closed, block_size, progress, work))
    parts = parts or [TopK(torch.empty(0, k), torch.empty(0, k, dtype=torch.int64))]
    return Ranking(users, torch.cat([part.items for part in parts]), torch.cat([part.values for part in parts]))


def evaluate(
    scorer: Scorer,
    *,
    seen: Interactions,
    truth: Interactions,
    metrics: Sequence[str] = tuple(METRICS),
    ks: Sequence[int] = (10, 20),
    also_mask: Interactions | None = None,
    block_size: int | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Evaluation:
    """Ranks all items for every user with held-out items and returns the metrics of each of them.

    Args:
        scorer: What gives the scores; the work is done on the device of the scores.
        seen: Training interactions: left out of the ranking. Users without any are evaluated all the same.
        truth: The held-out interactions, disjoint from ``seen``.
        metrics: Keys of ``METRICS`` or ``WITHOUT_CUTOFF``; the latter, ``"auc"``, take longer: they rank all items.
        ks: The cut-offs of every metric; the largest is the length of the lists.
        also_mask: More interactions to leave out, such as validation when the test set is scored; off by default,
            as in the literature.
        block_size: Users scored at once; by default so many that a block of scores fits the cache.
        device: Where the user rows given to the scorer lie.
        progress: Whether a bar is shown on a terminal, after two seconds.

    Raises:
        ValueError: If there is no held-out interaction or metric, a metric is unknown, ``k`` is larger than the
            catalogue, the splits overlap, or a score is NaN.
    """
    wanted = MetricAt.expand(metrics, ks)
    if not wanted or not ks:
        raise ValueError(f"expected at least one metric and one cut-off, got metrics={metrics!r}, ks={ks!r}")
    masked = {"seen": seen} if also_mask is None else {"seen": seen, "also_mask": also_mask}
    _check_held_out(truth, masked)
    held_out = _matrix(truth)
    relevant = np.diff(held_out.indptr).astype(np.int64)
    rows = np.flatnonzero(relevant)
    users = torch.from_numpy(rows).to(device)
    masks = _selected([_matrix(part) for part in masked.values()], users)
    answers = _Pairs(held_out, rows)
    whole = [metric for metric in wanted if metric.k is None]

    def work(block: _Block) -> tuple[Tensor, dict[str, Tensor]]:
        return _best(block, max(ks)).items.to(torch.int32), _whole(whole, block, answers)

    found = list(_blocks(scorer, users, max(ks), masks, None, block_size, progress, work))
    items = torch.cat([top for top, _ in found])
    values = _values(wanted, items, answers, torch.from_numpy(relevant[rows]))
    values |= {name: torch.cat([part[name] for _, part in found]).cpu().numpy() for name in found[0][1]}
    frame = pd.DataFrame(values, index=pd.Index(rows, name="user"))
    return Evaluation(frame[[metric.label for metric in wanted]], truth.users, items.cpu().numpy())


class _Pairs:
    """The items of each user of a list, as flat positions in a block of scores ``(users of the block, num_items)``."""

    def __init__(self, matrix: sp.csr_array, users: NDArray[np.int64]) -> None:
        chosen = matrix[users]
        chosen.sort_indices()
        self.num_items = int(matrix.shape[1])
        self.bounds = chosen.indptr
        row = np.repeat(np.arange(len(users), dtype=np.int64), np.diff(chosen.indptr))
        self.positions = torch.from_numpy(row * self.num_items + chosen.indices)

    def block(self, start: int, stop: int, device: torch.device) -> Tensor:
        """Returns the positions of the users ``start`` to ``stop``, counted from the first of them."""
        positions = self.positions[self.bounds[start] : self.bounds[stop]]
        return positions.to(device) - start * self.num_items

    def contain(self, start: int, items: Tensor) -> Tensor:
        """Returns which items ``(block, k)``, -1 for none, belong to their user: a boolean of that shape."""
        positions = self.block(start, start + len(items), items.device)
        row = positions.div(self.num_items, rounding_mode="floor")
        found = items[row] == positions.remainder(self.num_items).unsqueeze(1)  # (pairs of the block, k)
        pair, place = found.nonzero(as_tuple=True)
        hits = torch.zeros_like(items, dtype=torch.bool)
        hits[row[pair], place] = True
        return hits


class _Block(NamedTuple):
    """The scores of a block of users ``(block, num_items)``, -inf where an item is masked, and what masked them."""

    users: Tensor
    start: int
    scores: Tensor
    masks: Sequence[_Pairs]

    def marked(self, pairs: Sequence[_Pairs]) -> Tensor:
        """Returns which cells are among the pairs: a boolean of the scores' shape."""
        marks = torch.zeros_like(self.scores, dtype=torch.bool)
        for part in pairs:
            marks.view(-1)[part.block(self.start, self.start + len(marks), marks.device)] = True
        return marks


def _blocks(
    scorer: Scorer,
    users: Tensor,
    k: int,
    masks: Sequence[_Pairs],
    closed: Tensor | None,
    block_size: int | None,
    progress: bool,
    work: Callable[[_Block], Result],
) -> Iterator[Result]:
    """Yields what is made of the masked scores of every block of users; one block is held at a time."""
    num_items = masks[0].num_items
    if not 1 <= k <= num_items:
        raise ValueError(f"expected 1 <= k <= {num_items}, the size of the catalogue, got k={k}")
    size = block_size if block_size is not None else _default_block(num_items, users.device)
    if size < 1:
        raise ValueError(f"expected block_size >= 1, got {block_size}")
    starts: Iterable[int] = range(0, len(users), size)
    for start in track(starts, "ranking", total=-(-len(users) // size)) if progress else starts:
        yield work(_score_block(scorer, users[start : start + size], start, masks, closed))


@torch.no_grad()
def _score_block(scorer: Scorer, users: Tensor, start: int, masks: Sequence[_Pairs], closed: Tensor | None) -> _Block:
    scores = _scores(scorer, users, masks[0].num_items)
    for mask in masks:
        scores.view(-1)[mask.block(start, start + len(users), scores.device)] = -torch.inf
    if closed is not None:
        scores.masked_fill_(closed.to(scores.device), -torch.inf)
    return _Block(users, start, scores, masks)


@torch.no_grad()
def _best(block: _Block, k: int) -> TopK:
    """Returns the top k of every user of the block, -1 where nothing eligible is left."""
    top = top_k(block.scores, k, users=block.users)
    return TopK(top.values, top.items.masked_fill_(top.values == -torch.inf, -1))


@torch.no_grad()
def _whole(wanted: Sequence[MetricAt], block: _Block, answers: _Pairs) -> dict[str, Tensor]:
    """Returns the metrics that look at the whole ranking, of every user of the block."""
    if not wanted:
        return {}
    relevant, eligible = block.marked([answers]), ~block.marked(block.masks)
    return {metric.label: WITHOUT_CUTOFF[metric.name](block.scores, relevant, eligible) for metric in wanted}


def _scores(scorer: Scorer, users: Tensor, num_items: int) -> Tensor:
    scores = scorer.score(users)
    if scores.shape != (len(users), num_items):
        raise ValueError(f"expected scores of shape ({len(users)}, {num_items}), got {tuple(scores.shape)}")
    if scores._base is not None:  # a view, such as one row of popularity for everyone: not ours to write to
        scores = scores.clone(memory_format=torch.contiguous_format)
    return _comparable(scores).contiguous()


def _comparable(scores: Tensor) -> Tensor:
    if not scores.is_floating_point():
        return scores.to(torch.float64)
    return scores.float() if scores.element_size() < 4 else scores


def _check_no_nan(best: Tensor, users: Tensor | None) -> None:
    # topk sorts NaN above everything, so a row with one has it in front
    bad = best.isnan().nonzero().squeeze(1)
    if len(bad):
        named = bad if users is None else users[bad.to(users.device)]
        rows = ", ".join(str(row) for row in named[:5].tolist()) + (", …" if len(bad) > 5 else "")
        raise ValueError(
            f"expected scores without NaN, got NaN for {len(bad)} of {len(best)} users, user rows: {rows}; "
            "the model has diverged or its features are not finite"
        )


def _resolve_edge(scores: Tensor, values: Tensor, items: Tensor) -> Tensor:
    """Fills the places of the last value, which more items have than fit, with the lowest rows that have it."""
    num_items, k = scores.shape[1], values.shape[1]
    edge = values[:, -1:]
    place = torch.arange(k, device=scores.device)
    above = (values > edge).sum(dim=1, keepdim=True)
    downward = torch.arange(num_items, 0, -1, dtype=torch.int32, device=scores.device)
    lowest = num_items - torch.where(scores == edge, downward, 0).topk(k, dim=1).values.long()  # ascending rows
    return torch.where(place < above, items, lowest.gather(1, (place - above).clamp(min=0)))


def _lowest_first(values: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Orders by value, and equal values by item row."""
    items, order = items.sort(dim=1)
    values = values.gather(1, order) + 0.0  # -0.0 equals 0.0, but not to every sort
    values, order = values.sort(dim=1, descending=True, stable=True)
    return values, items.gather(1, order)


def _check_held_out(truth: Interactions, masked: Mapping[str, Interactions]) -> None:
    if not len(truth):
        raise ValueError("expected held-out interactions to evaluate on, got an empty split")
    for name, part in masked.items():
        check_disjoint(part, truth, names=(name, "truth"))


def _matrix(pairs: Interactions | sp.csr_array) -> sp.csr_array:
    return pairs.csr() if isinstance(pairs, Interactions) else sp.csr_array(pairs)


def _selected(matrices: Sequence[sp.csr_array], users: Tensor) -> list[_Pairs]:
    rows = users.cpu().numpy()
    for matrix in matrices:
        if matrix.shape != matrices[0].shape:
            raise ValueError(f"expected pairs of shape {matrices[0].shape} (users, items), got {matrix.shape}")
    if len(rows) and (rows.min() < 0 or rows.max() >= matrices[0].shape[0]):
        raise ValueError(f"expected user rows in [0, {matrices[0].shape[0]}), got [{rows.min()}, {rows.max()}]")
    return [_Pairs(matrix, rows) for matrix in matrices]


def _closed_items(num_items: int, candidates: ArrayLike | None, exclude: ArrayLike | None) -> Tensor | None:
    if candidates is None and exclude is None:
        return None
    closed = np.full(num_items, candidates is not None)
    for name, rows, value in (("candidate", candidates, False), ("excluded", exclude, True)):
        chosen = np.asarray([] if rows is None else rows, dtype=np.int64)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= num_items):
            raise ValueError(f"expected {name} item rows in [0, {num_items}), got [{chosen.min()}, {chosen.max()}]")
        closed[chosen] = value
    return torch.from_numpy(closed)


def _values(
    wanted: Sequence[MetricAt], items: Tensor, answers: _Pairs, relevant: Tensor
) -> dict[str, NDArray[np.float64]]:
    at_top = [metric for metric in wanted if metric.k is not None]
    columns: dict[str, list[Tensor]] = {metric.label: [] for metric in at_top}
    for start in range(0, len(items), METRIC_BLOCK):
        hits = answers.contain(start, items[start : start + METRIC_BLOCK])
        count = relevant[start : start + METRIC_BLOCK].to(hits.device)
        for metric in at_top:
            columns[metric.label].append(metric(hits, count))
    return {label: torch.cat(parts).cpu().numpy() for label, parts in columns.items()}


def _default_block(num_items: int, device: torch.device) -> int:
    return max(1, (BLOCK_CELLS if device.type == "cpu" else BLOCK_CELLS_GPU) // num_items)
