"""LightGCN propagation over typed relations."""

from __future__ import annotations

from torch import Tensor

from graphrec.nn.sparse import SparseOperator


def light_gcn(
    interactions: SparseOperator,
    user: Tensor,
    item: Tensor,
    num_layers: int,
    coupling: Tensor | float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""Propagates over the user–item graph and averages the layers.

    From `"LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation"
    <https://arxiv.org/abs/2002.02126>`_, with a coupling that is 1 in the paper:

    .. math:: \mathbf{E}^{(l+1)} = c\,\mathbf{A}\mathbf{E}^{(l)}, \qquad
              \mathbf{E} = \frac{1}{L+1}\sum_{l=0}^{L}\mathbf{E}^{(l)}

    Args:
        interactions: The normalised operator from items to users ``(num_users, num_items)``.
        user: Input of the users ``(num_users, dim)``.
        item: Input of the items ``(num_items, dim)``.
        num_layers: The number of layers :math:`L`.
        coupling: The coupling :math:`c`, a number or a learnable scalar.

    Returns:
        The read-outs of users ``(num_users, dim)`` and items ``(num_items, dim)``.
    """
    user_sum, item_sum = user, item
    for _ in range(num_layers):
        user, item = interactions(item), interactions.transposed(user)
        if not isinstance(coupling, float) or coupling != 1.0:
            user, item = user * coupling, item * coupling
        user_sum, item_sum = user_sum + user, item_sum + item
    scale = 1.0 / (num_layers + 1)
    return user_sum * scale, item_sum * scale
