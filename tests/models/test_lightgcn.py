import pytest
import torch
import torch_geometric

from graphrec.graph.build import INTERACTS
from graphrec.models.lightgcn import LightGCN
from graphrec.models.mf import MF
from tests.reference.models import GRAPH, batch, build, dense_interactions
from tests.reference.propagation import dense_light_gcn


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_equals_light_gcn_of_pyg(num_layers):
    model = build(LightGCN, num_layers=num_layers, embedding_dim=8)
    user, item = GRAPH[INTERACTS].edge_index
    edges = torch.stack([user, item + model.num_users])
    twin = torch_geometric.nn.LightGCN(model.num_users + model.num_items, 8, num_layers)
    with torch.no_grad():
        twin.embedding.weight.copy_(torch.cat([model.user_embedding, model.item_embedding]))
    expected = twin.get_embedding(torch.cat([edges, edges.flip(0)], dim=1))
    torch.testing.assert_close(torch.cat(model.embed()), expected)


def test_equals_dense_algebra():
    model = build(LightGCN, num_layers=3)
    tables = model.user_embedding.double(), model.item_embedding.double()
    for own, other in zip(model.embed(), dense_light_gcn(dense_interactions(), *tables, 3), strict=True):
        torch.testing.assert_close(own.double(), other, rtol=1e-4, atol=1e-6)


def test_without_layers_it_is_matrix_factorisation():
    model, mf = build(LightGCN, num_layers=0, l2=0.1), build(MF, l2=0.1)
    for name, term in model(batch()).items():
        assert torch.equal(term, mf(batch())[name])


def test_l2_is_on_the_tables_and_not_on_the_read_out():
    shallow, deep = build(LightGCN, num_layers=1), build(LightGCN, num_layers=3)
    assert torch.equal(shallow(batch())["l2"], deep(batch())["l2"])
    assert not torch.equal(shallow(batch())["bpr"], deep(batch())["bpr"])


def test_the_state_dict_is_the_two_tables():
    assert set(build(LightGCN).state_dict()) == {"user_embedding", "item_embedding"}
