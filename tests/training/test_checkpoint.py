"""Checkpoints are written whole or not at all, and read back exactly."""

from __future__ import annotations

import errno

import pytest
import torch

from graphrec.training import checkpoint

TENSORS = {"model/a": torch.arange(6.0).view(2, 3), "model/b": torch.tensor([1, 2], dtype=torch.int32)}


def test_round_trip(tmp_path):
    path = checkpoint.write(tmp_path, "epoch-00001", TENSORS, {"epoch": 1, "nested": {"x": [1, None]}})
    tensors, state = checkpoint.read(path)
    torch.testing.assert_close(tensors, TENSORS, rtol=0, atol=0)
    assert state == {"format": checkpoint.FORMAT, "epoch": 1, "nested": {"x": [1, None]}}
    assert checkpoint.latest(tmp_path) == path


def test_a_full_disk_leaves_the_previous_checkpoint_valid(tmp_path, monkeypatch):
    previous = checkpoint.write(tmp_path, "epoch-00001", TENSORS, {"epoch": 1})
    written = checkpoint._write_bytes

    def full(path, content):
        written(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write_bytes", full)
    with pytest.raises(OSError, match=r"cannot write checkpoint .*No space left.*earlier checkpoints are still valid"):
        checkpoint.write(tmp_path, "epoch-00002", TENSORS, {"epoch": 2})
    assert checkpoint.latest(tmp_path) == previous
    assert checkpoint.read(previous)[1]["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-00001"]


def test_a_killed_write_is_never_taken_for_a_checkpoint(tmp_path, monkeypatch):
    def killed(path, content):
        path.write_bytes(content[:3])
        raise KeyboardInterrupt

    previous = checkpoint.write(tmp_path, "epoch-00001", TENSORS, {"epoch": 1})
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.write(tmp_path, "epoch-00002", TENSORS, {"epoch": 2})
    assert checkpoint.latest(tmp_path) == previous
    assert checkpoint.read(checkpoint.write(tmp_path, "epoch-00002", TENSORS, {"epoch": 2}))[1]["epoch"] == 2


@pytest.mark.parametrize("damage", ["truncate", "delete", "format"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    path = checkpoint.write(tmp_path, "epoch-00001", TENSORS, {})
    if damage == "truncate":
        file = path / checkpoint.TENSORS
        file.write_bytes(file.read_bytes()[:20])
    elif damage == "delete":
        (path / checkpoint.STATE).unlink()
    else:
        (path / checkpoint.STATE).write_text('{"format": 99}')
    with pytest.raises(checkpoint.CheckpointError, match="epoch-00001"):
        checkpoint.read(path)


def test_prune_keeps_one(tmp_path):
    paths = [checkpoint.write(tmp_path, f"epoch-{epoch:05d}", TENSORS, {}) for epoch in range(3)]
    checkpoint.prune(tmp_path, keep=paths[-1])
    assert list(tmp_path.iterdir()) == [paths[-1]]


def test_optimizer_round_trip():
    weights = [torch.nn.Parameter(torch.randn(3)) for _ in range(2)]
    first, second = (torch.optim.Adam(weights, lr=lr) for lr in (0.1, 0.5))
    weights[0].grad = torch.ones(3)
    first.step()
    checkpoint.restore_optimizer(second, *checkpoint.flatten_optimizer(first))
    torch.testing.assert_close(second.state_dict(), first.state_dict(), rtol=0, atol=0)
