"""Where a training run stands, and how it is written down and taken up again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphrec.models.base import Recommender
from graphrec.runtime import logger
from graphrec.training import checkpoint

log = logger(__name__)


@dataclass
class TrainingState:
    """The part of a run that is neither weights nor optimiser.

    Args:
        epoch: Finished epochs.
        best_epoch: The epoch with the best validation metric; the last one without validation.
        best_value: That metric.
        waited: Evaluations since then.
        history: One mapping of values per epoch.
        best_weights: The weights of the best epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = math.nan
    waited: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_weights: dict[str, Tensor] | None = None

    def observe(self, epoch: int, values: dict[str, float], metric: float | None, model: Recommender) -> None:
        """Records a finished epoch and keeps its weights if it is the best so far."""
        self.epoch = epoch
        self.history.append(dict(values))
        if metric is None:
            self.best_epoch = self.best_epoch if self.best_weights is not None else epoch
        elif math.isnan(self.best_value) or metric > self.best_value:
            self.best_epoch, self.best_value, self.waited = epoch, metric, 0
            self.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        else:
            self.waited += 1

    def restore_best(self, model: Recommender) -> None:
        """Gives the model the weights of the best epoch; without validation it keeps the last ones."""
        if self.best_weights is not None:
            model.load_state_dict(self.best_weights)

    def to_json(self) -> dict[str, Any]:
        """Returns everything but the weights."""
        best = None if math.isnan(self.best_value) else self.best_value
        return {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_value": best,
            "waited": self.waited,
            "history": self.history,
        }


class Keeper:
    """Writes checkpoints at epoch boundaries and resumes from them, bit for bit on a CPU.

    Args:
        fabric: The Fabric of the run.
        model: The model itself, not its wrapper.
        optimizer: The optimiser, as Fabric wrapped it.
        scheduler: The learning-rate scheduler.
        folder: The folder of the checkpoints.
        identity: What a checkpoint must agree with.
    """

    def __init__(
        self,
        fabric: Any,
        model: Recommender,
        optimizer: Any,
        scheduler: Any,
        *,
        folder: Path | None,
        identity: Mapping[str, Any],
    ) -> None:
        self.fabric, self.model, self.scheduler = fabric, model, scheduler
        self.optimizer = getattr(optimizer, "optimizer", optimizer)
        self.folder, self.identity = folder, dict(identity)

    def save(self, state: TrainingState) -> None:
        """Writes the checkpoint of the epoch just finished, then drops the one before."""
        if self.folder is None or self.fabric.global_rank != 0:
            return
        moments, groups = checkpoint.flatten_optimizer(self.optimizer)
        tensors = _prefixed("model", self.model.state_dict()) | _prefixed("optimizer", moments)
        tensors |= _prefixed("best", state.best_weights or {})
        tensors |= _prefixed("generator", checkpoint.generator_states())
        values = state.to_json() | {
            "identity": self.identity,
            "optimizer": groups,
            "scheduler": {key: value for key, value in self.scheduler.state_dict().items() if key != "lr_lambdas"},
            "precision": self.fabric.strategy.precision.state_dict(),
            "numpy": checkpoint.numpy_state(),
            "threads": torch.get_num_threads(),
        }
        path = checkpoint.write(self.folder, f"epoch-{state.epoch:05d}", tensors, values)
        checkpoint.prune(self.folder, keep=path)

    def resume(self) -> TrainingState:
        """Restores everything from the newest checkpoint; a fresh state where there is none."""
        path = None if self.folder is None else checkpoint.latest(self.folder)
        if path is None:
            return TrainingState()
        tensors, values = checkpoint.read(path)
        self._check(path, values)
        self.model.load_state_dict(_part(tensors, "model"))
        checkpoint.restore_optimizer(self.optimizer, _part(tensors, "optimizer"), values["optimizer"])
        self.scheduler.load_state_dict(values["scheduler"] | {"lr_lambdas": [None]})
        self.fabric.strategy.precision.load_state_dict(values["precision"])
        checkpoint.restore_generators(_part(tensors, "generator"))
        checkpoint.restore_numpy(values["numpy"])
        device = next(self.model.parameters()).device
        best = {name: value.to(device) for name, value in _part(tensors, "best").items()}
        value = math.nan if values["best_value"] is None else values["best_value"]
        return TrainingState(
            values["epoch"], values["best_epoch"], value, values["waited"], values["history"], best or None
        )

    def _check(self, path: Path, values: Mapping[str, Any]) -> None:
        for name, expected in self.identity.items():
            got = values["identity"].get(name)
            if got != expected:
                raise checkpoint.CheckpointError(
                    f"checkpoint {path} was written with {name} {got!r}, this run has {expected!r}; "
                    "resume with the same, or start in a new folder"
                )
        if values["threads"] != torch.get_num_threads():
            log.warning(
                "the checkpoint was written with %d threads, this run has %d: results may differ in the last bits",
                values["threads"],
                torch.get_num_threads(),
            )


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
