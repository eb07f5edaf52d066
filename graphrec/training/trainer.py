"""The training loop, on one page, over Lightning Fabric."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import Field, field_validator
from torch import Tensor

from graphrec.config import Config, ConfigError, Search
from graphrec.data.dataset import Split
from graphrec.data.interactions import Interactions
from graphrec.evaluation.metrics import MetricAt
from graphrec.evaluation.ranking import Evaluation, evaluate
from graphrec.models.base import Recommender
from graphrec.runtime import generator, logger, track
from graphrec.training.sampling import PairLoader
from graphrec.training.schedule import ScheduleConfig
from graphrec.training.state import Keeper, TrainingState
from graphrec.training.tracking import Tracker, TrackerName

log = logger(__name__)
CHECK_EVERY = 50


class TrainingConfig(Config):
    """How a model is trained. Model hyper-parameters stand in the model's own config."""

    max_epochs: Annotated[int, Field(ge=1)] = 1000
    batch_size: Annotated[int, Field(ge=1), Search(choices=(1024, 2048, 4096))] = 2048
    learning_rate: Annotated[float, Field(gt=0), Search(1e-4, 1e-2, log=True)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    negatives: Annotated[int, Field(ge=1), Search(choices=(1, 4, 16, 64, 256))] = 1
    """Negatives per positive, or per batch where they are shared."""
    shared_negatives: bool = False
    seen_negatives: bool = False
    """Whether negatives are only drawn from items that occur in training, which spares new items."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Batches per optimiser step."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    schedule: ScheduleConfig = ScheduleConfig()
    metric: str = "Recall@20"
    """The validation metric that chooses the epoch."""
    evaluate_every: Annotated[int, Field(ge=1)] = 1
    patience: Annotated[int, Field(ge=1)] = 20
    """Evaluations without gain before training stops."""
    refit: bool = False
    """Whether to train once more on train and valid together, for the chosen number of epochs."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 1
    trackers: tuple[TrackerName, ...] = ("tensorboard",)
    """What a run is reported to, beside ``history.jsonl``; MLflow and Weights & Biases are extras."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    device: str = "auto"
    devices: Annotated[int, Field(ge=1)] = 1
    """Processes, one device each; more than one trains with DistributedDataParallel."""

    @field_validator("metric")
    @classmethod
    def _known(cls, text: str) -> str:
        MetricAt.parse(text)
        return text


@dataclass(frozen=True)
class TrainingResult:
    """What a training run found.

    Args:
        best_epoch: The epoch whose weights the model now has, counted from 1.
        best_value: Its validation metric, after ``Recommender.settle``; NaN without validation.
        epochs: The number of epochs trained.
        history: One mapping per epoch: loss terms, seconds, and where it was evaluated the validation metric, before
            anything was settled, and what the model says of itself, by names with a slash.
    """

    best_epoch: int
    best_value: float
    epochs: int
    history: tuple[Mapping[str, float], ...]

    def summary(self, metric: str) -> dict[str, float]:
        """Returns what training came to: the epochs, the chosen one, and its validation metric if there is one."""
        best = {} if math.isnan(self.best_value) else {metric: self.best_value}
        return {"epochs": self.epochs, "best_epoch": self.best_epoch, **best}


class Trainer:
    """Trains a recommender on a split that holds no test set.

    Args:
        config: How to train.
        seed: Seeds the shuffling and the negatives, together with the epoch.
        tracker: What receives the values of every epoch.
        folder: Where checkpoints go; none are written by default.
        identity: What a checkpoint must agree with to be resumed: fingerprints of data and configuration.
    """

    def __init__(
        self,
        config: TrainingConfig | None = None,
        *,
        seed: int = 0,
        tracker: Tracker | None = None,
        folder: Path | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config or TrainingConfig()
        self.seed, self.tracker, self.folder, self.identity = seed, tracker, folder, dict(identity or {})

    def fit(self, model: Recommender, split: Split, *, resume: bool = False) -> TrainingResult:
        """Trains the model and leaves it with the weights of its best validation epoch.

        With an empty validation part it trains for ``max_epochs`` and keeps the last weights.

        Args:
            model: The model, on any device; it is trained in place and left on the training device.
            split: Training and validation interactions.
            resume: Whether to go on from the newest checkpoint in ``folder``, where there is one.

        Raises:
            FloatingPointError: If a loss term stops being finite; names the term and the batch.
            ValueError: If a diagnostic of the model has a name that would be taken for a loss term.
            CheckpointError: If the checkpoint belongs to another data set, configuration or version.
        """
        config = self.config
        fabric = _fabric(config)
        loader = _loader(config, split.train, fabric)
        module, optimizer = fabric.setup(model, _adam(config, model))
        scheduler = _scheduler(config, optimizer, math.ceil(len(loader) / config.accumulate))
        keeper = Keeper(fabric, model, optimizer, scheduler, folder=self.folder, identity=self.identity)
        state = keeper.resume() if resume else TrainingState()
        for epoch in track(range(state.epoch, config.max_epochs), "training"):
            if state.waited >= config.patience:
                break
            began = time.perf_counter()
            model.refresh(epoch)
            values = self._epoch(fabric, module, optimizer, scheduler, loader, epoch)
            values["seconds"] = time.perf_counter() - began
            if len(split.valid) and _is_due(epoch + 1, config.evaluate_every, config.max_epochs):
                values[config.metric] = fabric.broadcast(validate(model, split, config.metric))
                values |= diagnose(model)
            state.observe(epoch + 1, values, values.get(config.metric), model)
            self._report(fabric, state, values)
            if self.folder is not None and _is_due(epoch + 1, config.checkpoint_every, config.max_epochs):
                keeper.save(state)
        state.restore_best(model)
        model.eval()
        best = state.best_value
        if len(split.valid) and model.settle(lambda: fabric.broadcast(_of_users(model, split, config.metric))):
            best = fabric.broadcast(validate(model, split, config.metric))
        return TrainingResult(state.best_epoch, best, state.epoch, tuple(state.history))

    def _epoch(
        self, fabric: Fabric, module: Any, optimizer: Any, scheduler: Any, loader: PairLoader, epoch: int
    ) -> dict[str, float]:
        """Takes one pass over the training pairs; returns the mean of every loss term."""
        module.train()
        steps: list[dict[str, Tensor]] = []
        batches = loader.epoch(generator(self.seed, epoch, device=fabric.device))
        for index, batch in enumerate(batches, start=1):
            due = index % self.config.accumulate == 0 or index == len(loader)
            with fabric.no_backward_sync(module, enabled=not due):
                terms = module(batch)
                fabric.backward(torch.stack(list(terms.values())).sum() / self.config.accumulate)
            steps.append({name: term.detach() for name, term in terms.items()})
            if due:
                self._step(fabric, module, optimizer, scheduler)
            if index % CHECK_EVERY == 0:
                _check_finite(steps[-CHECK_EVERY:], epoch, index - CHECK_EVERY)
        _check_finite(steps, epoch, 0)
        return {name: torch.stack([terms[name] for terms in steps]).mean().item() for name in steps[0]}

    def _step(self, fabric: Fabric, module: Any, optimizer: Any, scheduler: Any) -> None:
        if self.config.clip_norm is not None:
            fabric.clip_gradients(module, optimizer, max_norm=self.config.clip_norm, error_if_nonfinite=False)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()

    def _report(self, fabric: Fabric, state: TrainingState, values: Mapping[str, float]) -> None:
        if fabric.global_rank != 0:
            return
        log.debug("epoch %d: %s", state.epoch, values)
        if self.tracker is not None:
            self.tracker.log(state.epoch, values)


def validate(model: Recommender, split: Split, metric: str) -> float:
    """Returns a validation metric of the model as it is now, such as ``"Recall@20"`` or ``"AUC"``."""
    return _validated(model, split, metric).mean()[MetricAt.parse(metric).label]


def _of_users(model: Recommender, split: Split, metric: str) -> Tensor:
    """Returns the metric of every validation user ``(num_users,)``."""
    return torch.from_numpy(
        _validated(model, split, metric).frame[MetricAt.parse(metric).label].to_numpy(np.float64, copy=True)
    )


def _validated(model: Recommender, split: Split, metric: str) -> Evaluation:
    wanted = MetricAt.parse(metric)
    model.eval()
    with torch.no_grad():
        ks = (wanted.k or 1,)  # AUC has no cut-off
        return evaluate(model.frozen(), seen=split.train, truth=split.valid, metrics=(wanted.name,), ks=ks)


def diagnose(model: Recommender) -> dict[str, float]:
    """Returns what the model says of itself as it is now, without values that are not finite.

    Raises:
        ValueError: If a name has no slash: it would be taken for a loss term.
    """
    model.eval()
    with torch.no_grad():
        found = model.diagnostics()
    for name in found:
        if "/" not in name:
            raise ValueError(
                f"expected names like 'coupling/text' from {type(model).__name__}.diagnostics, got {name!r}"
            )
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _fabric(config: TrainingConfig) -> Fabric:
    accelerator, devices = _accelerator(config)
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=config.precision)
    fabric.launch()
    return fabric


def _accelerator(config: TrainingConfig) -> tuple[str, int | list[int]]:
    """Returns what Fabric calls the kind of device, and how many of them or, for ``cuda:1``, which one."""
    if config.device == "auto":
        return "auto", config.devices
    device = torch.device(config.device)
    if device.index is None or device.type == "cpu":
        return device.type, config.devices
    if config.devices > 1:
        raise ConfigError(f"training.devices: expected 1 with device={config.device!r}, got {config.devices}")
    return device.type, [device.index]


def _loader(config: TrainingConfig, train: Interactions, fabric: Fabric) -> PairLoader:
    return PairLoader(
        train,
        batch_size=config.batch_size,
        negatives=config.negatives,
        shared=config.shared_negatives,
        seen_items=config.seen_negatives,
        device=fabric.device,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )


def _adam(config: TrainingConfig, model: Recommender) -> torch.optim.Adam:
    """Returns Adam, fused unless fp16 gradients are clipped: Fabric cannot unscale for a fused optimiser."""
    fused = config.precision != "16-mixed" or config.clip_norm is None
    return torch.optim.Adam(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


def _scheduler(config: TrainingConfig, optimizer: Any, steps_per_epoch: int) -> torch.optim.lr_scheduler.LambdaLR:
    inner = getattr(optimizer, "optimizer", optimizer)
    return torch.optim.lr_scheduler.LambdaLR(
        inner, lambda step: config.schedule.factor((step + 1) / steps_per_epoch, config.max_epochs)
    )


def _is_due(epoch: int, every: int, last: int) -> bool:
    return epoch % every == 0 or epoch == last


def _check_finite(steps: list[dict[str, Tensor]], epoch: int, first: int) -> None:
    """Checks many steps at once, so that a GPU is not made to wait for every batch."""
    names = list(steps[0])
    table = torch.stack([torch.stack([terms[name].float() for name in names]) for terms in steps])
    bad = torch.nonzero(~torch.isfinite(table))
    if len(bad):
        step, term = bad[0].tolist()
        where = f"in batch {first + step + 1} of epoch {epoch + 1}"
        raise FloatingPointError(
            f"loss term {names[term]!r} became {table[step, term].item()} {where}; "
            "try a lower learning rate, clip_norm, or precision='32-true'"
        )
