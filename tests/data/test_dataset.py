from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Split, Vectors, check_disjoint, concatenate
from graphrec.data.interactions import Ids, Interactions

USERS, ITEMS = Ids(["u", "v", "w"], name="user"), Ids(["a", "b", "c", "d"], name="item")


def met(*pairs, weight=None, time=None):
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Interactions(rows[:, 0], rows[:, 1], USERS, ITEMS, weight=weight, time=time)


def make(**changes):
    parts = {
        "name": "toy",
        "split": Split(met((0, 0), (0, 1), (1, 0)), met((1, 1), (1, 3))),
        "test": met((0, 2), (2, 0), (1, 2), (0, 3)),
        "items": Catalog.from_columns(ITEMS, {"image": {"a": Path("/here/a.jpg")}}),
        "people": Catalog.empty(USERS),
        "vectors": {"text": Vectors(Ids(["b", "a"], name="item"), np.eye(2))},
        "neighbors": {"image": sp.csr_array(np.eye(4))},
    }
    return Dataset(**(parts | changes))


def test_a_split_holds_no_test():
    assert set(vars(make().split)) == {"train", "valid"}
    assert (make().num_users, make().num_items, make().modalities) == (3, 4, ("image", "text"))
    assert make().split.users is USERS
    assert make().split.items is ITEMS


def test_parts_must_be_disjoint():
    with pytest.raises(
        ValueError, match=r"train and valid to be disjoint, got 1 shared pairs, e.g. user 'u', item 'a'"
    ):
        Split(met((0, 0)), met((0, 0)))
    for shared in ((0, 0), (1, 1)):
        with pytest.raises(ValueError, match="and test to be disjoint"):
            make(test=met(shared))


def test_parts_must_share_their_ids():
    other = Interactions(np.array([0]), np.array([0]), USERS, Ids(["x", "y"], name="item"))
    with pytest.raises(ValueError, match="share their user and item ids"):
        check_disjoint(met((1, 1)), other, names=("train", "valid"))


def test_training_cannot_be_empty_but_valid_can():
    with pytest.raises(ValueError, match="empty training split"):
        Split(met(), met((0, 0)))
    assert len(Split(met((0, 0)), met()).valid) == 0


def test_merged_trains_on_both():
    merged = make().split.merged()
    assert len(merged.valid) == 0
    assert sorted(merged.train.pairs()) == [0, 1, 4, 5, 7]


def test_concatenate_fills_missing_weights_with_ones():
    joined = concatenate(met((0, 0), weight=np.array([3], np.float32)), met((0, 1)))
    assert joined.weight.tolist() == [3, 1]
    assert concatenate(met((0, 0)), met((0, 1))).weight is None
    assert concatenate(met((0, 0), time=np.array([1])), met((0, 1), time=np.array([2]))).time.tolist() == [1, 2]


def test_catalogues_and_graphs_must_fit():
    with pytest.raises(ValueError, match="item catalogue to have the 4 item ids"):
        make(items=Catalog.empty(USERS))
    with pytest.raises(ValueError, match="user catalogue to have the 3 user ids"):
        make(people=Catalog.empty(ITEMS))
    with pytest.raises(ValueError, match=r"kNN graph of shape \(4, 4\) for 'image', got \(3, 3\)"):
        make(neighbors={"image": sp.csr_array(np.eye(3))})
    with pytest.raises(ValueError, match="expected 4 feature rows"):
        Vectors(ITEMS, np.ones((3, 2)))


def test_unseen_ids_are_counted_and_dropped_on_demand():
    statistics = make().statistics()
    assert (statistics["train"], statistics["valid"], statistics["test"]) == (3, 2, 4)
    assert (statistics["valid_with_unseen_user"], statistics["valid_with_unseen_item"]) == (0, 1)
    assert (statistics["test_with_unseen_user"], statistics["test_with_unseen_item"]) == (1, 3)


def test_drop_unseen_labels_the_data_set():
    split = Split(met((0, 0), (0, 1), (1, 0), (2, 0)), met((1, 3), (2, 1)))
    dropped = make(split=split, test=met((1, 1), (1, 2), (0, 2)), notes=("before",)).drop_unseen()
    assert dropped.test.pairs().tolist() == met((1, 1)).pairs().tolist()
    assert dropped.split.valid.pairs().tolist() == met((2, 1)).pairs().tolist()
    assert dropped.notes == ("before", "unseen ids dropped: 1 valid, 2 test")
    assert dropped.split.train is split.train


def test_drop_unseen_refuses_to_leave_no_test():
    with pytest.raises(ValueError, match="got an empty split; keep unseen ids"):
        make().drop_unseen()


def test_drop_unseen_refuses_to_leave_no_valid():
    split = Split(met((0, 0), (0, 1), (1, 0)), met((1, 3)))
    with pytest.raises(ValueError, match="expected validation interactions with ids seen in training"):
        make(split=split, test=met((1, 1))).drop_unseen()
    refit = make(split=Split(split.train, met()), test=met((1, 1)))
    assert len(refit.drop_unseen().split.valid) == 0


def test_fingerprint_follows_what_a_model_sees():
    base = make().fingerprint()
    assert base == make(test=met((2, 0)), notes=("other",)).fingerprint()
    assert base == make(split=Split(make().split.train, met((1, 1)))).fingerprint()
    assert base == make(items=Catalog.from_columns(ITEMS, {"image": {"a": Path("/elsewhere/a.jpg")}})).fingerprint()
    assert base != make(items=Catalog.from_columns(ITEMS, {"image": {"a": Path("/here/b.jpg")}})).fingerprint()
    assert base != make(vectors={}).fingerprint()
    assert base != make(vectors={"text": Vectors(Ids(["b", "a"], name="item"), 2 * np.eye(2))}).fingerprint()
    assert base != make(neighbors={"image": sp.csr_array(np.ones((4, 4)))}).fingerprint()
    assert base != make(split=Split(met((0, 0), (0, 1)), make().split.valid)).fingerprint()


def test_items_without_a_modality_leave_training_alone():
    dropped = make().drop_without("text", np.array([0, 3]))
    assert dropped.split.train.item.tolist() == [0, 0]
    assert dropped.split.valid.pairs().tolist() == [5, 7]
    assert dropped.test.pairs().tolist() == make().test.pairs().tolist()
    assert dropped.notes == ("items without text dropped from training: 1, with 1 interactions",)
    assert make().drop_without("text", np.arange(4)).notes == ()
    with pytest.raises(ValueError, match="items that have 'text', got none"):
        make().drop_without("text", np.array([3]))
