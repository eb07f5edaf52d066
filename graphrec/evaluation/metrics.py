"""Ranking metrics as pure tensor functions: one value per user, from the hits in rank order.

Every metric has the signature ``metric(hits, relevant, k)``:

* ``hits (num_users, max_k)`` is boolean; ``hits[u, r]`` says whether the item at rank ``r + 1`` of user ``u`` is
  relevant;
* ``relevant (num_users,)`` counts the relevant items of each user, those outside the ranking included;
* ``k`` cuts the ranking, ``1 <= k <= max_k``.

It returns float64 values ``(num_users,)``. A user without a relevant item gets 0; ``evaluate`` leaves such users out.
The definitions are those of ranx (https://github.com/AmenRa/ranx) for binary relevance, to which the tests compare.
Below, ``h_r`` is 1 where rank ``r`` is a hit, else 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from graphrec.config import unknown_name

MetricFunction = Callable[[Tensor, Tensor, int], Tensor]


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
_LABELS = {"recall": "Recall", "precision": "Precision", "hit_rate": "HitRate"}


@dataclass(frozen=True)
class MetricAt:
    """A metric with its cut-off, such as Recall@20.

    >>> MetricAt.parse("recall@20")
    MetricAt(name='recall', k=20)
    >>> MetricAt("ndcg", 10).label
    'NDCG@10'

    Args:
        name: A key of ``METRICS``.
        k: The cut-off.

    Raises:
        ValueError: If the metric is unknown or ``k`` is below 1.
    """

    name: str
    k: int

    def __post_init__(self) -> None:
        if self.name not in METRICS:
            raise ValueError(unknown_name(self.name, METRICS, kind="metric"))
        if self.k < 1:
            raise ValueError(f"expected a cut-off k >= 1 for {self.name!r}, got {self.k}")

    @classmethod
    def parse(cls, text: str) -> MetricAt:
        """Reads ``"recall@20"``, or the label ``"Recall@20"``.

        Raises:
            ValueError: If there is no cut-off, or the metric is unknown.
        """
        name, _, k = text.strip().partition("@")
        if not k.isdecimal():
            raise ValueError(f"expected a metric with a cut-off like 'recall@20', got {text!r}")
        lowered = name.lower()
        return cls("hit_rate" if lowered == "hitrate" else lowered, int(k))

    @property
    def label(self) -> str:
        """The name shown in tables, such as ``Recall@20``."""
        return f"{_LABELS.get(self.name, self.name.upper())}@{self.k}"

    def __call__(self, hits: Tensor, relevant: Tensor) -> Tensor:
        """Returns the value of every user ``(num_users,)``, float64."""
        return METRICS[self.name](hits, relevant, self.k)


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
