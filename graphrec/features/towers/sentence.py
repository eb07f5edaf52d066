"""What a checkpoint of sentence-transformers says of itself: pooling, further layers, length limit and prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.config import ConfigError, unknown_name
from graphrec.features.towers.hf import find_file, find_json

if TYPE_CHECKING:
    from torch import Tensor

LENGTHS = (  # by the age of the library that saved it
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
)
POOLINGS = {  # what the library calls the ways of pooling, in its order
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last",
}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")
SKIPPED = ("Dropout",)


@dataclass(frozen=True)
class Layer:
    """A layer after the pooling.

    Args:
        kind: ``"dense"`` or ``"normalize"``.
        weight: Of a dense layer ``(out_features, in_features)``.
        bias: Of a dense layer ``(out_features,)``, or nothing.
        activation: Of a dense layer, a name from ``torch.nn``.
    """

    kind: str
    weight: Tensor | None = None
    bias: Tensor | None = None
    activation: str = "Identity"

    def __call__(self, vectors: Tensor) -> Tensor:
        """Returns the vectors after this layer ``(num_vectors, out_features)``."""
        import torch

        if self.weight is None:
            return torch.nn.functional.normalize(vectors.float(), dim=-1)
        weight = self.weight.to(vectors.device)
        bias = None if self.bias is None else self.bias.to(vectors.device)
        result: Tensor = getattr(torch.nn, self.activation)()(torch.nn.functional.linear(vectors.float(), weight, bias))
        return result


@dataclass(frozen=True)
class SentenceSettings:
    """How a checkpoint's authors turn the vectors of tokens into one.

    Args:
        folder: The folder of the transformer within the checkpoint.
        poolings: Names from ``graphrec.features.towers.pooling.POOLINGS``; empty where the checkpoint does not say.
        include_prompt: Whether the tokens of a prompt are pooled too.
        layers: What comes after the pooling.
        max_length: The most tokens of a text.
        lower: Whether texts are lower-cased.
        prompts: What may stand before a text, by name.
        prompt: The name of the prompt that is used by default.
    """

    folder: str = ""
    poolings: tuple[str, ...] = ()
    include_prompt: bool = True
    layers: tuple[Layer, ...] = ()
    max_length: int | None = None
    lower: bool = False
    prompts: Mapping[str, str] | None = None
    prompt: str | None = None


def read_settings(checkpoint: str) -> SentenceSettings:
    """Returns what a checkpoint says in the files of sentence-transformers; the defaults where it has none.

    Raises:
        ConfigError: If it has a layer that is not supported.
    """
    modules = find_json(checkpoint, "modules.json")
    if modules is None:
        return SentenceSettings()
    settings = SentenceSettings()
    for module in sorted(modules, key=lambda module: module["idx"]):
        settings = _with_module(settings, checkpoint, module["type"].rpartition(".")[2], module["path"])
    general = find_json(checkpoint, "config_sentence_transformers.json") or {}
    prompts = {name: text or "" for name, text in (general.get("prompts") or {}).items()}
    return replace(settings, prompts=prompts, prompt=general.get("default_prompt_name"))


def apply_layers(vectors: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Returns vectors after the layers that follow the pooling ``(num_vectors, out_features)``."""
    for layer in layers:
        vectors = layer(vectors)
    return vectors


def _with_module(settings: SentenceSettings, checkpoint: str, kind: str, path: str) -> SentenceSettings:
    if kind == "Transformer":
        return _with_transformer(settings, checkpoint, path)
    if kind == "Pooling":
        config = find_json(checkpoint, f"{path}/config.json") or {}
        poolings = _poolings(config)
        return replace(settings, poolings=poolings, include_prompt=config.get("include_prompt", True))
    if kind in SKIPPED:
        return settings
    if kind == "Normalize":
        return replace(settings, layers=(*settings.layers, Layer("normalize")))
    if kind == "Dense":
        return replace(settings, layers=(*settings.layers, _dense(checkpoint, path)))
    known = ("Transformer", "Pooling", "Normalize", "Dense", *SKIPPED)
    raise ConfigError(
        f"cannot read {checkpoint!r}: {unknown_name(kind, known, kind='module of sentence-transformers')}"
    )


def _with_transformer(settings: SentenceSettings, checkpoint: str, path: str) -> SentenceSettings:
    start = f"{path}/" if path else ""
    found = (find_json(checkpoint, start + name) for name in LENGTHS)
    config: dict[str, Any] = next((config for config in found if config is not None), {})
    lower, length = bool(config.get("do_lower_case", False)), config.get("max_seq_length")
    return replace(settings, folder=path, max_length=length, lower=lower)


def _poolings(config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("pooling_mode")
    if named is None:
        return tuple(name for key, name in OLD_POOLINGS.items() if config.get(key)) or ("mean",)
    names = [named] if isinstance(named, str) else list(named)
    for name in names:
        if name not in POOLINGS:
            raise ConfigError(unknown_name(name, POOLINGS, kind="pooling"))
    return tuple(POOLINGS[name] for name in names)


def _dense(checkpoint: str, path: str) -> Layer:
    config = find_json(checkpoint, f"{path}/config.json") or {}
    if config.get("use_residual") or config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise ConfigError(f"cannot read {checkpoint!r}: its dense layer {path!r} is not one after the pooling")
    activation = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise ConfigError(f"cannot read {checkpoint!r}: {unknown_name(activation, ACTIVATIONS, kind='activation')}")
    weights = _weights(checkpoint, path)
    bias = weights.get("linear.bias")
    return Layer("dense", weights["linear.weight"].float(), None if bias is None else bias.float(), activation)


def _weights(checkpoint: str, path: str) -> dict[str, Tensor]:
    import torch
    from safetensors.torch import load_file

    safe = find_file(checkpoint, f"{path}/model.safetensors")
    if safe is not None:
        return load_file(safe)
    pickled: Path | None = find_file(checkpoint, f"{path}/pytorch_model.bin")
    if pickled is None:
        raise ConfigError(f"expected weights of the dense layer {path!r} in {checkpoint!r}, found none")
    state: dict[str, Tensor] = torch.load(pickled, map_location="cpu", weights_only=True)
    return state
