import hashlib
import json

import numpy as np
import pytest

from graphrec.features.store.shards import Failure, key_array, write_shard
from graphrec.features.store.shelf import Manifest, Shelf
from tests.features.fake_tower import HashTower


def shelf_of(folder, tower=None, dtype="float32"):
    manifest = Manifest.of(tower or HashTower(), dtype)
    return Shelf(folder / manifest.folder, manifest)


def key(number):
    return hashlib.sha256(b"%d" % number).digest()


def fill(shelf, numbers, failures=()):
    shelf.create()
    vectors = {key(number): np.full(shelf.manifest.dim, number, np.float32) for number in numbers}
    reasons = {key(number): Failure(f"reason {number}", "d") for number in failures}
    return write_shard(shelf.folder, vectors, reasons, dim=shelf.manifest.dim, dtype=shelf.manifest.dtype)


def test_the_manifest_says_whose_vectors_these_are_with_the_same_bytes_always(tmp_path):
    shelves = [shelf_of(tmp_path / name) for name in "ab"]
    for shelf in shelves:
        shelf.create()
        shelf.create()
    first, second = ((shelf.folder / "manifest.json").read_bytes() for shelf in shelves)
    assert first == second
    assert json.loads(first) == {
        "name": "fake:hash",
        "space": "fake",
        "dim": 6,
        "kind": "text",
        "dtype": "float32",
        "fingerprint": HashTower().fingerprint(),
        "version": 1,
    }
    assert [path.name for path in shelves[0].folder.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("open_clip:ViT-B-32/openai", "open-clip-ViT-B-32-openai"),
        ("../../etc", "etc"),
        ("日本", "encoder"),
        ("x" * 300, "x" * 48),
    ],
)
def test_folders_have_harmless_names(tmp_path, name, slug):
    folder = shelf_of(tmp_path, HashTower(name=name)).folder
    assert folder.parent == tmp_path
    assert folder.name[:-17] == slug


def test_every_encoder_has_a_folder_of_its_own():
    towers = [HashTower(), HashTower(weights="v"), HashTower(name="fake:hash ")]
    folders = {Manifest.of(tower, dtype).folder for tower in towers for dtype in ("float32", "float16")}
    assert len(folders) == 6


def test_rows_are_found_and_taken_as_a_dictionary_would(tmp_path):
    shelf = shelf_of(tmp_path)
    for numbers in (range(5), range(5, 300), range(300, 301), range(3, 8)):  # the last one holds what others hold
        fill(shelf, numbers)
    view = shelf.view()
    asked = np.random.default_rng(0).permutation(350)
    rows = view.find(key_array(key(number) for number in asked))
    np.testing.assert_array_equal(rows >= 0, asked < 301)
    expected = np.where(asked < 301, asked, 0)[:, None] * np.ones(6)
    np.testing.assert_array_equal(view.take(rows), expected)


def test_contents_that_share_their_first_bytes_are_told_apart(tmp_path):
    shelf = shelf_of(tmp_path)
    shelf.create()
    keys = [b"12345678" + bytes([number]) * 24 for number in (1, 2, 3)] + [b"\xff" * 32]
    vectors = {name: np.full(6, number, np.float32) for number, name in enumerate(keys)}
    write_shard(shelf.folder, vectors, {}, dim=6, dtype="float32")
    view = shelf.view()
    unknown = [b"12345678" + b"\0" * 24, b"12345678" + b"\xff" * 24, b"\xff" * 8 + b"\0" * 24]
    rows = view.find(key_array([*keys[::-1], *unknown]))
    np.testing.assert_array_equal(view.take(rows)[:4, 0], [3, 2, 1, 0])
    np.testing.assert_array_equal(rows[4:], -1)


def test_an_empty_shelf_has_nothing(tmp_path):
    view = shelf_of(tmp_path).view()
    np.testing.assert_array_equal(view.find(key_array([key(1)])), [-1])
    assert view.find(key_array([])).shape == (0,)
    assert view.take(np.array([-1, -1])).shape == (2, 6)
    assert view.failures == {}


def test_failures_are_collected_with_all_reasons(tmp_path):
    shelf = shelf_of(tmp_path)
    fill(shelf, [1], failures=[7])
    fill(shelf, [2], failures=[7, 8])
    assert {name: len(reasons) for name, reasons in shelf.view().failures.items()} == {key(7): 2, key(8): 1}


def test_shards_of_another_encoder_and_broken_ones_are_left_out(tmp_path, caplog):
    shelf = shelf_of(tmp_path)
    fill(shelf, range(3))
    longer = shelf_of(tmp_path, HashTower(dim=9, name="other"))
    stray = fill(longer, range(5, 9))
    stray.rename(shelf.folder / stray.name)
    (shelf.folder / ("0" * 32 + ".safetensors")).write_bytes(b"cut")
    view = shelf.view()
    assert len(view.shards) == 1
    assert "of length 9 instead of float32 of length 6" in caplog.text
    assert "less than 8 bytes" in caplog.text


def test_many_shards_need_no_open_files(tmp_path):
    import resource

    shelf = shelf_of(tmp_path)
    for number in range(120):
        fill(shelf, [number])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        view = shelf.view()
        taken = view.take(view.find(key_array(key(number) for number in range(120))))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    np.testing.assert_array_equal(taken[:, 0], range(120))
