# ruff: noqa: PTH105, PTH108, PTH116, PTH123 (the index takes paths as bytes)

import os
import sqlite3
import threading
import time

import pytest

from graphrec.features.store.file_index import FRESH_NS, FileIndex, is_settled, stamp_of

LATER = time.time_ns() + 10**12


@pytest.fixture
def index(tmp_path):
    return FileIndex(tmp_path / "store" / "index.sqlite")


def stamp(path):
    return stamp_of(os.stat(path))


def write(tmp_path, count):
    paths = [os.fsencode(tmp_path / f"{number}.bin") for number in range(count)]
    for number, path in enumerate(paths):
        with open(path, "wb") as stream:
            stream.write(b"%d" % number)
    return {path: (stamp(path), b"%032d" % number) for number, path in enumerate(paths)}


def stamps_of(files):
    return {path: entry[0] for path, entry in files.items()}


def test_files_are_known_as_long_as_they_are_unchanged(index, tmp_path):
    files = write(tmp_path, 1203)
    index.record(files, now_ns=LATER)
    assert index.lookup(stamps_of(files)) == {path: digest for path, (_, digest) in files.items()}
    some = dict(list(stamps_of(files).items())[7::3])  # few enough to be asked for one by one
    assert index.lookup(some) == {path: files[path][1] for path in some}
    assert index.lookup({b"/unknown": b"x" * 32}) == {}


@pytest.mark.parametrize("change", ["content", "touch", "replace", "restored"])
def test_a_change_of_any_kind_is_seen(index, tmp_path, change):
    ((path, (before, _)), (other, _)) = (files := write(tmp_path, 2)).items()
    index.record(files, now_ns=LATER)
    times = (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns)
    time.sleep(0.02)  # longer than a tick of the file system
    if change == "touch":
        os.utime(path, ns=(1, 1))
    elif change == "replace":
        os.replace(other, path)
    else:
        with open(path, "wb") as stream:
            stream.write(b"00" if change == "content" else b"x")
    if change == "restored":  # the size and the time of before
        os.utime(path, ns=times)
        assert os.stat(path).st_mtime_ns == times[1]
    assert stamp(path) != before
    assert index.lookup({path: stamp(path)}) == {}


def test_files_that_changed_just_now_are_not_indexed(index, tmp_path):
    files = write(tmp_path, 1)
    (path,) = files
    changed = max(os.stat(path).st_mtime_ns, os.stat(path).st_ctime_ns)
    for now, known in ((changed - 1, 0), (changed + FRESH_NS, 0), (changed + FRESH_NS + 1, 1)):
        assert is_settled(files[path][0], now) == bool(known)
        index.record(files, now_ns=now)
        assert len(index.lookup(stamps_of(files))) == known
    fresh = FileIndex(tmp_path / "fresh.sqlite")
    fresh.record(files)
    assert not fresh.path.exists()


def test_names_need_not_be_utf8(index, tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe"
    files = {path: (stamp_of(os.stat(tmp_path)), b"d" * 32)}
    index.record(files, now_ns=LATER)
    assert index.lookup(stamps_of(files)) == {path: b"d" * 32}


def test_files_that_are_gone_are_forgotten(index, tmp_path):
    files = write(tmp_path, 5)
    index.record(files, now_ns=LATER)
    for path in list(files)[:2]:
        os.unlink(path)
    assert index.prune() == 2
    assert index.prune() == 0
    assert set(index.lookup(stamps_of(files))) == set(list(files)[2:])


def test_nothing_is_made_by_looking(index):
    assert index.lookup({b"/a": b"b"}) == {}
    assert index.prune() == 0
    assert not index.path.parent.exists()


@pytest.mark.parametrize("content", [b"this is no database, but long enough to look at" * 40, b""])
def test_a_damaged_index_is_begun_anew(index, tmp_path, content, caplog):
    files = write(tmp_path, 3)
    index.path.parent.mkdir()
    index.path.write_bytes(content)
    assert index.lookup(stamps_of(files)) == {}
    assert bool(content) == ("files are read instead" in caplog.text)
    index.record(files, now_ns=LATER)
    assert len(index.lookup(stamps_of(files))) == 3


def test_an_index_that_is_read_only_is_read(index, tmp_path, monkeypatch):
    files = write(tmp_path, 3)
    index.record(files, now_ns=LATER)
    connect = sqlite3.connect

    def read_only(path, **options):
        return connect(path, **options) if options.get("uri") else connect(f"file:{path}?mode=ro&nolock=1", uri=True)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    monkeypatch.setattr("graphrec.features.store.file_index.TABLE", "CREATE TABLE other (a)")
    assert len(index.lookup(stamps_of(files))) == 3
    index.record(write(tmp_path, 5), now_ns=LATER)  # says so and goes on
    assert index.prune() == 0


def test_many_write_at_once(index, tmp_path):
    files = write(tmp_path, 200)
    entries = list(files.items())
    threads = [
        threading.Thread(target=index.record, args=(dict(entries[start::8]),), kwargs={"now_ns": LATER})
        for start in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index.lookup(stamps_of(files))) == 200
