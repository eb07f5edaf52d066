"""Losses as pure functions of scores and embeddings; models weight them and give them names."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 2**16  # scores that go through a loss at once on the CPU


def bpr(positive: Tensor, negative: Tensor, known: Tensor | None = None) -> Tensor:
    r"""Bayesian personalised ranking, from `Rendle et al., 2009 <https://arxiv.org/abs/1205.2618>`_.

    .. math:: -\frac{1}{BK}\sum_{b,k} \ln \sigma(s^+_b - s^-_{bk})

    Args:
        positive: Scores of the positives ``(B,)``.
        negative: Scores of the negatives ``(B, K)``.
        known: Which negatives are training positives and left out ``(B, K)``.

    Returns:
        The mean loss, a scalar.

    >>> round(bpr(torch.tensor([2.0]), torch.tensor([[2.0]])).item(), 4)
    0.6931
    """
    if positive.is_cpu:
        kind = torch.promote_types(torch.promote_types(positive.dtype, negative.dtype), torch.float32)
        return cast(Tensor, _BlockedBpr.apply(positive.to(kind), negative.to(kind), known))
    loss = F.softplus(negative - positive.unsqueeze(-1))
    if known is None:
        return loss.mean()
    return loss.masked_fill(known, 0.0).sum() / (~known).sum().clamp(min=1)


class _BlockedBpr(torch.autograd.Function):
    r"""BPR on the CPU, a block of rows at a time, in the cache: a third of the time of whole matrices.

    With :math:`p = \sigma(x)` the derivative of softplus, its value is :math:`\max(x, 0) - \ln\max(p, 1 - p)`: one
    exponential serves both.
    """

    @staticmethod
    def forward(ctx: Any, positive: Tensor, negative: Tensor, known: Tensor | None) -> Tensor:
        share, total = torch.empty_like(negative), 0.0
        for start in range(0, len(negative), step := max(BLOCK // max(negative.size(1), 1), 1)):
            rows = slice(start, start + step)
            x = negative[rows] - positive[rows, None]
            if known is not None:
                x.masked_fill_(known[rows], -torch.inf)
            p = torch.sigmoid(x, out=share[rows])
            total += x.clamp_(min=0).sum().item() - (p - 0.5).abs_().add_(0.5).log_().sum().item()
        count = negative.numel() - (0 if known is None else int(known.count_nonzero()))
        ctx.count = max(count, 1)
        ctx.save_for_backward(share)
        return positive.new_tensor(total / ctx.count if count or known is not None else torch.nan)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (share,) = ctx.saved_tensors
        negative = share * (grad / ctx.count)
        return -negative.sum(dim=1), negative, None


def sampled_softmax(
    positive: Tensor, negative: Tensor, temperature: float = 1.0, known: Tensor | None = None
) -> Tensor:
    r"""Softmax cross-entropy over the positive and the sampled negatives.

    From `"On the Effectiveness of Sampled Softmax Loss for Item Recommendation"
    <https://arxiv.org/abs/2201.02327>`_.

    .. math:: -\frac{1}{B}\sum_b \ln \frac{e^{s^+_b/\tau}}{e^{s^+_b/\tau} + \sum_k e^{s^-_{bk}/\tau}}

    Args:
        positive: Scores of the positives ``(B,)``.
        negative: Scores of the negatives ``(B, K)``.
        temperature: The temperature :math:`\tau > 0`.
        known: Which negatives are training positives and left out ``(B, K)``.

    Returns:
        The mean loss, a scalar.
    """
    if known is not None:
        negative = negative.masked_fill(known, float("-inf"))
    scores = torch.cat([positive.unsqueeze(-1), negative], dim=-1) / temperature
    return (torch.logsumexp(scores, dim=-1) - scores[:, 0]).mean()


def info_nce(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    r"""Symmetric contrastive alignment of two views of the same nodes, on cosine similarity.

    From `"Representation Learning with Contrastive Predictive Coding" <https://arxiv.org/abs/1807.03748>`_, in the
    symmetric form of `CLIP <https://arxiv.org/abs/2103.00020>`_.

    .. math:: -\frac{1}{2N}\sum_i \left[\ln\frac{e^{a_i \cdot b_i/\tau}}{\sum_j e^{a_i \cdot b_j/\tau}}
              + \ln\frac{e^{a_i \cdot b_i/\tau}}{\sum_j e^{a_j \cdot b_i/\tau}}\right]

    Args:
        first: One view ``(N, dim)``; row ``i`` of both views is the same node.
        second: The other view ``(N, dim)``.
        temperature: The temperature :math:`\tau > 0`.

    Returns:
        The mean loss, a scalar; zero for no nodes at all.
    """
    if first.shape != second.shape:
        raise ValueError(f"expected two views of the same shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    if not len(first):
        return (first.sum() + second.sum()) * 0.0
    logits = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T / temperature
    target = torch.arange(len(first), device=first.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def l2(*embeddings: Tensor, size: int) -> Tensor:
    r"""Half the squared norm of the embeddings a batch touches, per training pair.

    .. math:: \frac{1}{2B}\sum \lVert \mathbf{e} \rVert^2

    Args:
        embeddings: Any number of tensors.
        size: The number of training pairs :math:`B`.
    """
    total = torch.stack([embedding.square().sum() for embedding in embeddings]).sum()
    return total / (2 * size)
