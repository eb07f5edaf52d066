"""Ranking metrics as pure tensor functions: one value per user, from the hits in rank order, or from all scores.

Every metric of ``METRICS`` has the signature ``metric(hits, relevant, k)``:

* ``hits (num_users, max_k)`` is boolean; ``hits[u, r]`` says whether the item at rank ``r + 1`` of user ``u`` is
  relevant;
* ``relevant (num_users,)`` counts the relevant items of each user, those outside the ranking included;
* ``k`` cuts the ranking, ``1 <= k <= max_k``.

It returns float64 values ``(num_users,)``. A user without a relevant item gets 0; ``evaluate`` leaves such users out.
The definitions are those of ranx (https://github.com/AmenRa/ranx) for binary relevance, to which the tests compare.
Below, ``h_r`` is 1 where rank ``r`` is a hit, else 0.

The metrics of ``WITHOUT_CUTOFF`` look at the whole ranking, not at its top: ``metric(scores, relevant, eligible)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from graphrec.config import unknown_name

MetricFunction = Callable[[Tensor, Tensor, int], Tensor]
ScoreFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


def recall(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Returns the share of a user's relevant items that is among the first ``k``.

    ``Recall@k = sum_{r<=k} h_r / relevant``; the denominator is not cut at ``k``.

    >>> recall(torch.tensor([[True, False, True]]), torch.tensor([4]), 3).tolist()
    [0.5]

    Args:
        hits: Hits in rank order ``(num_users, max_k)``.
        relevant: Relevant items per user ``(num_users,)``.
        k: The cut-off.

    Raises:
        ValueError: If the shapes do not fit, or ``k`` exceeds ``max_k``.
    """
    return _top(hits, relevant, k).sum(dim=1) / relevant.clamp(min=1)


