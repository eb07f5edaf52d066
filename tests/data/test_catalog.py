from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from graphrec.data.catalog import Catalog
from graphrec.data.interactions import Ids

IDS = Ids(["a", "b", "c"], name="item")


def test_columns_are_aligned_by_id_and_absence_is_explicit():
    catalog = Catalog.from_columns(IDS, {"text": {"c": "see", "a": "  "}, "age": pd.Series([1, 2], index=["b", "a"])})
    assert catalog.values("text") == [None, None, "see"]
    assert catalog.values("age") == [2, 1, None]
    assert catalog.present("age").tolist() == [True, True, False]
    assert catalog.columns == ("text", "age")


@pytest.mark.parametrize("absent", [None, np.nan, pd.NA, "", "\n"])
def test_every_kind_of_nothing_is_absent(absent):
    assert Catalog.from_columns(IDS, {"text": {"a": absent, "b": "x"}}).values("text") == [None, "x", None]


def test_columns_can_be_empty():
    assert Catalog.from_columns(IDS, {"text": {}}).values("text") == [None, None, None]
    assert Catalog.empty(IDS).columns == ()


def test_tuple_ids_stay_tuples():
    ids = Ids([("a", 1), ("b", 2)], name="item")
    assert Catalog.from_columns(ids, {"text": {("b", 2): "x"}}).values("text") == [None, "x"]


def test_unknown_and_repeated_ids_are_refused():
    with pytest.raises(KeyError, match="unknown item id"):
        Catalog.from_columns(IDS, {"text": {"z": "what"}})
    with pytest.raises(ValueError, match=r"one value per item in column 'text', got more for \['a'\]"):
        Catalog.from_columns(IDS, {"text": pd.Series(["x", "y"], index=["a", "a"])})
    with pytest.raises(ValueError, match="expected 3 catalogue rows, got 1"):
        Catalog(IDS, pd.DataFrame(index=[0]))


def test_unknown_columns_are_named():
    with pytest.raises(KeyError, match=r"no column 'image' in the catalogue; the columns are \['text'\]"):
        Catalog.from_columns(IDS, {"text": {"a": "x"}}).values("image")


def test_missing_files_are_listed(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    catalog = Catalog.from_columns(IDS, {"image": {"a": Path("a.jpg"), "b": "b.jpg"}})
    assert catalog.missing_files("image", tmp_path) == ["b"]
    assert Catalog.from_columns(IDS, {"image": {"a": tmp_path / "a.jpg"}}).missing_files("image") == []
