import os
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from graphrec.features import filling
from graphrec.features.engine import encode
from graphrec.features.store.store import Store
from graphrec.runtime import CACHE_VARIABLE
from tests.features.fake_tower import HashTower, bytes_of, texts


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "SHARD_SIZES", dict.fromkeys(filling.SHARD_SIZES, 16))
    return Store(tmp_path / "store")


def shards(store):
    return sorted(store.root.rglob("*.safetensors"))


def test_the_store_lies_in_the_cache_folder_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert Store().root == tmp_path / "features"
    assert Store("here").root == Path("here")


def test_a_store_that_does_not_exist_is_empty(store):
    assert store.entries() == []
    assert store.verify() == []
    assert store.gc().paths == ()
    assert not store.root.exists()


def test_entries_say_what_there_is_of_every_encoder(store):
    encode(HashTower(), [*texts(20), "broken"], store=store)
    encode(HashTower(name="another"), texts(3), store=store, dtype="float16")
    (store.root / "not a shelf").mkdir()
    other, first = store.entries()
    assert (other.manifest.name, other.manifest.dtype, other.values, other.failures) == ("another", "float16", 3, 0)
    assert (first.manifest.name, first.values, first.failures, first.shards) == ("fake:hash", 20, 1, 2)
    assert first.size == sum(path.stat().st_size for path in first.folder.glob("*.safetensors"))
    assert abs(first.used - time.time()) < 60


def test_using_an_encoder_moves_its_time_and_no_bytes(store):
    encode(HashTower(), texts(3), store=store)
    manifest = store.entries()[0].folder / "manifest.json"
    os.utime(manifest, (1, 1))
    before = bytes_of(store.root)
    encode(HashTower(), texts(3), store=store)
    assert store.entries()[0].used > 1
    assert bytes_of(store.root) == before


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes instead of"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "not those that were written"),
        (lambda path: path.rename(path.with_name("0" * 32 + ".safetensors")), "its name stands for"),
        (lambda path: path.with_name("manifest.json").unlink(), "it has no manifest.json"),
        (lambda path: path.with_name("manifest.json").write_text("{"), "Expecting property name"),
        (lambda path: path.with_name("manifest.json").write_text("[1]"), "sequence"),
        (
            lambda path: path.parent.rename(path.parent.with_name("renamed-0123456789abcdef")),
            "it is of the folder 'fake-hash-",
        ),
    ],
)
def test_damage_is_found_by_verify_removed_by_gc_and_mended_by_encoding(store, damage, reason):
    encode(HashTower(), texts(20), store=store)
    before = bytes_of(store.root)
    assert store.verify() == []
    damage(shards(store)[0])
    (problem,) = store.verify()
    assert reason in problem.reason
    assert problem.path.exists()
    assert store.gc().paths
    assert store.verify() == []
    encode(HashTower(), texts(20), store=store)
    assert bytes_of(store.root) == before


def test_gc_removes_leftovers_but_not_what_is_being_written(store):
    encode(HashTower(), texts(20), store=store)
    before = bytes_of(store.root)
    folder = shards(store)[0].parent
    dead, alive = "1" * 32, "2" * 32
    for name in (dead, alive):
        (folder / f"{name}.safetensors.tmp").write_bytes(b"half")
        (folder / f"{name}.lock").touch()
    with FileLock(folder / f"{alive}.lock"):
        listed = store.gc(dry_run=True)
        assert [path.name for path in listed.paths] == [f"{dead}.lock", f"{dead}.safetensors.tmp"]
        assert listed.size == 4
        assert len(list(folder.glob("*.tmp"))) == 2
        assert store.gc() == listed
        assert sorted(path.name[:32] for path in folder.glob("*.*") if path.suffix in (".tmp", ".lock")) == [alive] * 2
    store.gc()
    assert bytes_of(store.root) == before


def test_gc_removes_shards_whose_contents_others_hold(store):
    values = texts(40)
    for value in values[:5]:
        encode(HashTower(), [value], store=store)
    assert len(shards(store)) == 5
    folder, single = shards(store)[0].parent, {path.name: path.read_bytes() for path in shards(store)}
    for path in shards(store):
        path.unlink()
    found = encode(HashTower(), values, store=store)
    whole = {path.name for path in shards(store)}
    for name, content in single.items():  # as if two processes had begun at once
        (folder / name).write_bytes(content)
    assert {path.name for path in store.gc().paths} == set(single)
    assert {path.name for path in shards(store)} == whole
    np.testing.assert_array_equal(encode(HashTower(), values, store=store).vectors, found.vectors)


def test_gc_removes_encoders_by_name_and_by_age(store):
    for name in ("old", "new", "unwanted"):
        encode(HashTower(name=name), texts(3), store=store)
    old = next(entry for entry in store.entries() if entry.manifest.name == "old")
    os.utime(old.folder / "manifest.json", (time.time() - 10 * 86400,) * 2)
    assert store.gc(unused_days=11).paths == ()
    store.gc(encoders=["unwanted"], unused_days=9)
    assert [entry.manifest.name for entry in store.entries()] == ["new"]
    assert not old.folder.exists()
    with pytest.raises(KeyError, match=r"expected encoders of the store, got \['olde'\]; it has \['new'\]"):
        store.gc(encoders=["olde"])


def test_gc_leaves_an_encoder_at_work_alone(store):
    encode(HashTower(), texts(3), store=store)
    with FileLock(shards(store)[0].parent / ("3" * 32 + ".lock")):
        assert store.gc(encoders=["fake:hash"]).paths == ()
    assert len(store.gc(encoders=["fake:hash"]).paths) == 3  # the manifest, a shard, and that lock


def test_gc_touches_nothing_that_is_not_its_own(store):
    folder = store.root / "my model"
    folder.mkdir(parents=True)
    for name in ("model.safetensors", "weights.tmp", "notes.lock"):
        (folder / name).write_bytes(b"precious")
    (folder / "manifest.json").write_text("{}")
    encode(HashTower(), texts(3), store=store)
    own = shards(store)[-1].parent if shards(store)[-1].parent != folder else shards(store)[0].parent
    (own / "notes.tmp").write_bytes(b"precious")
    assert store.gc().paths == ()
    assert len(list(folder.iterdir())) == 4
    store.gc(encoders=["fake:hash"])
    assert [path.name for path in own.iterdir()] == ["notes.tmp"]


def test_gc_forgets_files_that_are_gone(store, tmp_path, monkeypatch):
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_bytes(path.name.encode())
    monkeypatch.setattr(time, "time_ns", lambda: 2**62)
    encode(HashTower("audio"), paths, store=store)
    paths[0].unlink()
    assert store.gc().forgotten == 1
