"""A fixed sparse matrix as a differentiable operator: CSR with int32 indices, its transpose kept for backward."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


class SparseOperator(nn.Module):
    r"""The product :math:`\mathbf{A} \mathbf{X}` with a fixed sparse matrix, differentiable in :math:`\mathbf{X}`.

    The matrix and its transpose live in plain non-persistent buffers, so they move with the module, stay out of its
    state dict and can be broadcast. The backward pass is the product with the stored transpose. Everything runs
    in fp32 with autocast off: the CPU has no half-precision CSR product, and embedding tables are fp32 anyway.

    Args:
        edge_index: Source and target of every entry ``(2, num_edges)``: entry ``(target, source)`` of the matrix.
            Repeated entries add up.
        weight: The entries ``(num_edges,)``; ones by default.
        num_sources: The number of columns.
        num_targets: The number of rows.
    """

    crow: Tensor
    col: Tensor
    value: Tensor
    crow_t: Tensor
    col_t: Tensor
    value_t: Tensor

    def __init__(self, edge_index: Tensor, weight: Tensor | None, *, num_sources: int, num_targets: int) -> None:
        super().__init__()
        if edge_index.dim() != 2 or edge_index.size(0) != 2:
            raise ValueError(f"expected an edge_index of shape (2, num_edges), got {tuple(edge_index.shape)}")
        if weight is None:
            weight = torch.ones(edge_index.size(1), device=edge_index.device)
        if weight.shape != edge_index.shape[1:]:
            raise ValueError(f"expected {edge_index.size(1)} weights, got shape {tuple(weight.shape)}")
        self.num_sources, self.num_targets = num_sources, num_targets
        source, target = edge_index
        for suffix, matrix in (
            ("", _csr(target, source, weight, num_targets, num_sources)),
            ("_t", _csr(source, target, weight, num_sources, num_targets)),
        ):
            for name, tensor in zip(("crow", "col", "value"), matrix, strict=True):
                self.register_buffer(name + suffix, tensor, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        r"""Returns :math:`\mathbf{A}\mathbf{X}` ``(num_targets, dim)`` for ``x (num_sources, dim)``."""
        matrix, transpose = self.matrices()
        return _apply(x, self.num_sources, matrix, transpose)

    def transposed(self, x: Tensor) -> Tensor:
        r"""Returns :math:`\mathbf{A}^\top\mathbf{X}` ``(num_sources, dim)`` for ``x (num_targets, dim)``."""
        matrix, transpose = self.matrices()
        return _apply(x, self.num_targets, transpose, matrix)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Returns the matrix ``(num_targets, num_sources)`` and its transpose as CSR tensors that share the buffers."""
        rows, cols = self.num_targets, self.num_sources
        return (
            _view(self.crow, self.col, self.value, (rows, cols)),
            _view(self.crow_t, self.col_t, self.value_t, (cols, rows)),
        )

    def to_dense(self) -> Tensor:
        """Returns the matrix ``(num_targets, num_sources)``; for tests and small graphs."""
        return self.matrices()[0].to_dense()

    def extra_repr(self) -> str:
        """Returns the shape and the number of entries, for ``repr``."""
        return f"{self.num_targets} x {self.num_sources}, {self.value.numel()} entries"


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, matrix: Tensor, transpose: Tensor, x: Tensor) -> Tensor:
        ctx.transpose = transpose  # type: ignore[attr-defined]
        return matrix @ x

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[None, None, Tensor]:
        with torch.autocast(grad.device.type, enabled=False):  # backward may be called inside an autocast region
            return None, None, ctx.transpose @ grad.contiguous()  # type: ignore[attr-defined]


def _apply(x: Tensor, rows: int, matrix: Tensor, transpose: Tensor) -> Tensor:
    if x.dim() != 2 or x.size(0) != rows:
        raise ValueError(f"expected x of shape ({rows}, dim), got {tuple(x.shape)}")
    with torch.autocast(x.device.type, enabled=False):
        return _Product.apply(matrix, transpose, x.float())


def _csr(row: Tensor, col: Tensor, weight: Tensor, num_rows: int, num_cols: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sorts entries by row, then column, and adds up repeated ones."""
    key, order = torch.sort(row.long() * num_cols + col.long())
    key, position = torch.unique_consecutive(key, return_inverse=True)
    value = torch.zeros(len(key), device=weight.device).index_add_(0, position, weight.float()[order])
    counts = torch.bincount(torch.div(key, num_cols, rounding_mode="floor"), minlength=num_rows)
    crow = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    return crow.int(), (key % num_cols).int(), value


def _view(crow: Tensor, col: Tensor, value: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.sparse_csr_tensor(crow, col, value, size, check_invariants=False)
