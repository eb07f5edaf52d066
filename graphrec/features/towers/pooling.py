"""From the vectors of a text's tokens to one vector: the ways that models were trained with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from graphrec.config import ConfigError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor


def pool(tokens: Tensor, mask: Tensor, modes: Sequence[str]) -> Tensor:
    """Pools the vectors of tokens, in 32 bits; several ways are laid side by side.

    The ways of `"Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks" <https://arxiv.org/abs/1908.10084>`_
    and of its library, whatever side is padded.

    Args:
        tokens: Vectors ``(num_texts, length, dim)``.
        mask: 1 where there is a token, 0 for padding ``(num_texts, length)``.
        modes: Names from ``POOLINGS``.

    Returns:
        Vectors ``(num_texts, dim * len(modes))``.
    """
    import torch

    return torch.cat([POOLINGS[mode](tokens.float(), mask) for mode in modes], dim=1)


def check_poolings(modes: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of ways to pool, if they are known.

    Raises:
        ConfigError: If one is not.
    """
    for mode in modes:
        if mode not in POOLINGS:
            raise ConfigError(unknown_name(mode, POOLINGS, kind="pooling"))
    return tuple(modes)


def _cls(tokens: Tensor, mask: Tensor) -> Tensor:
    return tokens[_rows(tokens), mask.argmax(dim=1)]


def _last(tokens: Tensor, mask: Tensor) -> Tensor:
    return tokens[_rows(tokens), mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)]


def _max(tokens: Tensor, mask: Tensor) -> Tensor:
    return tokens.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


def _mean(tokens: Tensor, mask: Tensor) -> Tensor:
    return _weighted_sum(tokens, mask) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def _mean_sqrt(tokens: Tensor, mask: Tensor) -> Tensor:
    return _weighted_sum(tokens, mask) / mask.sum(dim=1, keepdim=True).clamp(min=1).sqrt()


def _weighted_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Weights a token by its place, as `SGPT <https://arxiv.org/abs/2202.08904>`_ does."""
    import torch

    first = mask.argmax(dim=1, keepdim=True)  # where padding on the left ends
    place = torch.arange(1, mask.shape[1] + 1, device=mask.device) - first
    weights = place * mask
    return _weighted_sum(tokens, weights) / weights.sum(dim=1, keepdim=True).clamp(min=1)


def _weighted_sum(tokens: Tensor, weights: Tensor) -> Tensor:
    return (tokens * weights.unsqueeze(-1)).sum(dim=1)


def _rows(tokens: Tensor) -> Tensor:
    import torch

    return torch.arange(len(tokens), device=tokens.device)


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _cls,
    "last": _last,
    "max": _max,
    "mean": _mean,
    "mean_sqrt": _mean_sqrt,
    "weighted_mean": _weighted_mean,
}
