"""Two towers of one checkpoint that learn together: their loss, what of them is trained, and adapters by LoRA."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from graphrec.config import ConfigError
from graphrec.features.encoder import Kind
from graphrec.features.finetuning.contrastive import SIDES, Side
from graphrec.features.towers.base import ModelTower, unit_length
from graphrec.features.towers.loading import quiet
from graphrec.runtime import require

if TYPE_CHECKING:
    from torch import Tensor, nn

MAX_LOG_SCALE = math.log(100)  # CLIP's bound on what the cosines are multiplied with
SCALES = ("logit_scale", "logit_scale_t")  # what CLIP and SigLIP, and CLAP's texts, call its logarithm
ATTENTION = (  # the projections of attention, by what families of models call them
    *("q_proj", "k_proj", "v_proj", "out_proj"),  # CLIP, SigLIP, Whisper, wav2vec 2.0
    *("query", "key", "value"),  # BERT, ViT, CLAP
    *("q_lin", "k_lin", "v_lin", "out_lin"),  # DistilBERT
    *("q", "k", "v", "o"),  # T5, MPNet
)


class TowerPair:
    """The towers of one checkpoint for two kinds of values, or one tower of texts for two texts of an item.

    The loss is open_clip's: ``SigLipLoss`` for a checkpoint with a bias of the logits, as SigLIP has, else
    ``ClipLoss``, with the checkpoint's own scale of the logits or, where it has none, a fixed one: the InfoNCE of both
    directions, known for texts as the multiple negatives ranking loss.

    Args:
        first: The tower of the first values.
        second: The tower of the second; its model must be the first's.
        scale: What cosines are multiplied with where the checkpoint does not say.

    Raises:
        ConfigError: If the towers are not of one model.
    """

    def __init__(self, first: ModelTower, second: ModelTower, *, scale: float = 20.0) -> None:
        if first.loaded.model is not second.loaded.model:
            raise ConfigError(f"expected two towers of one checkpoint, got {first.name} and {second.name}")
        self.towers = (first, second)
        self.fixed_scale = scale
        self.adapted: Any = None

    @property
    def module(self) -> nn.Module:
        """The model of both towers."""
        return self.towers[0].loaded.model

    @property
    def log_scale(self) -> nn.Parameter | None:
        """The logarithm of the scale of the logits, where the checkpoint has one."""
        return next((found for name in SCALES if (found := getattr(self.module, name, None)) is not None), None)

    @property
    def bias(self) -> nn.Parameter | None:
        """The bias of the logits, where the checkpoint has one."""
        found: nn.Parameter | None = getattr(self.module, "logit_bias", None)
        return found

    @property
    def loss_name(self) -> str:
        """The class of the loss."""
        return type(self._loss).__name__

    def read(self, side: Side, value: Any) -> Any:
        """Reads and preprocesses one value.

        Raises:
            OSError, ValueError: If it cannot be read.
        """
        return self.towers[side].read(value)

    def embed(self, side: Side, inputs: Sequence[Any]) -> Tensor:
        """Returns the unit vectors of what ``read`` returned, with their gradient ``(len(inputs), dim)``."""
        return unit_length(self.towers[side].encode_batch(inputs))

    def loss(self, first: Tensor, second: Tensor) -> Tensor:
        """Returns the loss of a batch of unit vectors whose rows belong together."""
        scale = self.fixed_scale if self.log_scale is None else self.log_scale.exp()
        result: Tensor = self._loss(first, second, scale, self.bias)
        return result

    def clamp(self) -> None:
        """Keeps a trained scale between 1 and 100, as CLIP does."""
        if self.log_scale is not None and self.log_scale.requires_grad:
            self.log_scale.data.clamp_(0, MAX_LOG_SCALE)

    def parameters_of(self, side: Side, value: Any) -> list[str]:
        """Returns the names of the parameters that a tower uses, found by the gradient of one value's vector."""
        self.module.requires_grad_(True)
        self.embed(side, [self.read(side, value)]).sum().backward()
        used = [name for name, weight in self.module.named_parameters() if weight.grad is not None]
        self.module.zero_grad(set_to_none=True)
        return used

    def train_all(self, lock: Sequence[Kind], examples: tuple[Any, Any]) -> None:
        """Lets all parameters be trained but those of the locked towers, and those that no tower uses.

        A locked image tower is `"LiT: Zero-Shot Transfer with Locked-image text Tuning"
        <https://arxiv.org/abs/2111.07991>`_.

        Args:
            lock: The kinds whose tower stays as it is.
            examples: One value of each side.

        Raises:
            ConfigError: If there is no tower of a kind to lock, or no other is left.
        """
        kinds = [tower.kind for tower in self.towers]
        if not set(lock) <= set(kinds) or set(lock) == set(kinds):
            raise ConfigError(f"expected to lock one of the two different towers {kinds}, got lock={list(lock)}")
        used = [set(self.parameters_of(side, examples[side])) for side in SIDES]
        locked = set().union(*(names for kind, names in zip(kinds, used, strict=True) if kind in lock))
        scale = {
            name for name, weight in self.module.named_parameters() if weight is self.log_scale or weight is self.bias
        }
        for name, weight in self.module.named_parameters():
            weight.requires_grad_(name in (used[0] | used[1] | scale) - locked)

    def train_adapters(self, rank: int, alpha: float, targets: Sequence[str] | None) -> tuple[str, ...]:
        """Freezes the model and adds adapters of low rank, which alone are trained.

        From `"LoRA: Low-Rank Adaptation of Large Language Models" <https://arxiv.org/abs/2106.09685>`_, by peft; they
        start as zero, so that the model is at first what it was.

        Args:
            rank: Of the adapters.
            alpha: The adapters are multiplied with ``alpha / rank``.
            targets: The last parts of the names of linear layers; the projections of attention by default.

        Returns:
            The names of the layers that were adapted.

        Raises:
            ConfigError: If the model is not one of transformers, or has no such layers.
            MissingExtraError: If peft is not installed.
        """
        from transformers import PreTrainedModel

        if not isinstance(self.module, PreTrainedModel):
            raise ConfigError(
                f"expected a model of transformers for LoRA, got {type(self.module).__name__}; leave lora_rank out, "
                "and lock one tower to train less"
            )
        layers = self._linear_layers(targets)
        peft = require("peft", extra="finetune")
        config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=list(layers), bias="none")
        with quiet():
            self.adapted = peft.get_peft_model(self.module, config)  # puts the adapters into the module itself
        return layers

    def merge(self) -> None:
        """Adds the adapters, where there are any, to the weights, and takes them out of the model."""
        if self.adapted is not None:
            self.adapted.merge_and_unload()
            self.adapted = None

    def _linear_layers(self, targets: Sequence[str] | None) -> tuple[str, ...]:
        from torch import nn

        linear = [name for name, layer in self.module.named_modules() if isinstance(layer, nn.Linear)]
        chosen = set(ATTENTION if targets is None else targets)
        found = tuple(name for name in linear if name.rpartition(".")[2] in chosen)
        if not found:
            present = sorted({name.rpartition(".")[2] for name in linear})
            raise ConfigError(
                f"expected linear layers named {sorted(chosen)}, the model has {present}; set lora_targets"
            )
        return found

    @cached_property
    def _loss(self) -> Any:
        from open_clip.loss import ClipLoss, SigLipLoss

        return ClipLoss() if self.bias is None else SigLipLoss()
