import pytest
import torch
import torch.nn.functional as F

from graphrec.nn.modality import ModalityRelation, ModalityVectors
from tests.reference.propagation import dense_matrix

ITEMS, DIM, WIDTH = 6, 3, 4
ITEM_ID = torch.tensor([0, 2, 3, 5])  # items 1 and 4 lack the modality
EDGES = torch.tensor([[0, 2, 3, 5, 2, 5, 3], [2, 0, 5, 3, 2, 5, 0]])  # two self-loops, at 2 and at 5
WEIGHT = torch.tensor([0.5, 0.25, 1.0, 0.75, 0.5, 0.3, 0.2])
MATRIX = dense_matrix(EDGES, WEIGHT, ITEMS, ITEMS).float()


def vectors():
    return torch.randn(len(ITEM_ID), WIDTH, generator=torch.Generator().manual_seed(3))


def states():
    return torch.randn(ITEMS, DIM, generator=torch.Generator().manual_seed(4)).requires_grad_()


def relation(x, item_id=ITEM_ID, **settings):
    return ModalityRelation(EDGES, WEIGHT, item_id, x, num_items=ITEMS, dim=DIM, **settings)


def projected(module, x, item_id=ITEM_ID):
    rows = torch.zeros(ITEMS, DIM)
    rows[item_id] = module.projection(F.normalize(x, dim=-1))
    return rows


def test_vectors_are_projected_and_carried_over_the_edges():
    x, item = vectors(), states()
    module = relation(x)
    out = module(item)
    torch.testing.assert_close(out.message, MATRIX @ (projected(module, x) + item))
    torch.testing.assert_close(out.view, projected(module, x))


def test_without_vectors_nodes_take_the_item_states_and_the_view_leaves_self_loops_out():
    item = states()
    module = relation(None)
    out = module(item)
    without_loops = MATRIX - torch.diag(MATRIX.diag())
    assert module.projection is None
    torch.testing.assert_close(out.message, MATRIX @ item)
    torch.testing.assert_close(out.view, without_loops @ item)


@pytest.mark.parametrize("x", [None, vectors()])
def test_absent_items_send_and_receive_nothing(x):
    item, module = states(), relation(x)
    out = module(item)
    out.message.sum().backward()
    assert (out.message[[1, 4]] == 0).all()
    assert (out.view[[1, 4]] == 0).all()
    assert (item.grad[[1, 4]] == 0).all()
    assert module.present.tolist() == [True, False, True, True, False, True]


def test_gradients_equal_dense_autograd():
    x, item = vectors(), states()
    module = relation(x)
    weight = torch.randn(ITEMS, DIM)
    wanted = [item, *module.parameters()]
    got = torch.autograd.grad((module(item).message * weight).sum(), wanted)
    start = projected(module, x) + item
    expected = torch.autograd.grad((MATRIX @ start * weight).sum(), wanted)
    for own, other in zip(got, expected, strict=True):
        torch.testing.assert_close(own, other)


def test_vectors_follow_their_item_id_in_any_order():
    x = torch.randn(ITEMS, WIDTH)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    ordered, shuffled = relation(x, torch.arange(ITEMS)), relation(x[order], order)
    shuffled.load_state_dict(ordered.state_dict())
    item = states()
    for own, other in zip(shuffled(item), ordered(item), strict=True):
        torch.testing.assert_close(own, other)


def test_the_scale_of_a_vector_does_not_matter_and_graph_data_stay_out_of_the_state_dict():
    x, item = vectors(), states()
    module, scaled = relation(x), relation(x * torch.tensor([[1.0], [7.0], [0.1], [30.0]]))
    scaled.load_state_dict(module.state_dict())
    assert set(module.state_dict()) == {"projection.weight", "projection.bias"}
    torch.testing.assert_close(scaled(item).message, module(item).message)


TOKEN = torch.tensor([False, True, False, False])  # the node of item 2


def test_a_token_takes_the_place_of_the_vectors_it_stands_for():
    x = vectors()
    module = ModalityVectors(x, TOKEN)
    with torch.no_grad():
        module.token.copy_(torch.arange(4.0))
    expected = x.clone()
    expected[1] = torch.arange(4.0)
    assert torch.equal(module(), expected)
    module().sum().backward()
    assert module.token.grad.tolist() == [1.0] * 4
    for plain in (ModalityVectors(x), ModalityVectors(x, torch.zeros(4, dtype=torch.bool))):
        assert torch.equal(plain(), x)
        assert not list(plain.parameters())


def test_a_token_reaches_its_own_item_and_no_other():
    x, item = vectors(), states()
    kept = (EDGES != 2).all(0)
    module = ModalityRelation(
        EDGES[:, kept],
        WEIGHT[kept],
        ITEM_ID,
        x,
        num_items=ITEMS,
        dim=DIM,
        missing=TOKEN,
        token=TOKEN,
    )
    with torch.no_grad():
        module.vectors.token.normal_()
    start = projected(module, x)
    start[2] = module.projection(module.vectors.token)
    matrix = dense_matrix(EDGES[:, kept], WEIGHT[kept], ITEMS, ITEMS).float()
    expected = matrix @ (start + item)
    expected[2] += start[2]
    out = module(item)
    torch.testing.assert_close(out.message, expected)
    torch.testing.assert_close(out.view, start)
    assert module.present.tolist() == [True, False, False, True, False, True]
