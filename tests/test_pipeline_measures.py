"""What a run says beside its accuracy, against the functions that it is made from."""

from __future__ import annotations

import pandas as pd
import pytest

import graphrec
from graphrec.evaluation.beyond import beyond_accuracy
from graphrec.evaluation.slices import item_slices, slice_items, slice_users, user_slices
from graphrec.features.table import FeatureTable
from graphrec.pipeline import run
from graphrec.testing import block_data

SETTINGS = {"model": {"name": "ease"}, "evaluation": {"ks": [3, 5]}}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run(SETTINGS, folder=tmp_path_factory.mktemp("measures") / "run", data=block_data())


def test_measures_are_those_of_the_lists_with_the_features_of_the_graph(done):
    data = done.data
    tables = {name: FeatureTable.align(vectors, data.split.items) for name, vectors in data.vectors.items()}
    expected = beyond_accuracy(done.evaluate(), data.split.train, (5,), truth=data.test, features=tables)
    found = done.beyond_accuracy()
    pd.testing.assert_frame_equal(found.users, expected.users, rtol=1e-5)
    assert {f"ILD-{name}@5" for name in data.vectors} <= set(found.users)
    assert found.overall == pytest.approx(expected.overall, nan_ok=True)
    assert "Novelty@3" in done.beyond_accuracy((3,)).mean()


def test_slices_are_those_of_items_and_of_users(done):
    train, test = done.data.split.train, done.data.test
    found = done.slices(("recall",), (3,))
    items = slice_items(done.evaluate(), test, item_slices(train), ("recall",), (3,)).mean()
    users = slice_users(done.evaluate(), test, user_slices(train), ("recall",), (3,)).mean()
    for expected in (items, users):
        pd.testing.assert_frame_equal(found.mean().loc[expected.index], expected)
    assert list(done.slices().values) == ["Recall@5", "NDCG@5"]
    assert found.of("head").index.is_unique


def test_a_loaded_run_says_the_same_without_scoring_again(done):
    loaded = graphrec.load(done.folder.path)
    assert loaded.beyond_accuracy().mean() == pytest.approx(done.beyond_accuracy().mean(), nan_ok=True)
    pd.testing.assert_frame_equal(loaded.slices().mean(), done.slices().mean())
    assert len(done.folder.evaluations()) == 1


def test_validation_has_lists_too(done):
    found = done.beyond_accuracy(part="valid")
    expected = beyond_accuracy(done.record.valid, done.data.split.train, (5,), truth=done.data.split.valid)
    assert found.overall == pytest.approx(expected.overall, nan_ok=True)


def test_what_is_not_there_is_refused(done):
    with pytest.raises(ValueError, match=r"cut-off in \[1, 5\], the length of the lists, got k=20"):
        done.beyond_accuracy((20,))
    with pytest.raises(ValueError, match="expected the part 'valid' or 'test', got 'train'"):
        done.slices(part="train")
    with pytest.raises(KeyError, match="colour"):
        done.slices(columns=["colour"])
