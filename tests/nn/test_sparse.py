import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec.nn.relation_conv import RelationConv, scatter_propagate
from graphrec.nn.sparse import SparseOperator
from tests.reference.propagation import dense_matrix


def random_edges(num_sources, num_targets, num_edges, seed=0):
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(num_sources, (num_edges,), generator=generator)
    target = torch.randint(num_targets, (num_edges,), generator=generator)
    return torch.stack([source, target]), torch.randn(num_edges, generator=generator)


def operator_and_matrix(num_sources=7, num_targets=5, num_edges=20, seed=0):
    edge_index, weight = random_edges(num_sources, num_targets, num_edges, seed)
    operator = SparseOperator(edge_index, weight, num_sources=num_sources, num_targets=num_targets)
    return operator, dense_matrix(edge_index, weight, num_sources, num_targets)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 30), st.integers(1, 4), st.integers(0, 10**6))
def test_equals_dense_algebra_forward_and_backward(num_sources, num_targets, num_edges, dim, seed):
    operator, matrix = operator_and_matrix(num_sources, num_targets, num_edges, seed)
    torch.testing.assert_close(operator.to_dense().double(), matrix, rtol=1e-5, atol=1e-6)
    for product, dense in ((operator, matrix), (operator.transposed, matrix.T)):
        x = torch.randn(dense.size(1), dim, requires_grad=True)
        twin = x.detach().double().requires_grad_()
        upstream = torch.randn(dense.size(0), dim)
        got, expected = product(x), dense @ twin
        got.backward(upstream)
        expected.backward(upstream.double())
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(x.grad.double(), twin.grad, rtol=1e-4, atol=1e-5)


def test_repeated_entries_add_up():
    edges = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0]])
    operator = SparseOperator(edges, torch.tensor([1.0, 2.0, 4.0, 8.0]), num_sources=2, num_targets=2)
    assert operator.to_dense().tolist() == [[0.0, 13.0], [2.0, 0.0]]
    assert operator.value.numel() == 2


def test_weights_are_ones_by_default():
    edges = torch.tensor([[0, 2], [1, 1]])
    assert SparseOperator(edges, None, num_sources=3, num_targets=2).to_dense().tolist() == [[0, 0, 0], [1, 0, 1]]


def test_empty_rows_and_columns_give_zeros():
    operator = SparseOperator(torch.tensor([[1], [2]]), None, num_sources=3, num_targets=4)
    x = torch.ones(3, 2, requires_grad=True)
    out = operator(x)
    out.sum().backward()
    assert out.sum(1).tolist() == [0.0, 0.0, 2.0, 0.0]
    assert x.grad.sum(1).tolist() == [0.0, 2.0, 0.0]


def test_no_edges_at_all():
    operator = SparseOperator(torch.zeros(2, 0, dtype=torch.long), None, num_sources=3, num_targets=2)
    assert operator(torch.ones(3, 4)).tolist() == [[0.0] * 4] * 2


def test_indices_are_int32_and_buffers_stay_out_of_the_state_dict():
    operator, _ = operator_and_matrix()
    assert operator.crow.dtype == operator.col.dtype == operator.crow_t.dtype == operator.col_t.dtype == torch.int32
    assert dict(operator.state_dict()) == {}
    assert {name for name, _ in operator.named_buffers()} == {"crow", "col", "value", "crow_t", "col_t", "value_t"}


def test_a_moved_operator_takes_its_buffers_along():
    operator = operator_and_matrix()[0].to("meta")
    assert {buffer.device.type for buffer in operator.buffers()} == {"meta"}


def test_repr_names_shape_and_entries():
    operator = SparseOperator(torch.tensor([[1], [2]]), None, num_sources=3, num_targets=4)
    assert repr(operator) == "SparseOperator(4 x 3, 1 entries)"


@pytest.mark.parametrize("inside", [True, False])
def test_autocast_keeps_the_product_in_fp32(inside):
    operator, _ = operator_and_matrix()
    x, weight = torch.randn(7, 3, requires_grad=True), torch.randn(3, 3)
    expected = operator(x)
    (gradient,) = torch.autograd.grad(expected.square().sum(), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ weight).dtype == torch.bfloat16
        out = operator(x)
        loss = out.square().sum()
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    assert out.dtype == torch.float32
    assert torch.equal(out, expected)
    assert torch.equal(x.grad, gradient)


def test_half_precision_input_is_raised_to_fp32():
    operator, _ = operator_and_matrix()
    x = torch.randn(7, 3).bfloat16().requires_grad_()
    out = operator(x)
    out.sum().backward()
    assert torch.equal(out, operator(x.float()))
    assert x.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("num_edges", [0, 25])
def test_equals_message_passing(num_edges):
    edge_index, weight = random_edges(7, 5, num_edges)
    operator = SparseOperator(edge_index, weight, num_sources=7, num_targets=5)
    x, twin = (torch.arange(28.0).view(7, 4).requires_grad_() for _ in range(2))
    got, expected = operator(x), RelationConv()(twin, edge_index, weight, num_targets=5)
    got.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-4, atol=1e-2)


@pytest.mark.scatter
def test_equals_torch_scatter():
    pytest.importorskip("torch_scatter", reason="torch-scatter is not installed")
    edge_index, weight = random_edges(7, 5, 25)
    operator = SparseOperator(edge_index, weight, num_sources=7, num_targets=5)
    x, twin = (torch.arange(28.0).view(7, 4).div(28).requires_grad_() for _ in range(2))
    got, expected = operator(x), scatter_propagate(twin, edge_index, weight, num_targets=5)
    got.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(x.grad, twin.grad)


def test_without_torch_scatter_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_scatter", None)
    with pytest.raises(ImportError, match="pip install --no-build-isolation torch-scatter"):
        scatter_propagate(torch.zeros(1, 1), torch.zeros(2, 0, dtype=torch.long), torch.zeros(0), 1)


@pytest.mark.parametrize(
    ("edge_index", "weight", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.long), None, r"\(2, num_edges\), got \(3, 2\)"),
        (torch.zeros(4, dtype=torch.long), None, r"\(2, num_edges\), got \(4,\)"),
        (torch.zeros(2, 3, dtype=torch.long), torch.ones(2), r"expected 3 weights, got shape \(2,\)"),
    ],
)
def test_bad_edges_are_refused(edge_index, weight, message):
    with pytest.raises(ValueError, match=message):
        SparseOperator(edge_index, weight, num_sources=2, num_targets=2)


@pytest.mark.parametrize("shape", [(6, 2), (7,)])
def test_input_of_the_wrong_shape_is_refused(shape):
    operator, _ = operator_and_matrix()
    with pytest.raises(ValueError, match=r"expected x of shape \(7, dim\)"):
        operator(torch.zeros(shape))
