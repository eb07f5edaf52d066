"""LightGCN propagation over the user–item graph, as one differentiable operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

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

    The sum is a polynomial in :math:`\mathbf{A}` and is evaluated by Horner's rule, each layer one fused
    multiply-add; since :math:`\mathbf{A}` is symmetric, the backward pass is the same polynomial.

    Args:
        interactions: The normalised operator from items to users ``(num_users, num_items)``.
        user: Input of the users ``(num_users, dim)``.
        item: Input of the items ``(num_items, dim)``.
        num_layers: The number of layers :math:`L`.
        coupling: The coupling :math:`c`, a number or a learnable scalar.

    Returns:
        The read-outs of users ``(num_users, dim)`` and items ``(num_items, dim)``, fp32.

    Raises:
        ValueError: If the inputs do not fit the operator.
    """
    expected = (interactions.num_targets, interactions.num_sources)
    if (user.size(0), item.size(0)) != expected:
        raise ValueError(f"expected {expected} rows of users and items, got {(user.size(0), item.size(0))}")
    c = torch.as_tensor(coupling, dtype=torch.float32)  # a plain number stays on the CPU: reading it waits for no GPU
    with torch.autocast(user.device.type, enabled=False):
        readout = _Polynomial.apply(*interactions.matrices(), user.float(), item.float(), num_layers, c)
    users, items = readout
    return users, items


class _Polynomial(torch.autograd.Function):
    r"""Computes :math:`\frac{1}{L+1}\sum_l (c\mathbf{A})^l \mathbf{E}` for the bipartite :math:`\mathbf{A}`."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, matrix: Tensor, transpose: Tensor, user: Tensor, item: Tensor, num_layers: int, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.matrices, ctx.num_layers, ctx.c = (matrix, transpose), num_layers, c.item()  # type: ignore[attr-defined]
        *inner, readout = _horner(matrix, transpose, user, item, num_layers, c.item())
        ctx.save_for_backward(*(part for state in inner for part in state) if c.requires_grad else ())
        return readout

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, user_grad: Tensor, item_grad: Tensor
    ) -> tuple[None, None, Tensor, Tensor, None, Tensor | None]:
        with torch.autocast(user_grad.device.type, enabled=False):  # backward may be called inside an autocast region
            return None, None, *_backward(ctx, user_grad, item_grad)


def _backward(ctx: Any, user_grad: Tensor, item_grad: Tensor) -> tuple[Tensor, Tensor, None, Tensor | None]:
    (matrix, transpose), c = ctx.matrices, ctx.c
    if not ctx.needs_input_grad[5]:
        user_sum, item_sum = _horner(matrix, transpose, user_grad, item_grad, ctx.num_layers, c)[-1]
        return user_sum, item_sum, None, None
    grads = user_grad / (ctx.num_layers + 1), item_grad / (ctx.num_layers + 1)
    states = list(zip(ctx.saved_tensors[::2], ctx.saved_tensors[1::2], strict=True))
    user_sum, item_sum, slope = _adjoint(matrix, transpose, grads, states, c)
    return user_sum, item_sum, None, slope


def _horner(
    matrix: Tensor, transpose: Tensor, user: Tensor, item: Tensor, num_layers: int, c: float
) -> list[tuple[Tensor, Tensor]]:
    """Returns the brackets of ``(E + cA(E + cA(E + …))) / (L + 1)``, the innermost first, the whole last."""
    if num_layers == 0:
        return [(user.clone(), item.clone())]
    states = [(user, item)]
    for layer in range(1, num_layers + 1):
        share = 1.0 / (num_layers + 1) if layer == num_layers else 1.0
        inner_user, inner_item = states[-1]
        states.append(
            (
                torch.addmm(user, matrix, inner_item, beta=share, alpha=share * c),
                torch.addmm(item, transpose, inner_user, beta=share, alpha=share * c),
            )
        )
    return states


def _adjoint(
    matrix: Tensor, transpose: Tensor, grads: tuple[Tensor, Tensor], states: list[tuple[Tensor, Tensor]], c: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Walks the brackets from the outside in, collecting the gradients of the inputs and of the coupling."""
    user, item = grads
    user_sum, item_sum = user, item
    slope = user.new_zeros(())
    for inner_user, inner_item in reversed(states):
        user, item = matrix @ item, transpose @ user
        slope = slope + torch.vdot(user.flatten(), inner_user.flatten())
        slope = slope + torch.vdot(item.flatten(), inner_item.flatten())
        user, item = user * c, item * c
        user_sum, item_sum = user_sum + user, item_sum + item
    return user_sum, item_sum, slope
