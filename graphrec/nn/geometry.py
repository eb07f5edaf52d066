"""How views lie on the unit sphere: alignment between two of them, uniformity of one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def alignment(first: Tensor, second: Tensor) -> Tensor:
    r"""The mean squared distance between two normalised views of the same nodes; 0 for the same directions.

    From `"Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere"
    <https://arxiv.org/abs/2005.10242>`_, with the exponent 2:

    .. math:: \frac{1}{N}\sum_i \lVert \hat{\mathbf{a}}_i - \hat{\mathbf{b}}_i \rVert^2 \in [0, 4]

    Args:
        first: One view ``(N, dim)``; row ``i`` of both views is the same node.
        second: The other view ``(N, dim)``.

    Returns:
        A scalar, lower for views that agree.

    Raises:
        ValueError: If the shapes differ, or there is no node.
    """
    if first.shape != second.shape or not len(first):
        shapes = tuple(first.shape), tuple(second.shape)
        raise ValueError(f"expected two views of the same shape with at least one row, got {shapes[0]} and {shapes[1]}")
    return (F.normalize(first, dim=-1) - F.normalize(second, dim=-1)).square().sum(dim=-1).mean()


def uniformity(view: Tensor, temperature: float = 2.0) -> Tensor:
    r"""The logarithm of the mean Gaussian potential over all pairs of a normalised view; 0 if all directions are one.

    From `"Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere"
    <https://arxiv.org/abs/2005.10242>`_:

    .. math:: \ln \frac{2}{N(N-1)}\sum_{i<j} e^{-t\lVert \hat{\mathbf{a}}_i - \hat{\mathbf{a}}_j \rVert^2} \in [-4t, 0]

    Args:
        view: The view ``(N, dim)``.
        temperature: The constant :math:`t > 0`.

    Returns:
        A scalar, lower for nodes that are spread more evenly.

    Raises:
        ValueError: If there are fewer than two nodes.
    """
    if len(view) < 2:
        raise ValueError(f"expected at least two rows, got {len(view)}")
    distance = F.pdist(F.normalize(view, dim=-1))
    return (-temperature * distance.square()).exp().mean().log()
