"""Image towers of timm: backbones without their classifier, with their own preprocessing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.config import ConfigError
from graphrec.features.encoder import Kind, Precision
from graphrec.features.towers.base import ImageOptions, ModelTower, TransformTower, check_weights_folder, unit_length
from graphrec.features.towers.loading import Loaded, checkpoint_errors, keep_loaded, plain_settings, quiet, stamp
from graphrec.runtime import resolve_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LOCAL, HUB = "local-dir:", "hf-hub:"


def load(checkpoint: str, kind: Kind, options: Mapping[str, Any], device: str, precision: Precision) -> ModelTower:
    """Returns the image tower of a backbone of timm.

    Args:
        checkpoint: A model with weights that timm knows, such as ``"vit_small_patch14_dinov2.lvd142m"``,
            ``"model//path/to/weights.safetensors"`` for a file, ``"local-dir:/folder"`` for a folder with
            ``config.json`` and weights, or ``"hf-hub:owner/model"``.
        kind: ``"image"``.
        options: See ``ImageOptions``.
        device: Where it runs.
        precision: See ``ModelTower``.

    Raises:
        ConfigError: If there is no such model, no such weights, or none at all: a random model is never returned.
    """
    spec = f"timm:{checkpoint}"
    if kind != "image":
        raise ConfigError(f"expected the kind 'image' for {spec!r}, got {kind!r}; timm has no others")
    model, weights = _parse(checkpoint, spec)
    place = resolve_device(device)
    local = weights or (model.removeprefix(LOCAL) if model.startswith(LOCAL) else None)
    key = ("timm", model, weights, stamp(local), str(place))
    with checkpoint_errors(str(local), spec):
        loaded = keep_loaded(key, lambda: _load(model, weights, place, spec))
    return TimmTower(spec, loaded, ImageOptions.parse(options, where="options"), precision)


class TimmTower(TransformTower):
    """Encodes pictures by a backbone of timm: what stands before its classifier, of any length by default."""

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(getattr(self.loaded.model, "head_hidden_size", None) or self.loaded.model.num_features)  # type: ignore[arg-type]

    @property
    def side(self) -> int:
        """The pixels of the longer side of what the model takes."""
        return int(max(self.loaded.settings["preprocess"]["input_size"][1:]))

    def encode_batch(self, inputs: Sequence[Tensor]) -> Tensor:
        """Returns the vectors of pictures ``(len(inputs), dim)``."""
        vectors: Tensor = self.loaded.model(self.stacked(inputs))
        return unit_length(vectors) if self.options.normalize else vectors


def _parse(checkpoint: str, spec: str) -> tuple[str, str | None]:
    import timm

    if checkpoint.startswith(LOCAL):
        folder = Path(checkpoint.removeprefix(LOCAL)).expanduser()
        check_weights_folder(folder, spec)
        return f"{LOCAL}{folder}", None
    if checkpoint.startswith(HUB):
        return checkpoint, None
    model, _, weights = checkpoint.partition("/")
    if not timm.is_model(model):
        close = difflib.get_close_matches(model, timm.list_models(), n=3)
        hint = f": did you mean {' or '.join(map(repr, close))}?" if close else "."
        raise ConfigError(f"unknown model {model!r} of timm{hint} See timm.list_models(pretrained=True)")
    return (model, _file(weights, model)) if weights else (_pretrained(model, timm), None)


def _file(weights: str, model: str) -> str:
    if not Path(weights).expanduser().is_file():
        raise ConfigError(f"expected a file with weights of {model!r}, but there is no file {weights!r}")
    return str(Path(weights).expanduser())


def _pretrained(model: str, timm: Any) -> str:
    if timm.models.is_model_pretrained(model):
        return model
    known = timm.list_pretrained(f"{model.partition('.')[0]}.*")
    raise ConfigError(
        f"expected weights for the model {model!r} of timm: without them it would be random; known: "
        f"{', '.join(known) or 'none'}; or write 'timm:model//path/to/weights.safetensors'"
    )


def _load(model: str, weights: str | None, device: torch.device, spec: str) -> Loaded:
    import timm
    from timm.data import create_transform, resolve_data_config

    overlay = {} if weights is None else {"pretrained_cfg_overlay": {"file": weights}}
    with quiet() as said:
        backbone = timm.create_model(model, pretrained=True, num_classes=0, **overlay)
    if any("Missing keys" in message for message in said):
        raise ConfigError(f"expected all weights of {spec!r}, but some are missing and would be random")
    data = resolve_data_config({}, model=backbone)
    transform = create_transform(**data, is_training=False)
    settings = {"model": backbone.pretrained_cfg.get("architecture", model), "preprocess": plain_settings(data)}
    backbone = backbone.float().eval().requires_grad_(False).to(device)
    return Loaded(backbone, device, settings, {"transform": transform})
