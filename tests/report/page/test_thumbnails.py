"""Thumbnails: small, embedded once, within a budget; words where there is no picture."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from graphrec.data.catalog import Catalog
from graphrec.data.interactions import Ids
from graphrec.report.page.thumbnails import LONGEST, SIDE, Thumbnails, Titles, data_uri


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for number, size in enumerate([(300, 450), (500, 200), (40, 40)]):
        grid = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(grid).resize(size).save(tmp_path / f"{number}.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    return tmp_path


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize(("name", "size"), [("0.jpg", (64, 96)), ("1.jpg", (96, 38)), ("2.jpg", (40, 40))])
def test_a_picture_keeps_its_shape_and_colours(pictures, name, size):
    found = opened(data_uri(pictures / name))
    assert found.size == size
    assert max(size) <= SIDE
    expected = Image.open(pictures / name).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(found, float) - np.asarray(expected, float)).mean() < 8


def test_each_picture_is_given_out_once(pictures):
    shelf = Thumbnails([pictures / "0.jpg", pictures / "0.jpg", str(pictures / "1.jpg"), None], prefix="p-")
    first, same, other, none = (shelf.name(row) for row in range(4))
    assert first == same != other
    assert none is None
    given = re.findall(r"\.(p-\d+)\{background-image:url\((data:image/webp;base64,[\w+/=]+)\)\}", shelf.style())
    assert [name for name, _ in given] == [first, other]
    assert opened(given[1][1]).size == (96, 38)
    assert shelf.style() == ""
    assert shelf.name(1) == first
    assert shelf.style() == ""


def test_what_cannot_be_read_is_counted_once_and_has_no_picture(pictures):
    shelf = Thumbnails([pictures / "broken.jpg", pictures / "absent.jpg", pictures / "broken.jpg", 3.0])
    assert [shelf.name(row) for row in range(4)] == [None] * 4
    assert shelf.unreadable == 2
    assert shelf.left_out == 0


def test_pictures_beyond_the_budget_are_left_out(pictures):
    size = len(data_uri(pictures / "0.jpg"))
    shelf = Thumbnails([pictures / "0.jpg", pictures / "1.jpg"], budget=size)
    assert shelf.name(0) is not None
    assert shelf.name(1) is None
    assert shelf.left_out == 1
    assert len(shelf.style()) < size + 60


def catalog(**columns) -> Catalog:
    size = len(next(iter(columns.values())))
    ids = Ids([f"i{row}" for row in range(size)])
    return Catalog(ids, pd.DataFrame(columns, dtype=object))


def test_pictures_are_those_of_the_catalogue(pictures):
    assert Thumbnails.of(catalog(image=[pictures / "0.jpg", None])).name(0) is not None
    assert Thumbnails.of(catalog(title=["a", "b"])).name(1) is None


def test_words_are_title_then_text_then_id():
    assert Titles(catalog(text=["first line\nmore"], title=["A <b>"]))(0) == "A <b>"
    titles = Titles(catalog(text=["first   line\nmore", None, "word " * 60]))
    assert titles(0) == "first line"
    assert titles(1) == "item i1"
    assert len(titles(2)) <= LONGEST
    assert titles(2).endswith(" …")
    assert Titles(catalog(image=[Path("a.jpg")]))(0) == "item i0"
