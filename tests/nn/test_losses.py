import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec.nn import losses
from graphrec.nn.losses import bpr, info_nce, l2, sampled_softmax
from tests.reference.losses import slow_bpr, slow_info_nce, slow_l2, slow_sampled_softmax

sizes = st.integers(1, 5)
seeds = st.integers(0, 10**6)
temperatures = st.floats(0.1, 3.0)


def scores(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    positive = torch.randn(rows, generator=generator, dtype=torch.float64)
    negative = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return positive, negative, torch.rand(rows, columns, generator=generator) < 0.4


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, seeds)
def test_bpr_equals_the_loop(rows, columns, seed):
    positive, negative, known = scores(rows, columns, seed)
    assert bpr(positive, negative).item() == pytest.approx(slow_bpr(positive.tolist(), negative.tolist()))
    masked = slow_bpr(positive.tolist(), negative.tolist(), known.tolist())
    assert bpr(positive, negative, known).item() == pytest.approx(masked)


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, seeds, temperatures)
def test_sampled_softmax_equals_the_loop(rows, columns, seed, temperature):
    positive, negative, known = scores(rows, columns, seed)
    plain = slow_sampled_softmax(positive.tolist(), negative.tolist(), temperature)
    assert sampled_softmax(positive, negative, temperature).item() == pytest.approx(plain)
    masked = slow_sampled_softmax(positive.tolist(), negative.tolist(), temperature, known.tolist())
    assert sampled_softmax(positive, negative, temperature, known).item() == pytest.approx(masked)


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, seeds, temperatures)
def test_info_nce_equals_the_loop(rows, dim, seed, temperature):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, rows, dim, generator=generator, dtype=torch.float64)
    expected = slow_info_nce(first.tolist(), second.tolist(), temperature)
    assert info_nce(first, second, temperature).item() == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(sizes, sizes, seeds)
def test_l2_equals_the_loop(rows, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(rows, dim, generator=generator, dtype=torch.float64) for _ in range(3)]
    assert l2(*tensors, size=rows).item() == pytest.approx(slow_l2([t.tolist() for t in tensors], rows))


@pytest.mark.parametrize("loss", [bpr, lambda p, n, known: sampled_softmax(p, n, 0.5, known)])
def test_known_negatives_do_not_count_and_get_no_gradient(loss):
    positive, negative, known = scores(4, 3, seed=3)
    known[0], known[1] = True, False
    negative.requires_grad_()
    value = loss(positive, negative, known)
    value.backward()
    assert (negative.grad[known] == 0).all()
    assert (negative.grad[~known] > 0).all()
    changed = torch.where(known, negative.detach() + 100.0, negative.detach())
    assert torch.equal(loss(positive, changed, known), value.detach())


@pytest.mark.parametrize("loss", [bpr, lambda p, n, known: sampled_softmax(p, n, 0.5, known)])
def test_all_negatives_known_is_zero_with_zero_gradient(loss):
    positive, negative, _ = scores(3, 2, seed=0)
    positive.requires_grad_(), negative.requires_grad_()
    value = loss(positive, negative, torch.ones(3, 2, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert (positive.grad == 0).all()
    assert (negative.grad == 0).all()


@pytest.mark.parametrize("loss", [bpr, lambda p, n, known: sampled_softmax(p, n, 1.0, known)])
def test_an_empty_mask_changes_nothing(loss):
    positive, negative, _ = scores(3, 2, seed=0)
    none = torch.zeros(3, 2, dtype=torch.bool)
    torch.testing.assert_close(loss(positive, negative, none), loss(positive, negative, None))


@pytest.mark.parametrize("gap", [200.0, -200.0])
def test_far_apart_scores_stay_finite(gap):
    positive, negative = torch.tensor([gap], requires_grad=True), torch.tensor([[0.0]])
    for value in (bpr(positive, negative), sampled_softmax(positive, negative)):
        (slope,) = torch.autograd.grad(value, positive)
        assert value.item() == pytest.approx(max(-gap, 0.0))
        assert slope.item() == pytest.approx(0.0 if gap > 0 else -1.0)


def test_sampled_softmax_with_one_negative_is_bpr():
    positive, negative, _ = scores(6, 1, seed=2)
    torch.testing.assert_close(sampled_softmax(positive, negative), bpr(positive, negative))


def test_info_nce_of_equal_orthogonal_views_is_known():
    views = torch.eye(3, dtype=torch.float64)
    weight = torch.exp(torch.tensor(1 / 0.2, dtype=torch.float64))
    torch.testing.assert_close(info_nce(views, views * 7, 0.2), -(weight / (weight + 2)).log())


def test_info_nce_is_symmetric_and_one_node_costs_nothing():
    first, second = torch.randn(2, 5, 3)
    torch.testing.assert_close(info_nce(first, second), info_nce(second, first))
    assert info_nce(first[:1], second[:1]).item() == 0.0


def test_info_nce_of_nothing_is_a_differentiable_zero():
    first = torch.zeros(0, 3, requires_grad=True)
    value = info_nce(first, torch.zeros(0, 3))
    value.backward()
    assert value.item() == 0.0


def test_info_nce_of_zero_rows_has_finite_gradients():
    first, second = torch.zeros(3, 2, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    info_nce(first, second).backward()
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()


def test_info_nce_refuses_views_of_different_shape():
    with pytest.raises(ValueError, match=r"same shape, got \(3, 2\) and \(2, 2\)"):
        info_nce(torch.zeros(3, 2), torch.zeros(2, 2))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("block", [1, 20, 2**16])
def test_bpr_in_blocks_has_the_value_and_gradients_of_softplus(monkeypatch, block, masked):
    monkeypatch.setattr(losses, "BLOCK", block)
    torch.manual_seed(0)
    positive, negative = (10 * torch.randn(size, dtype=torch.float64) for size in (6, (6, 9)))
    known = torch.rand(6, 9) < 0.3 if masked else None
    pair = positive.clone().requires_grad_(), negative.clone().requires_grad_()
    other = positive.clone().requires_grad_(), negative.clone().requires_grad_()
    loss = (3 * bpr(*pair, known)).exp()
    kept = torch.ones(6, 9, dtype=torch.bool) if known is None else ~known
    expected = (3 * F.softplus(other[1] - other[0][:, None])[kept].mean()).exp()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for own, reference in zip(pair, other, strict=True):
        torch.testing.assert_close(own.grad, reference.grad)


def test_bpr_of_scores_far_apart_stays_finite_and_exact():
    negative = torch.tensor([[-200.0, -20.0, 20.0, 200.0]], requires_grad=True)
    bpr(torch.zeros(1), negative).backward()
    expected = F.softplus(negative.detach()).mean()
    torch.testing.assert_close(bpr(torch.zeros(1), negative.detach()), expected)
    torch.testing.assert_close(negative.grad, torch.sigmoid(negative.detach()) / 4)
    half = bpr(torch.zeros(1, dtype=torch.float16), negative.detach().half())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected)
