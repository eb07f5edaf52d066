"""Checkpoints: safetensors for tensors, JSON for the rest, written whole or not at all; never a pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FORMAT = 1
TENSORS, STATE = "state.safetensors", "state.json"


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or belongs to another data set, configuration or version."""


def write(folder: Path, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Writes ``folder/name`` atomically; an interrupted write or a full disk leaves earlier checkpoints valid.

    Args:
        folder: Where the checkpoints of a run live.
        name: The name of this one, e.g. ``"epoch-0003"``.
        tensors: Tensors by name.
        state: Everything else, as JSON.

    Raises:
        OSError: If the disk is full or cannot be written; nothing is left behind.
    """
    from safetensors.torch import save

    target, partial = folder / name, folder / f".{name}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        _write_bytes(partial / TENSORS, save({key: _plain(value) for key, value in tensors.items()}))
        _write_bytes(partial / STATE, json.dumps({"format": FORMAT, **state}, indent=1).encode())
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        message = f"cannot write checkpoint {target}: {error.strerror}; earlier checkpoints are still valid"
        raise OSError(error.errno, message) from error
    return target


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a checkpoint.

    Raises:
        CheckpointError: If a file is missing, damaged or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        tensors = load_file(path / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error}") from error
    if state.get("format") != FORMAT:
        raise CheckpointError(f"expected checkpoint format {FORMAT} in {path}, got {state.get('format')!r}")
    return tensors, state


def latest(folder: Path) -> Path | None:
    """Returns the newest whole checkpoint in the folder, if any."""
    found = sorted(folder.glob("epoch-*")) if folder.is_dir() else []
    return found[-1] if found else None


def prune(folder: Path, keep: Path) -> None:
    """Deletes all checkpoints in the folder but one."""
    for path in folder.glob("epoch-*"):
        if path != keep:
            shutil.rmtree(path)


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Returns the tensors of an optimiser under flat names, and its parameter groups as plain values."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, entry in state["state"].items()
        for name, value in entry.items()
    }
    return tensors, state["param_groups"]


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    """Gives an optimiser back what ``flatten_optimizer`` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def generator_states() -> dict[str, Tensor]:
    """Returns the states of torch's global generators, on the CPU and every GPU."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_generators(states: Mapping[str, Tensor]) -> None:
    """Gives torch's global generators their states back; GPUs that are not here are passed over."""
    torch.set_rng_state(states["cpu"])
    for index in range(torch.cuda.device_count()):
        if f"cuda{index}" in states:
            torch.cuda.set_rng_state(states[f"cuda{index}"], index)


def numpy_state() -> list[Any]:
    """Returns the state of NumPy's global generator as JSON values."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return [name, np.asarray(keys).tolist(), position, has_gauss, gauss]


def restore_numpy(state: list[Any]) -> None:
    """Gives NumPy's global generator its state back."""
    name, keys, position, has_gauss, gauss = state
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))  # noqa: NPY002


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()


def _write_bytes(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
