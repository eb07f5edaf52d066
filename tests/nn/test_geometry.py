import math

import pytest
import torch

from graphrec.nn.geometry import alignment, uniformity

RIGHT, LEFT, UP = [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]


def test_alignment_by_hand():
    first, second = torch.tensor([RIGHT, RIGHT, RIGHT]), torch.tensor([RIGHT, UP, LEFT])
    assert alignment(first, second).item() == pytest.approx((0 + 2 + 4) / 3)


def test_uniformity_by_hand():
    view = torch.tensor([RIGHT, LEFT, UP])
    assert uniformity(view).item() == pytest.approx(math.log((math.exp(-8) + 2 * math.exp(-4)) / 3), rel=1e-5)
    assert uniformity(view, 0.5).item() == pytest.approx(math.log((math.exp(-2) + 2 * math.exp(-1)) / 3), rel=1e-5)
    assert uniformity(torch.tensor([UP, UP])).item() == pytest.approx(0, abs=1e-6)


def test_both_equal_a_slow_loop_over_directions():
    draw = torch.Generator().manual_seed(0)
    first, second = (torch.randn(7, 4, generator=draw) for _ in range(2))
    a, b = first / first.norm(dim=1, keepdim=True), second / second.norm(dim=1, keepdim=True)
    expected = sum(((x - y) ** 2).sum().item() for x, y in zip(a, b, strict=True)) / 7
    assert alignment(first, second).item() == pytest.approx(expected, rel=1e-5)
    pairs = [math.exp(-2 * ((a[i] - a[j]) ** 2).sum().item()) for i in range(7) for j in range(i)]
    assert uniformity(first).item() == pytest.approx(math.log(sum(pairs) / 21), rel=1e-5)


def test_lengths_do_not_matter():
    view = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    scaled = view * torch.arange(1.0, 7.0).unsqueeze(-1)
    assert alignment(view, scaled).item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(uniformity(view), uniformity(scaled))


def test_too_few_nodes_are_refused():
    with pytest.raises(ValueError, match=r"same shape with at least one row, got \(2, 3\) and \(3, 3\)"):
        alignment(torch.ones(2, 3), torch.ones(3, 3))
    with pytest.raises(ValueError, match="at least one row"):
        alignment(torch.ones(0, 3), torch.ones(0, 3))
    with pytest.raises(ValueError, match="expected at least two rows, got 1"):
        uniformity(torch.ones(1, 3))
