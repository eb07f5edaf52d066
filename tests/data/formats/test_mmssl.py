import json

import numpy as np
import pytest

from graphrec.data.formats import MMSSLOptions, read_mmssl


@pytest.fixture
def folder(tmp_path):
    for name, lists in (("train", {"0": [1, 2], "1": [0]}), ("val", {"0": [], "1": [2]}), ("test", {"0": [3]})):
        (tmp_path / f"{name}.json").write_text(json.dumps(lists))
    np.save(tmp_path / "image_feat.npy", np.arange(10.0).reshape(5, 2))
    return tmp_path


def test_lists_by_user_are_parts_of_the_split(folder):
    raw = read_mmssl(folder, MMSSLOptions())
    assert raw.interactions.to_numpy().tolist() == [[0, 1, 0], [0, 2, 0], [1, 0, 0], [1, 2, 1], [0, 3, 2]]
    assert list(raw.vectors) == ["image"]
    assert raw.vectors["image"].values.shape == (5, 2)
    assert sorted(raw.items.index) == [0, 1, 2, 3, 4]


def test_attributes_and_posters_of_netflix_are_read(folder):
    (folder / "item_attribute.csv").write_text('0,2003,Dinosaur Planet\n3,1999,"Run, Lola"\n')
    (folder / "Netflix_Posters").mkdir()
    (folder / "Netflix_Posters" / "3.jpg").touch()
    raw = read_mmssl(folder, MMSSLOptions(attributes="item_attribute.csv", posters="Netflix_Posters"))
    assert raw.items.loc[3].to_dict() == {
        "year": "1999",
        "title": "Run, Lola",
        "text": "Run, Lola",
        "image": str(folder / "Netflix_Posters" / "3.jpg"),
    }


def test_pickled_matrices_are_never_read(folder):
    (folder / "train.json").unlink()
    (folder / "train_mat").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(FileNotFoundError, match="which is a pickle: those are never read"):
        read_mmssl(folder, MMSSLOptions())
    (folder / "train_mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the file 'train\.json'"):
        read_mmssl(folder, MMSSLOptions())


def test_vectors_must_cover_the_items(folder):
    np.save(folder / "image_feat.npy", np.ones((2, 2)))
    with pytest.raises(ValueError, match="expected image vectors of every item, got 2 rows"):
        read_mmssl(folder, MMSSLOptions())


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, '"x"'])
def test_other_json_is_an_error(folder, text):
    (folder / "train.json").write_text(text)
    with pytest.raises(ValueError, match=r"expected JSON lists of items by user in .*train\.json"):
        read_mmssl(folder, MMSSLOptions())


def test_what_is_no_list_or_item_is_skipped(folder):
    (folder / "train.json").write_text('{"0": [1, null, {"a": 1}], "1": 5}')
    raw = read_mmssl(folder, MMSSLOptions())
    assert raw.skipped == {"train.json: no item": 2, "train.json: no list of items": 1}
