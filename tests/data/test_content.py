from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from graphrec.data.content import from_columns, gather
from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids

IDS = Ids(["a", "b", "c"], name="item")
EXPECTED = {"b": [1.0, 2.0], "a": [3.0, 4.0]}


@pytest.mark.parametrize(
    "value",
    [
        Vectors(Ids(["b", "a"], name="item"), np.array([[1, 2], [3, 4]])),
        {"b": [1, 2], "a": np.array([3, 4])},
        {"b": [1, 2], "a": (3, 4), "c": None},
        pd.Series([[1, 2], [3, 4], None], index=["b", "a", "c"]),
        pd.DataFrame({"x": [1, 3], "y": [2, 4]}, index=["b", "a"]),
    ],
)
def test_every_form_of_vectors_keeps_its_ids(value):
    vectors = gather({"audio": value}, None, IDS).vectors["audio"]
    assert dict(zip(vectors.ids.index, vectors.values.tolist(), strict=True)) == EXPECTED


def test_bare_arrays_are_refused_unless_the_ids_are_rows():
    with pytest.raises(ValueError, match=r"shape \(3, 2\): nothing says which row belongs to which of the 3 items"):
        gather({"image": np.ones((3, 2))}, None, IDS)
    numbered = Ids(range(3), name="item")
    assert gather({"image": np.ones((3, 2))}, None, numbered).vectors["image"].ids == numbered
    with pytest.raises(ValueError, match=r"give the ids too, as Vectors\(Ids\(ids\), array\)"):
        gather({"image": np.ones((2, 2))}, None, numbered)


def test_texts_and_paths_become_columns():
    content = gather(
        {"text": {"a": "red", "c": None}, "image": pd.Series(["x.jpg", None, ""], index=["a", "b", "c"])}, None, IDS
    )
    catalog = content.catalog(IDS)
    assert catalog.values("text") == ["red", None, None]
    assert catalog.values("image") == [Path("x.jpg"), None, None]
    assert content.vectors == {}


def test_attributes_are_columns_too():
    catalog = gather(None, pd.DataFrame({"brand": ["x", "y"]}, index=["c", "a"]), IDS).catalog(IDS)
    assert catalog.values("brand") == ["y", None, "x"]


def test_new_ids_extend_the_vocabulary_and_old_ones_leave():
    content = gather({"audio": {"z": [1], "a": [2]}, "text": {"y": "new", "b": "old"}}, None, IDS)
    assert content.extend(IDS).index.tolist() == ["a", "b", "c", "y", "z"]
    assert gather({"text": {"a": "old"}}, None, IDS).extend(IDS) is IDS
    left = content.without(pd.Index(["a", "b"]))
    assert left.vectors["audio"].ids.index.tolist() == ["z"]
    assert left.columns["text"].index.tolist() == ["y"]
    assert content.without(pd.Index([])) is content


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (3, TypeError, r"for features\['f'\], got int"),
        ([[1, 2]], TypeError, "got list"),
        ({}, ValueError, r"expected values in features\['f'\], got none"),
        ({"a": [1, 2], "b": [1]}, ValueError, "vectors of one length"),
        ({"a": [1, 2], "b": "text"}, ValueError, "vectors of one length"),
        (pd.DataFrame({"t": ["x"]}, index=["a"]), ValueError, r"other values in \['t'\]; give texts as a Series"),
        (pd.DataFrame({"t": [1, 2]}, index=["a", "a"]), ValueError, "unique item ids, got duplicates: 'a'"),
    ],
)
def test_other_forms_are_refused(value, error, message):
    with pytest.raises(error, match=message):
        gather({"f": value}, None, IDS)


def test_ids_that_match_nothing_are_refused():
    numbered = Ids(range(3), name="item")
    message = r"features\['text'\] of the items, got 2 rows whose ids match none of the 3 items: '0' \(str\) against 0 "
    with pytest.raises(ValueError, match=message + r"\(int\)"):
        gather({"text": {"0": "a", "1": "b"}}, None, numbered)


def test_new_ids_are_logged(caplog):
    with caplog.at_level("INFO"):
        gather({"audio": {"z": [1], "a": [2]}, "text": {"a": "old"}}, None, IDS)
    assert [record.getMessage() for record in caplog.records] == ["features['audio']: 1 of 2 ids are new items"]


def test_columns_of_vectors_are_compared_by_value():
    frame = pd.DataFrame({"item": ["a", "a", "b"], "vector": [[1, 2], np.array([1, 2]), [3, 4]]})
    assert from_columns({"audio": "vector"}, frame, "item")["audio"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("name", ["user", "item", "x", "type", "a.b", "a b", "", 3])
def test_names_that_cannot_be_modalities_are_refused(name):
    with pytest.raises(ValueError, match="expected a modality name of letters, digits"):
        gather({name: {"a": "text"}}, None, IDS)
    assert gather({"image-full_2": {"a": "text"}}, None, IDS).columns.keys() == {"image-full_2"}


def test_pictures_in_memory_are_not_taken_for_vectors():
    pictures = {"a": Image.new("RGB", (4, 4)), "b": Image.new("RGB", (4, 4))}
    with pytest.raises(TypeError, match=r"expected paths of pictures in features\['image'\], got PIL images"):
        gather({"image": pictures}, None, Ids(["a", "b"]))
