"""The engine killed at any moment, and several processes at once; the processes are real ones."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphrec.features.engine import encode
from graphrec.features.store.shards import Shard
from graphrec.features.store.store import Store
from tests.features.fake_tower import HashTower, bytes_of, texts

ROOT = Path(__file__).resolve().parents[2]
COUNT = 2 * 1024 + 300  # three shards of texts, the last one partial


def start(root, moment="none", number=0, count=COUNT):
    command = [sys.executable, "-m", "tests.features.fake_tower", str(root), str(count), moment, str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    encode(HashTower(), texts(COUNT), store=Store(root))
    return bytes_of(root)


@pytest.mark.parametrize(
    ("moment", "number", "shards"),
    [
        ("forward", 1, 0),
        ("forward", 200, 1),  # in the second shard
        ("fsync", 1, 0),  # while the manifest is written
        ("fsync", 3, 1),  # while the second shard is written
        ("replace", 3, 2),  # just after it came into place
    ],
)
def test_killed_and_resumed_gives_the_same_bytes(tmp_path, uninterrupted, moment, number, shards):
    process = start(tmp_path, moment, number)
    assert process.wait(timeout=60) == -signal.SIGKILL
    done = {path: content for path, content in bytes_of(tmp_path).items() if path.endswith(".safetensors")}
    assert len(done) == shards
    assert done.items() <= uninterrupted.items()
    tower = HashTower()
    found = encode(tower, texts(COUNT), store=Store(tmp_path))
    assert len(tower.forwarded) == COUNT - sum(len(Shard.open(tmp_path / path).keys) for path in done)
    assert bytes_of(tmp_path) == uninterrupted
    assert found.failed == {}


def test_processes_at_once_share_the_work_and_lose_nothing(tmp_path, uninterrupted):
    processes = [start(tmp_path, "slowly", 4) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    counts = [int(output.split()[0]) for output, _ in outputs]
    assert sum(counts) == COUNT
    assert bytes_of(tmp_path) == uninterrupted


def test_a_process_waits_for_one_that_dies_and_then_does_its_work(tmp_path, uninterrupted):
    process = start(tmp_path, "slowly", 20)
    while not list(tmp_path.rglob("[0-9a-f]*.lock")):
        assert process.poll() is None
    other = start(tmp_path)
    while len(list(tmp_path.rglob("*.safetensors"))) < 2:
        assert other.poll() is None
    process.kill()
    output, errors = other.communicate(timeout=60)
    assert (other.returncode, output) == (0, f"{COUNT} 0\n"), errors
    process.communicate()
    assert bytes_of(tmp_path) == uninterrupted


def test_processes_with_other_values_in_another_order_agree(tmp_path):
    processes = [start(tmp_path, count=count) for count in (1500, 1100)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    tower = HashTower()
    found = encode(tower, texts(1500)[::-1], store=Store(tmp_path))
    assert tower.forwarded == []
    np.testing.assert_array_equal(found.vectors[::-1], HashTower().forward([text.encode() for text in texts(1500)]))
    assert Store(tmp_path).verify() == []
