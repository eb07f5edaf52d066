"""The contrastive training of two encoders: batches, gradients in bounded memory, and the epoch that is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from graphrec.config import Config, Search
from graphrec.features.finetuning.pairs import Pairs, PairSplit, contrast_batches
from graphrec.features.finetuning.retrieval import ranks
from graphrec.runtime import derive_seed, logger, resolve_device, track

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

log = logger(__name__)
Side = Literal[0, 1]
SIDES: tuple[Side, Side] = (0, 1)
BETAS = (0.9, 0.98)  # CLIP's
EMBED_BATCH = 64


class ContrastiveConfig(Config):
    """How two encoders are trained to find each other's counterpart.

    Args:
        epochs: The most passes over the training items.
        batch_size: Items contrasted with one another; more makes the task harder and the gradient better.
        learning_rate: The highest of AdamW; it rises linearly, then falls as a cosine to 0.
        weight_decay: Of AdamW, on matrices only.
        warmup: The share of the steps in which the learning rate rises.
        clip_gradient: The largest norm of the gradient; none: any.
        patience: Epochs without a better score on the choosing items until it stops; none: never.
        valid: The share of the items that chooses the epoch.
        held_out: The share of the items that is scored before and after, and never else.
        chunk_size: Items that go through an encoder at once, where a batch does not fit into memory. The gradient
            stays that of the whole batch, at the price of a second forward pass.
        precision: ``bf16`` computes products in it, the weights stay in fp32; ``auto`` does so on a GPU.
        device: Where it runs; ``"auto"`` is the GPU where there is one.
        workers: Threads that read and preprocess.
        seed: Of the parts, of the batches and of the first weights of adapters.
    """

    epochs: int = Field(default=10, ge=1)
    batch_size: Annotated[int, Field(ge=2), Search(choices=(64, 128, 256))] = 128
    learning_rate: Annotated[float, Field(gt=0), Search(1e-6, 1e-3, log=True)] = 1e-5
    weight_decay: float = Field(default=0.1, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    clip_gradient: float | None = Field(default=1.0, gt=0)
    patience: int | None = Field(default=3, ge=1)
    valid: float = Field(default=0.1, gt=0, lt=0.5)
    held_out: float = Field(default=0.1, gt=0, lt=0.5)
    chunk_size: int | None = Field(default=None, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    workers: int = Field(default=4, ge=1)
    seed: int = Field(default=0, ge=0)


class DualEncoder(Protocol):
    """Two encoders whose vectors are compared, such as the two towers of a CLIP, or one encoder of texts twice."""

    @property
    def module(self) -> nn.Module:
        """What holds the parameters; those that require a gradient are trained."""

    def read(self, side: Side, value: Any) -> Any:
        """Reads and preprocesses one value; raises OSError or ValueError where it cannot."""

    def embed(self, side: Side, inputs: Sequence[Any]) -> Tensor:
        """Returns the unit vectors of what ``read`` returned, with their gradient ``(len(inputs), dim)``."""

    def loss(self, first: Tensor, second: Tensor) -> Tensor:
        """Returns the loss of a batch of unit vectors whose rows belong together."""

    def clamp(self) -> None:
        """Brings parameters of the loss back into their range after a step."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Args:
        epoch: Its number from 1; 0 is the encoder as it was given.
        loss: The mean loss of its batches; none for epoch 0.
        score: The mean reciprocal rank of the choosing items, averaged over both directions.
    """

    epoch: int
    loss: float | None
    score: float


class ContrastiveTrainer:
    """Trains two encoders on pairs, and measures how well the items' two values find each other.

    Dropout and batch statistics are off: the encoders are trained in the form in which they are used. The optimiser and
    its schedule are those of `"Learning Transferable Visual Models From Natural Language Supervision"
    <https://arxiv.org/abs/2103.00020>`_.

    Args:
        dual: The two encoders.
        pairs: All pairs, all readable.
        config: The settings.
        pool: Threads to read with.
    """

    def __init__(self, dual: DualEncoder, pairs: Pairs, config: ContrastiveConfig, pool: Executor) -> None:
        self.dual, self.pairs, self.config, self.pool = dual, pairs, config, pool
        self.labels = pairs.labels()
        dual.module.eval()

    def ranks(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the rank of every item's counterpart among these rows, forward and backward, each ``(len(rows),)``.

        Items with the same picture or the same text do not count against each other.
        """
        first, second = (self._vectors(side, rows) for side in SIDES)
        same = [self.labels[rows, side] for side in SIDES]
        return ranks(first, second, same=same), ranks(second, first, same=same)

    def train(self, parts: PairSplit) -> list[Epoch]:
        """Trains the parameters that require a gradient, and leaves them at the best epoch, which may be epoch 0.

        Args:
            parts: Which items train and which choose the epoch; no others are looked at.

        Returns:
            One entry per epoch, epoch 0 first; ``best_epoch`` says which was kept.

        Raises:
            ValueError: If there are fewer training items than in a batch, or nothing to train.
            FloatingPointError: If the loss is not finite.
        """
        per_epoch = self._batches_per_epoch(len(parts.train))
        weights = [weight for weight in self.dual.module.parameters() if weight.requires_grad]
        optimizer = _optimizer(weights, self.config)
        schedule = _schedule(optimizer, self.config, per_epoch)
        curve, best = [Epoch(0, None, self._score(parts.valid))], _copy(weights)
        for epoch in range(1, self.config.epochs + 1):
            loss = self._epoch(parts.train, epoch, optimizer, schedule)
            curve.append(Epoch(epoch, loss, self._score(parts.valid)))
            log.info("epoch %d: loss %.4f, mean reciprocal rank %.4f", epoch, loss, curve[-1].score)
            if best_epoch(curve) == epoch:
                best = _copy(weights)
            elif self.config.patience and epoch - best_epoch(curve) >= self.config.patience:
                break
        _restore(weights, best)
        return curve

    def step(self, first: Sequence[Any], second: Sequence[Any]) -> Tensor:
        """Adds the gradient of one batch, read already, to the parameters and returns its loss.

        A batch larger than ``chunk_size`` goes through the encoders in chunks, twice, as in `"Scaling Deep Contrastive
        Learning Batch Size under Memory Limited Setup" <https://arxiv.org/abs/2101.06983>`_: the vectors' gradients
        are found first, and then carried back chunk by chunk.
        """
        import torch

        size = self.config.chunk_size or len(first)
        if len(first) <= size:
            loss = self.dual.loss(self._embed(0, first), self._embed(1, second))
            loss.backward()
            return loss.detach()
        sides: tuple[Sequence[Any], Sequence[Any]] = (first, second)
        chunks = [[inputs[at : at + size] for at in range(0, len(inputs), size)] for inputs in sides]
        with torch.no_grad():
            vectors = [torch.cat([self._embed(side, part) for part in chunks[side]]) for side in SIDES]
        leaves = [vector.requires_grad_() for vector in vectors]
        loss = self.dual.loss(*leaves)
        loss.backward()
        for side in SIDES:
            self._carry_back(side, chunks[side], leaves[side].grad)
        return loss.detach()

    def _carry_back(self, side: Side, chunks: Sequence[Sequence[Any]], gradient: Tensor | None) -> None:
        if gradient is None:
            return
        for part, piece in zip(chunks, gradient.split(len(chunks[0])), strict=True):
            vectors = self._embed(side, part)
            if vectors.requires_grad:  # a frozen tower has nothing to carry to
                vectors.backward(piece)

    def _epoch(self, train: NDArray[np.int64], epoch: int, optimizer: Optimizer, schedule: LRScheduler) -> float:
        draw = np.random.default_rng(derive_seed(self.config.seed, 1, epoch))
        batches = [train[rows] for rows in contrast_batches(self.labels[train], self.config.batch_size, draw)]
        losses = []
        for first, second in track(self._read(batches), f"Epoch {epoch}", total=len(batches)):
            optimizer.zero_grad(set_to_none=True)
            losses.append(float(self.step(first, second)))
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(
                    f"expected a finite loss, got {losses[-1]} in epoch {epoch}; lower learning_rate or take fp32"
                )
            self._update(optimizer)
            schedule.step()
        return float(np.mean(losses))

    def _update(self, optimizer: Optimizer) -> None:
        import torch

        if self.config.clip_gradient is not None:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            torch.nn.utils.clip_grad_norm_(weights, self.config.clip_gradient)
        optimizer.step()
        self.dual.clamp()

    def _batches_per_epoch(self, count: int) -> int:
        if count < self.config.batch_size:
            raise ValueError(
                f"expected at least batch_size={self.config.batch_size} items to train on, got {count}; "
                "lower batch_size or give more pairs"
            )
        return count // self.config.batch_size

    def _read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[list[list[Any]]]:
        """Yields what was read of both sides of every batch, the next one being read meanwhile."""
        waiting = [self._submit(rows) for rows in batches[:1]]
        for following in [*batches[1:], None]:
            current = waiting.pop()
            if following is not None:
                waiting.append(self._submit(following))
            yield [[future.result() for future in side] for side in current]

    def _submit(self, rows: NDArray[np.int64]) -> list[list[Future[Any]]]:
        chosen = self.pairs.take(rows)
        sides = (chosen.first, chosen.second)
        return [[self.pool.submit(self.dual.read, side, value) for value in sides[side]] for side in SIDES]

    def _score(self, rows: NDArray[np.int64]) -> float:
        return float(np.mean([(1 / found).mean() for found in self.ranks(rows)]))

    def _vectors(self, side: Side, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        import torch

        parts = []
        with torch.no_grad():
            for start in range(0, len(rows), EMBED_BATCH):
                chosen = self.pairs.take(rows[start : start + EMBED_BATCH])
                values = (chosen.first, chosen.second)[side]
                inputs = list(self.pool.map(lambda value: self.dual.read(side, value), values))
                parts.append(self._embed(side, inputs).cpu().numpy())
        return np.concatenate(parts)

    def _embed(self, side: Side, inputs: Sequence[Any]) -> Tensor:
        with _autocast(self.config):
            return self.dual.embed(side, inputs).float()


def best_epoch(curve: Sequence[Epoch]) -> int:
    """Returns the epoch of the highest score, of equal ones the first."""
    return max(curve, key=lambda entry: (entry.score, -entry.epoch)).epoch


def _optimizer(weights: Sequence[Tensor], config: ContrastiveConfig) -> Optimizer:
    import torch

    if not weights:
        raise ValueError("expected parameters to train, got none: both towers are locked")
    groups = [
        {"params": [weight for weight in weights if weight.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS, eps=1e-6)


def _schedule(optimizer: Optimizer, config: ContrastiveConfig, per_epoch: int) -> LRScheduler:
    import torch

    total = config.epochs * per_epoch
    rising = round(config.warmup * total)

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, total - rising))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def _autocast(config: ContrastiveConfig) -> AbstractContextManager[Any]:
    import torch

    kind = resolve_device(config.device).type
    if config.precision == "bf16" or (config.precision == "auto" and kind == "cuda"):
        return torch.autocast(kind, dtype=torch.bfloat16)
    return nullcontext()


def _copy(weights: Sequence[Tensor]) -> list[Tensor]:
    return [weight.detach().to("cpu", copy=True) for weight in weights]


def _restore(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    import torch

    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)
