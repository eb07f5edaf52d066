"""Masks and tables of modalities against the vectors that the graph was made from."""

import numpy as np
import torch
from torch_geometric.data import HeteroData

from graphrec.data.interactions import Ids
from graphrec.graph.modalities import feature_tables, modality_masks


def graph():
    """Returns four items: images of items 3 and 0, in that order, a text of item 2 and an imputed one of item 1."""
    made = HeteroData()
    made["user"].num_nodes, made["item"].num_nodes = 2, 4
    made["image"].item_id, made["image"].x = torch.tensor([3, 0]), torch.tensor([[3.0, 3.5], [0.0, 0.5]])
    made["text"].item_id, made["text"].x = torch.tensor([2, 1]), torch.tensor([[2.0], [9.0]])
    made["text"].missing = torch.tensor([False, True])
    made["audio"].item_id, made["audio"].num_nodes = torch.tensor([1]), 1
    return made


def test_masks_leave_out_what_is_missing_or_imputed():
    found = {name: mask.tolist() for name, mask in modality_masks(graph()).items()}
    assert found == {
        "audio": [False, True, False, False],
        "image": [True, False, False, True],
        "text": [False, False, True, False],
    }


def test_tables_hold_the_vectors_in_the_order_of_the_items():
    found = feature_tables(graph(), Ids("abcd"))
    assert sorted(found) == ["image", "text"]  # audio has neighbours alone
    assert found["image"].rows.tolist() == [0, 3]
    np.testing.assert_array_equal(found["image"].values, np.float32([[0, 0.5], [3, 3.5]]))
    assert found["text"].rows.tolist() == [2]
