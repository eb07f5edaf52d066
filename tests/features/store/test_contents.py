import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphrec.features.store import contents as module
from graphrec.features.store.contents import hash_image, identify, reason_of
from graphrec.features.store.file_index import FileIndex


@pytest.fixture
def look(tmp_path):
    index = FileIndex(tmp_path / "index.sqlite")
    with ThreadPoolExecutor(2) as pool:
        yield lambda kind, values, **options: identify(kind, values, index, pool, **options)


def test_the_key_of_a_text_is_the_hash_of_its_bytes(look):
    found = look("text", ["a", "é", "a"])
    assert found.keys == [hashlib.sha256(text.encode()).digest() for text in ("a", "é", "a")]
    assert found.unchanged("a")


def test_the_key_of_a_file_is_the_hash_of_its_bytes_whatever_it_is_called(look, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").write_bytes(b"content")
    (tmp_path / "link").symlink_to("one")
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"content")
    found = look("audio", ["one", Path("./one"), str(tmp_path / "x" / ".." / "one"), "link", os.fsdecode(b"\xff")])
    assert found.keys == [hashlib.sha256(b"content").digest()] * 5
    assert found.reasons == {}


def test_a_text_that_names_a_file_is_a_text(look, tmp_path):
    (tmp_path / "one").write_bytes(b"content")
    assert look("text", [str(tmp_path / "one")]).keys != look("video", [str(tmp_path / "one")]).keys


def test_files_are_read_once_while_they_do_not_change(look, tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.bin" for number in range(30)]
    for path in paths:
        path.write_bytes(path.name.encode())
    calls, told = [], []
    original = module._hash_file
    monkeypatch.setattr(module, "_hash_file", lambda path: calls.append(path) or original(path))
    monkeypatch.setattr(module, "HASHED_AT_ONCE", 7)
    monkeypatch.setattr(time, "time_ns", lambda: 2**62)  # when all files are old
    first = look("audio", [*paths, paths[3]], advance=told.append)
    assert (len(calls), sum(told)) == (30, 30)
    assert look("audio", paths).keys == first.keys[:30]
    assert len(calls) == 30
    paths[4].write_bytes(b"a new content")
    assert look("audio", paths).keys[4] == hashlib.sha256(b"a new content").digest()
    assert calls[30:] == [os.fsencode(paths[4])]


def test_a_file_that_changes_afterwards_is_noticed(look, tmp_path):
    path = tmp_path / "one"
    path.write_bytes(b"content")
    found = look("audio", [path])
    assert found.unchanged(path)
    path.write_bytes(b"content!")
    assert not found.unchanged(str(path))
    path.unlink()
    with pytest.raises(FileNotFoundError):
        found.unchanged(path)


def test_a_file_that_cannot_be_read_has_a_reason(look, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_hash_file", lambda path: "permission denied")
    (tmp_path / "secret").write_bytes(b"content")
    os.mkfifo(tmp_path / "pipe")
    found = look("image", [tmp_path / "secret", tmp_path / "pipe", tmp_path])
    assert found.keys == [None] * 3
    assert found.reasons == {0: "permission denied", 1: "it is no regular file", 2: "it is a folder"}


def test_pictures_are_told_apart_by_all_that_shows():
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    grey = Image.fromarray(values)
    turned = grey.copy()
    turned.getexif()[0x0112] = 6
    clear = grey.copy()
    clear.info["transparency"] = 3
    palette = grey.copy()
    palette.putpalette([1, 2, 3] * 256)
    other_palette = grey.copy()
    other_palette.putpalette([3, 2, 1] * 256)
    different = [grey, turned, clear, palette, other_palette, grey.transpose(2), Image.fromarray(values.reshape(4, 3))]
    assert len({hash_image(picture) for picture in different}) == len(different)
    assert hash_image(grey) == hash_image(Image.fromarray(values.copy()))


def test_a_file_and_its_picture_have_keys_of_their_own(look, tmp_path):
    picture = Image.new("L", (2, 2))
    picture.save(tmp_path / "a.png")
    assert len(set(look("image", [tmp_path / "a.png", picture]).keys)) == 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory", "/secret/path"), "no such file"),
        (PermissionError(13, "Permission denied", "/secret/path"), "permission denied"),
        (ValueError("first line\nsecond line"), "first line"),
        (ValueError(""), "ValueError"),
    ],
)
def test_reasons_are_one_line_without_a_path(error, reason):
    assert reason_of(error) == reason
