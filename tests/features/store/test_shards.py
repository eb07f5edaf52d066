import errno
import hashlib
import json
import os
import struct

import numpy as np
import pytest
from safetensors import safe_open

from graphrec.features.store.shards import (
    Failure,
    Shard,
    ShardError,
    key_array,
    shard_name,
    write_atomically,
    write_shard,
)


def key(number):
    return hashlib.sha256(b"%d" % number).digest()


def vectors(count, dim=5):
    draw = np.random.default_rng(0)
    return {key(number): draw.standard_normal(dim, np.float32) for number in range(count)}


FAILURES = {key(100): Failure("it is broken", "pillow-1"), key(101): Failure("the disk was away", None)}


@pytest.fixture
def path(tmp_path):
    return write_shard(tmp_path, vectors(7), FAILURES, dim=5, dtype="float32")


def test_what_was_written_is_read_in_the_order_of_the_keys(path):
    shard = Shard.open(path)
    expected = vectors(7)
    assert [bytes(row) for row in shard.keys] == sorted(expected)
    np.testing.assert_array_equal(shard.vectors, [expected[name] for name in sorted(expected)])
    assert shard.failures == FAILURES
    assert shard.problem() is None
    assert shard.path.name == f"{shard_name([*expected, *FAILURES])}.safetensors"


def test_any_reader_of_safetensors_reads_it(path):
    with safe_open(path, "numpy") as stream:
        assert set(stream.keys()) == {"key", "vector"}
        np.testing.assert_array_equal(stream.get_tensor("vector"), Shard.open(path).vectors)
        np.testing.assert_array_equal(stream.get_tensor("key"), Shard.open(path).keys)
        assert json.loads(stream.metadata()["graphrec"])["failures"][key(101).hex()]["decoder"] is None


def test_vectors_are_mapped_and_not_read(path):
    mapped = Shard.open(path).vectors
    while not isinstance(mapped, np.memmap):
        mapped = mapped.base
    assert mapped.mode == "r"


def test_equal_contents_give_equal_bytes_in_any_order(tmp_path, path):
    folder = tmp_path / "other"
    folder.mkdir()
    again = write_shard(
        folder, dict(reversed(vectors(7).items())), dict(reversed(FAILURES.items())), dim=5, dtype="float32"
    )
    assert again.name == path.name
    assert again.read_bytes() == path.read_bytes()
    assert [file.name for file in tmp_path.glob("*.*")] == [path.name]


def test_half_precision_is_kept_as_such(tmp_path):
    shard = Shard.open(write_shard(tmp_path, vectors(7), {}, dim=5, dtype="float16"))
    assert shard.vectors.dtype == np.float16
    expected = np.stack([vectors(7)[bytes(row)] for row in shard.keys])
    np.testing.assert_array_equal(shard.vectors, expected.astype(np.float16))
    assert shard.problem() is None


def test_a_shard_of_failures_alone_has_no_rows(tmp_path):
    shard = Shard.open(write_shard(tmp_path, {}, FAILURES, dim=5, dtype="float32"))
    assert shard.vectors.shape == (0, 5)
    assert shard.keys.shape == (0, 32)
    assert shard.problem() is None


@pytest.mark.parametrize("length", [0, 5, 8, 100, -33, -1])
def test_a_shard_that_is_cut_off_is_refused_at_once(path, length):
    content = path.read_bytes()
    path.write_bytes(content[:length])
    with pytest.raises(
        ShardError, match=rf"expected a whole shard of features in .*{path.name}, but .*features verify"
    ):
        Shard.open(path)


@pytest.mark.parametrize(
    "content",
    [
        b"this is a text that is longer than eight bytes",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 1) + b"\xff",
        struct.pack("<Q", 2**62) + b"{}",
    ],
)
def test_what_is_no_shard_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ShardError):
        Shard.open(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"F32"', b'"I32"'),
        (b"[7,5]", b"[5,7]"),
        (b"[7,5]", b"[7,4]"),
        (b"[7,32]", b"[8,28]"),
        (b'"failures', b'"fa_lures'),
    ],
)
def test_a_header_that_lies_is_refused(path, old, new):
    content = path.read_bytes()
    header = content.replace(b'\\"', b'\\"').replace(old, new, 1)
    assert header != content
    path.write_bytes(header)
    with pytest.raises(ShardError):
        Shard.open(path)


def test_a_flipped_bit_another_name_and_numbers_that_are_not_finite_are_found(tmp_path, path):
    content = bytearray(path.read_bytes())
    renamed = path.with_name("0" * 32 + ".safetensors")
    renamed.write_bytes(content)
    assert "its name stands for" in Shard.open(renamed).problem()
    content[-40] ^= 1
    path.write_bytes(content)
    assert "its bytes are not those" in Shard.open(path).problem()
    infinite = write_shard(tmp_path, {key(1): np.array([np.nan])}, {}, dim=1, dtype="float32")
    assert "not finite" in Shard.open(infinite).problem()


def test_keys_that_are_not_ascending_are_found(tmp_path):
    path = write_shard(tmp_path, {key(1): np.zeros(1, np.float32)}, {}, dim=1, dtype="float32")
    shard = Shard.open(path)
    twice = np.concatenate([shard.keys, shard.keys])
    rows = np.zeros((2, 1), np.float32)
    digest = hashlib.sha256(twice.tobytes() + rows.tobytes()).hexdigest()
    from safetensors.numpy import save

    metadata = {"graphrec": json.dumps({"failures": {}, "sha256": digest})}
    path = tmp_path / f"{shard_name([key(1), key(1)])}.safetensors"
    path.write_bytes(save({"key": twice, "vector": rows}, metadata))
    assert Shard.open(path).problem() == "its keys are not ascending"


def test_no_keys_are_an_array_of_no_rows():
    assert key_array([]).shape == (0, 32)


def test_a_full_disk_is_named_by_the_file_that_did_not_fit(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.safetensors\.tmp'"):
        write_atomically(tmp_path / "a.safetensors", b"x")
    assert not (tmp_path / "a.safetensors").exists()