def precision(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Returns the share of the first ``k`` items that is relevant: ``Precision@k = sum_{r<=k} h_r / k``.

    >>> precision(torch.tensor([[True, False, True, False]]), torch.tensor([2]), 4).tolist()
    [0.5]

    Args:
        hits: Hits in rank order ``(num_users, max_k)``.
        relevant: Relevant items per user ``(num_users,)``.
        k: The cut-off; a ranking shorter than ``k`` is still divided by ``k``.

    Raises:
        ValueError: If the shapes do not fit, or ``k`` exceeds ``max_k``.
    """
    return _top(hits, relevant, k).sum(dim=1) / k


def ndcg(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Returns the normalised discounted cumulative gain (Järvelin & Kekäläinen, https://doi.org/10.1145/582415.582418).

    ``NDCG@k = sum_{r<=k} h_r / log2(r + 1)  /  sum_{r<=min(k, relevant)} 1 / log2(r + 1)``: the ideal ranking is
    cut at ``k`` too. With a hit at rank 2 and one relevant item: ``1 / log2(3)``.

    >>> ndcg(torch.tensor([[False, True], [True, True]]), torch.tensor([1, 5]), 2).tolist()
    [0.6309297535714575, 1.0]

    Args:
        hits: Hits in rank order ``(num_users, max_k)``.
        relevant: Relevant items per user ``(num_users,)``.
        k: The cut-off.

    Raises:
        ValueError: If the shapes do not fit, or ``k`` exceeds ``max_k``.
    """
    top = _top(hits, relevant, k)
    discount = (_ranks(top) + 1).log2().reciprocal()
    ideal = discount.cumsum(dim=0)[relevant.clamp(min=1, max=k) - 1]
    return (top * discount).sum(dim=1) / ideal


def average_precision(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Returns the average precision, whose mean over users is MAP.

    ``AP@k = sum_{r<=k} h_r Precision@r / relevant``; the denominator is not cut at ``k``, as in ranx. Hits at the
    ranks 1 and 3 of two relevant items: ``(1/1 + 2/3) / 2``.

    >>> average_precision(torch.tensor([[True, False, True]]), torch.tensor([2]), 3).tolist()
    [0.8333333333333333]

    Args:
        hits: Hits in rank order ``(num_users, max_k)``.
        relevant: Relevant items per user ``(num_users,)``.
        k: The cut-off.

    Raises:
        ValueError: If the shapes do not fit, or ``k`` exceeds ``max_k``.
    """
    top = _top(hits, relevant, k)
    return (top * top.cumsum(dim=1) / _ranks(top)).sum(dim=1) / relevant.clamp(min=1)


def reciprocal_rank(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Returns one over the rank of the first hit, 0 without one; its mean over users is MRR.

    >>> reciprocal_rank(torch.tensor([[False, True, True], [False, False, False]]), torch.tensor([2, 1]), 3).tolist()
    [0.5, 0.0]

    Args:
        hits: Hits in rank order ``(num_users, max_k)``.
        relevant: Relevant items per user ``(num_users,)``.
        k: The cut-off.

    Raises:
        ValueError: If the shapes do not fit, or ``k`` exceeds ``max_k``.
    """
    top = _top(hits, relevant, k)
    return (top / _ranks(top)).amax(dim=1)


def hit_rate(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Returns 1 where any of the first ``k`` items is relevant, else 0.

    >>> hit_rate(torch.tensor([[False, True], [False, False]]), torch.tensor([3, 3]), 2).tolist()
    [1.0, 0.0]

    Args:
        hits: Hits in rank order ``(num_users, max_k)``.
        relevant: Relevant items per user ``(num_users,)``.
        k: The cut-off.

    Raises:
        ValueError: If the shapes do not fit, or ``k`` exceeds ``max_k``.
    """
    return _top(hits, relevant, k).amax(dim=1)


def auc(scores: Tensor, relevant: Tensor, eligible: Tensor) -> Tensor:
    """Returns the area under the ROC curve: how often a relevant item is scored above another one.

    Hanley & McNeil (https://doi.org/10.1148/radiology.143.1.7063747); per user as by Rendle et al.
    (https://arxiv.org/abs/1205.2618). With the relevant items ``P`` and the other eligible ones ``N`` of a user,
    ``AUC = sum_{p in P, n in N} ([s_p > s_n] + [s_p = s_n] / 2) / (|P| |N|)``; in [0, 1], more is better, 0.5 is
    chance, and what a user without such pairs gets. Unlike the others it has no cut-off and gives no weight to the top.

    >>> scores = torch.tensor([[9.0, 3.0, 2.0, 2.0, 1.0]])
    >>> relevant = torch.tensor([[False, False, True, False, False]])
    >>> auc(scores, relevant, torch.tensor([[False, True, True, True, True]])).tolist()  # lost, tied, won
    [0.5]

    Args:
        scores: Scores without NaN ``(num_users, num_items)``.
        relevant: Which items are relevant, all of them eligible; a boolean of that shape.
        eligible: Which items are ranked at all, the others being masked; a boolean of that shape.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if scores.dim() != 2 or not scores.shape == relevant.shape == eligible.shape:
        shapes = ", ".join(str(tuple(part.shape)) for part in (scores, relevant, eligible))
        raise ValueError(f"expected scores, relevant and eligible of one shape (num_users, num_items), got {shapes}")
    positive = relevant.sum(dim=1)
    masked = (~eligible).sum(dim=1, keepdim=True)
    ordered = _sorted(scores.masked_fill(~eligible, -torch.inf))  # masked items first: no score is below theirs
    row, item = relevant.nonzero(as_tuple=True)
    place = torch.arange(len(row), device=row.device) - (positive.cumsum(dim=0) - positive)[row]
    values = scores.new_zeros(len(scores), int(positive.max()) if len(scores) else 0)  # one column per relevant item
    values[row, place] = scores[row, item]
    below = (torch.searchsorted(ordered, values) - masked).clamp(min=0)
    halves = below + torch.searchsorted(ordered, values, right=True) - masked  # 2 for an item below, 1 for a tie
    present = torch.arange(values.shape[1], device=row.device) < positive.unsqueeze(1)
    won = (halves * present).sum(dim=1) - positive.square()  # without the relevant items among themselves
    pairs = positive * (scores.shape[1] - masked.squeeze(1) - positive)
    return torch.where(pairs > 0, won.double() / 2 / pairs.clamp(min=1), 0.5)


METRICS: Mapping[str, MetricFunction] = MappingProxyType(
    {
        "recall": recall,
        "ndcg": ndcg,
        "precision": precision,
        "map": average_precision,
        "mrr": reciprocal_rank,
        "hit_rate": hit_rate,
    }
)
WITHOUT_CUTOFF: Mapping[str, ScoreFunction] = MappingProxyType({"auc": auc})
_LABELS = {"recall": "Recall", "precision": "Precision", "hit_rate": "HitRate"}


@dataclass(frozen=True)
class MetricAt:
    """A metric with its cut-off, such as Recall@20, or one that has none, such as AUC.

    >>> MetricAt.parse("recall@20")
    MetricAt(name='recall', k=20)
    >>> MetricAt("ndcg", 10).label, MetricAt("auc").label
    ('NDCG@10', 'AUC')

    Args:
        name: A key of ``METRICS`` or ``WITHOUT_CUTOFF``.
        k: The cut-off; None exactly for the latter.

    Raises:
        ValueError: If the metric is unknown, ``k`` is below 1, or there is a cut-off too many or too few.
    """

    name: str
    k: int | None = None

    def __post_init__(self) -> None:
        if self.name in WITHOUT_CUTOFF:
            if self.k is not None:
                raise ValueError(f"expected {self.name!r} without a cut-off, got k={self.k}; it ranks all items")
        elif self.name not in METRICS:
            raise ValueError(unknown_name(self.name, [*METRICS, *WITHOUT_CUTOFF], kind="metric"))
        elif self.k is None or self.k < 1:
            raise ValueError(f"expected a cut-off k >= 1 for {self.name!r}, got {self.k}")

    @classmethod
    def parse(cls, text: str) -> MetricAt:
        """Reads ``"recall@20"``, the label ``"Recall@20"``, or ``"auc"``.

        Raises:
            ValueError: If a cut-off is missing or one too many, or the metric is unknown.
        """
        name, at, k = text.strip().partition("@")
        key = _key(name)
        if key in WITHOUT_CUTOFF and not at:
            return cls(key)
        if not k.isdecimal():
            raise ValueError(f"expected a metric with a cut-off like 'recall@20', got {text!r}")
        return cls(key, int(k))

    @classmethod
    def expand(cls, names: Sequence[str], ks: Sequence[int]) -> list[MetricAt]:
        """Returns every metric at every cut-off, and once those without.

        >>> [metric.label for metric in MetricAt.expand(["recall", "AUC"], [10, 20])]
        ['Recall@10', 'Recall@20', 'AUC']

        Raises:
            ValueError: If a metric is unknown or comes with a cut-off, or a cut-off is below 1.
        """
        for name in names:
            if "@" in name:
                raise ValueError(
                    f"expected metrics without a cut-off, such as 'recall', got {name!r}; k is given apart"
                )
        found = (cls(key, k) for key in map(_key, names) for k in ((None,) if key in WITHOUT_CUTOFF else ks))
        return list(dict.fromkeys(found))

    @classmethod
    def label_of(cls, text: str) -> str:
        """Returns how a metric is called in tables; a name that is none of an accuracy metric stays as it is.

        >>> MetricAt.label_of("recall@20"), MetricAt.label_of("ILD-image@20")
        ('Recall@20', 'ILD-image@20')
        """
        try:
            return cls.parse(text).label
        except ValueError:
            return text

    @property
    def label(self) -> str:
        """The name shown in tables, such as ``Recall@20``."""
        label = _LABELS.get(self.name, self.name.upper())
        return label if self.k is None else f"{label}@{self.k}"

    def __call__(self, hits: Tensor, relevant: Tensor) -> Tensor:
        """Returns the value of every user ``(num_users,)``, float64.

        Raises:
            ValueError: If the metric has no cut-off: it needs the scores of all items, not the hits at the top.
        """
        if self.k is None:
            raise ValueError(f"expected a metric with a cut-off, got {self.label!r}, which needs the scores: evaluate")
        return METRICS[self.name](hits, relevant, self.k)


def _key(name: str) -> str:
    """Returns the key of a metric that may be written as in tables."""
    lowered = name.strip().lower()
    return "hit_rate" if lowered == "hitrate" else lowered


def _top(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    if hits.dim() != 2 or relevant.shape != hits.shape[:1]:
        raise ValueError(
            f"expected hits (num_users, max_k) and relevant (num_users,), got {tuple(hits.shape)} "
            f"and {tuple(relevant.shape)}"
        )
    if not 1 <= k <= hits.shape[1]:
        raise ValueError(f"expected a cut-off in [1, {hits.shape[1]}], the ranks at hand, got k={k}")
    return hits[:, :k].to(torch.float64)


def _ranks(top: Tensor) -> Tensor:
    return torch.arange(1, top.shape[1] + 1, dtype=top.dtype, device=top.device)


def _sorted(scores: Tensor) -> Tensor:
    """Returns every row ascending: numpy's sort is over twenty times faster than torch's on a CPU."""
    return scores.sort(dim=1).values if scores.is_cuda else torch.from_numpy(np.sort(scores.numpy(), axis=1))
