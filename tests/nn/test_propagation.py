import pytest
import torch
from torch_geometric.nn import LGConv

from graphrec.graph.transforms import symmetric_norm
from graphrec.nn.propagation import light_gcn
from graphrec.nn.sparse import SparseOperator
from tests.reference.propagation import dense_light_gcn

USERS, ITEMS, DIM = 6, 8, 3


@pytest.fixture
def edges():
    pairs = torch.randperm(USERS * ITEMS, generator=torch.Generator().manual_seed(1))[:20]
    user, item = torch.div(pairs, ITEMS, rounding_mode="floor"), pairs % ITEMS
    kept = (user != 2) & (item != 5)  # a user and an item without edges
    return torch.stack([user[kept], item[kept]])


@pytest.fixture
def operator(edges):
    return SparseOperator(edges.flip(0), symmetric_norm(edges, USERS, ITEMS), num_sources=ITEMS, num_targets=USERS)


def inputs(dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    tables = torch.randn(USERS, DIM, generator=generator), torch.randn(ITEMS, DIM, generator=generator)
    return tuple(table.to(dtype).requires_grad_() for table in tables)


@pytest.mark.parametrize("coupling", [1.0, 0.5, -0.7, 0.0, 1e-8])
@pytest.mark.parametrize("num_layers", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("learnable", [True, False])
def test_equals_the_dense_power_series(operator, num_layers, coupling, learnable):
    user, item = inputs()
    twin_user, twin_item = inputs(torch.float64)
    c, twin_c = (
        torch.tensor(coupling, dtype=dtype, requires_grad=learnable) for dtype in (torch.float32, torch.float64)
    )
    got = light_gcn(operator, user, item, num_layers, c if learnable else coupling)
    expected = dense_light_gcn(operator.to_dense().double(), twin_user, twin_item, num_layers, twin_c)
    weights = torch.randn(USERS, DIM), torch.randn(ITEMS, DIM)
    sum((a * w).sum() for a, w in zip(got, weights, strict=True)).backward()
    sum((a * w).sum() for a, w in zip(expected, weights, strict=True)).backward()
    for own, other in zip(got, expected, strict=True):
        torch.testing.assert_close(own.double(), other, rtol=1e-4, atol=1e-6)
    for own, other in ((user, twin_user), (item, twin_item), *([(c, twin_c)] if learnable and num_layers else [])):
        torch.testing.assert_close(own.grad.double(), other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_equals_light_gcn_layers_of_pyg(edges, operator, num_layers):
    user, item = inputs()
    both = torch.stack([edges[0], edges[1] + USERS])
    conv, state = LGConv(), torch.cat([user, item])
    total = state
    for _ in range(num_layers):
        state = conv(state, torch.cat([both, both.flip(0)], dim=1))
        total = total + state
    expected = total / (num_layers + 1)
    users, items = light_gcn(operator, user, item, num_layers)
    torch.testing.assert_close(torch.cat([users, items]), expected)


def test_one_read_out_alone_can_be_differentiated(operator):
    user, item = inputs()
    twin_user, twin_item = inputs(torch.float64)
    light_gcn(operator, user, item, 2)[0].sum().backward()
    dense_light_gcn(operator.to_dense().double(), twin_user, twin_item, 2)[0].sum().backward()
    torch.testing.assert_close(user.grad.double(), twin_user.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(item.grad.double(), twin_item.grad, rtol=1e-4, atol=1e-6)


def test_nodes_without_edges_keep_a_share_of_their_input(operator):
    user, item = inputs()
    users, items = light_gcn(operator, user, item, 3)
    torch.testing.assert_close(users[2], user[2] / 4)
    torch.testing.assert_close(items[5], item[5] / 4)


@pytest.mark.parametrize("learnable", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_autocast_changes_nothing(operator, learnable, inside):
    def run(enabled):
        user, item = inputs()
        c = torch.tensor(0.5, requires_grad=True) if learnable else 0.5
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = sum(part.square().sum() for part in light_gcn(operator, user, item, 2, c))
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        return loss.detach(), user.grad, item.grad, c.grad if learnable else torch.zeros(())

    assert all(torch.equal(own, other) for own, other in zip(run(True), run(False), strict=True))


def test_inputs_that_do_not_fit_are_refused(operator):
    with pytest.raises(ValueError, match=r"expected \(6, 8\) rows of users and items, got \(8, 8\)"):
        light_gcn(operator, torch.zeros(8, 2), torch.zeros(8, 2), 1)
