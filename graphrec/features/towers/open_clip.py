"""The image and text towers of open_clip's models, with their own preprocessing and tokenizers."""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from graphrec.config import ConfigError
from graphrec.features.encoder import Kind, Precision
from graphrec.features.towers.base import (
    ImageOptions,
    ModelTower,
    TowerOptions,
    TransformTower,
    check_weights_folder,
)
from graphrec.features.towers.loading import Loaded, checkpoint_errors, keep_loaded, plain_settings, quiet, stamp
from graphrec.features.towers.windows import average_windows, clean_text, cut_text, window_spans
from graphrec.runtime import resolve_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CONFIG = "open_clip_config.json"
WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".npz")
LOCAL, HUB = "local-dir:", "hf-hub:"


class OpenClipTextOptions(TowerOptions):
    """What may be set of a text tower of open_clip.

    Args:
        prefix: What stands before every text, such as ``"a photo of "``.
        windows: Whether a text that is longer than the model's context is encoded in windows, whose vectors are
            averaged by their tokens; otherwise it is cut off, as open_clip does.
        overlap: The tokens that a window shares with the one before.
    """

    prefix: str = ""
    windows: bool = False
    overlap: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Source:
    """Where a model of open_clip comes from.

    Args:
        model: What open_clip calls the model, with its prefix.
        weights: A tag of pretrained weights, or a file; none where the model brings its own.
        folder: The folder of a local checkpoint.
    """

    model: str
    weights: str | None = None
    folder: Path | None = None


def load(checkpoint: str, kind: Kind, options: Mapping[str, Any], device: str, precision: Precision) -> ModelTower:
    """Returns a tower of a model of open_clip.

    Args:
        checkpoint: ``"model/tag"`` for pretrained weights that open_clip knows, ``"model//path/to/weights.pt"`` or
            ``"model/weights.pt"`` for a file, ``"local-dir:/folder"`` for a folder with ``open_clip_config.json`` and
            weights, or ``"hf-hub:owner/model"``.
        kind: ``"image"`` or ``"text"``.
        options: See ``ImageOptions`` and ``OpenClipTextOptions``.
        device: Where it runs.
        precision: See ``ModelTower``.

    Raises:
        ConfigError: If there is no such model, no such weights, or none at all: a random model is never returned.
    """
    spec = f"open_clip:{checkpoint}"
    if kind not in ("image", "text"):
        raise ConfigError(f"expected the kind 'image' or 'text' for {spec!r}, got {kind!r}; open_clip has no others")
    source = parse_checkpoint(checkpoint)
    place = resolve_device(device)
    with checkpoint_errors(str(source.folder or source.weights), spec):
        loaded = keep_loaded(_key(source, place), lambda: _load(source, place))
    if kind == "image":
        return OpenClipImageTower(spec, loaded, ImageOptions.parse(options, where="options"), precision)
    with checkpoint_errors(str(source.folder), spec), quiet():
        tokenizer = _tokenizer(source)
    parsed = OpenClipTextOptions.parse(options, where="options")
    return OpenClipTextTower(spec, loaded, tokenizer, parsed, precision)


class OpenClipImageTower(TransformTower):
    """Encodes pictures as ``encode_image`` of the model does, after the model's own transform.

    Vectors have unit length unless ``normalize`` is off, so that they compare with those of its text tower.
    """

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self.loaded.settings["model"]["embed_dim"])

    @property
    def side(self) -> int:
        """The pixels of the longer side of what the model takes."""
        size = self.loaded.settings["preprocess"]["size"]
        return int(max(size) if isinstance(size, list | tuple) else size)

    def encode_batch(self, inputs: Sequence[Tensor]) -> Tensor:
        """Returns the vectors of pictures ``(len(inputs), dim)``."""
        encode: Any = self.loaded.model.encode_image
        return encode(self.stacked(inputs), normalize=self.options.normalize is not False)


class OpenClipTextTower(ModelTower):
    """Encodes texts as ``encode_text`` of the model does, after the model's own tokenizer.

    A longer text than the model's context is cut off there, or encoded in windows, by option.
    """

    kind: Kind = "text"
    batch_sizes = (64, 512)

    def __init__(
        self, spec: str, loaded: Loaded, tokenizer: Any, options: OpenClipTextOptions, precision: Precision
    ) -> None:
        super().__init__(spec, loaded, options, precision)
        self.options, self.tokenizer = options, tokenizer
        self._lock = threading.Lock()  # tokenizers of transformers may not be used by two threads at once
        if options.windows and not hasattr(tokenizer, "sot_token_id"):
            raise ConfigError(f"expected windows=False for {spec!r}: its tokenizer gives no tokens without their frame")
        if options.overlap >= tokenizer.context_length - 2:
            raise ConfigError(f"expected an overlap below {tokenizer.context_length - 2} tokens, got {options.overlap}")

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self.loaded.settings["model"]["embed_dim"])

    def read(self, value: Any) -> tuple[Tensor, list[int]]:
        """Returns the tokens of a text's windows ``(number of windows, context)``, and how many each has.

        Raises:
            ValueError: If it is no text, or an empty one.
        """
        text = self.options.prefix + clean_text(value)
        with self._lock:
            if self.options.windows:
                return self._windows(text)
            return self.tokenizer([cut_text(text, self.tokenizer.context_length, self._holds)]), [1]

    def encode_batch(self, inputs: Sequence[tuple[Tensor, list[int]]]) -> Tensor:
        """Returns the vectors of texts ``(len(inputs), dim)``."""
        import torch

        tokens = torch.cat([windows for windows, _ in inputs])
        normalize = self.options.normalize is not False
        encode: Any = self.loaded.model.encode_text
        if not self.options.windows:
            return encode(tokens.to(self.loaded.device), normalize=normalize)
        chunks = tokens.split(self.batch_size)
        vectors = torch.cat([encode(chunk.to(self.loaded.device), normalize=False).float() for chunk in chunks])
        means = average_windows(vectors, [counts for _, counts in inputs])
        return torch.nn.functional.normalize(means, dim=-1) if normalize else means

    def preprocessing(self) -> Mapping[str, Any]:
        """Returns the settings of the tokenizer."""
        from graphrec.features.towers.hf import tokenizer_settings

        inner = getattr(self.tokenizer, "tokenizer", None)
        return {
            "tokenizer": type(self.tokenizer).__name__,
            "context": self.tokenizer.context_length,
            "inner": None if inner is None else tokenizer_settings(inner),
            "model": self.loaded.settings["model"].get("text_cfg"),
        }

    def _holds(self, text: str, count: int) -> bool:
        if hasattr(self.tokenizer, "sot_token_id"):
            return len(self.tokenizer.encode(text)) >= count
        return len(self.tokenizer.tokenizer(text, truncation=True, max_length=count)["input_ids"]) >= count

    def _windows(self, text: str) -> tuple[Tensor, list[int]]:
        import torch

        tokenizer = self.tokenizer
        tokens = tokenizer.encode(text)
        spans = window_spans(len(tokens), tokenizer.context_length - 2, self.options.overlap)
        result = torch.zeros(len(spans), tokenizer.context_length, dtype=torch.long)
        for row, (start, end) in zip(result, spans, strict=True):
            framed = [tokenizer.sot_token_id, *tokens[start:end], tokenizer.eot_token_id]
            row[: len(framed)] = torch.tensor(framed)
        return result, [max(end - start, 1) for start, end in spans]


def parse_checkpoint(checkpoint: str) -> Source:
    """Returns what a checkpoint names, after checking that open_clip knows it or that it is on this disk.

    Raises:
        ConfigError: If it does not; close names are listed.
    """
    if checkpoint.startswith(HUB):
        return Source(checkpoint)
    if checkpoint.startswith(LOCAL):
        return _folder(Path(checkpoint.removeprefix(LOCAL)).expanduser())
    model, _, weights = checkpoint.partition("/")
    return Source(_known_model(model), _known_weights(model, weights))


def _folder(folder: Path) -> Source:
    check_weights_folder(folder, f"open_clip:{LOCAL}{folder}")
    if not (folder / CONFIG).is_file():
        raise ConfigError(
            f"expected the file {CONFIG} in {str(folder)!r}; for weights without it, name the model, as in "
            f"'open_clip:ViT-B-32//path/to/weights.pt'"
        )
    return Source(f"{LOCAL}{folder}", folder=folder)


def _known_model(model: str) -> str:
    import open_clip

    if model not in open_clip.list_models():
        hint = _close(model, open_clip.list_models())
        raise ConfigError(f"unknown model {model!r} of open_clip{hint}; see open_clip.list_models(), or write {_FORMS}")
    return model


def _known_weights(model: str, weights: str) -> str:
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(model)
    if not weights:
        raise ConfigError(
            f"expected weights for the model {model!r}: without them it would be random; write {_FORMS}; tags of "
            f"pretrained weights: {', '.join(tags) or 'none'}"
        )
    if get_pretrained_cfg(model, weights):
        return weights
    if "/" not in weights and Path(weights).suffix not in WEIGHTS:
        raise ConfigError(
            f"unknown pretrained weights {weights!r} of {model!r}{_close(weights, tags)}; known: "
            f"{', '.join(tags) or 'none'}; or write {_FORMS}"
        )
    if not Path(weights).expanduser().is_file():
        raise ConfigError(f"expected a file with weights of {model!r}, but there is no file {weights!r}")
    return str(Path(weights).expanduser())


_FORMS = "'open_clip:model/tag', 'open_clip:model//path/to/weights.pt' or 'open_clip:local-dir:/folder'"


def _close(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return f": did you mean {' or '.join(map(repr, close))}?" if close else ""


def _key(source: Source, device: torch.device) -> tuple[Any, ...]:
    local = source.folder or (source.weights if source.weights and Path(source.weights).is_file() else None)
    return ("open_clip", source.model, source.weights, stamp(local), str(device))


def _load(source: Source, device: torch.device) -> Loaded:
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    tag = get_pretrained_cfg(source.model, source.weights) if source.weights else {}
    quick = bool(tag.get("quick_gelu", False))  # else open_clip warns, and computes something else
    model, transform = open_clip.create_model_from_pretrained(  # refuses a model that would be random
        source.model, pretrained=source.weights, force_quick_gelu=quick, weights_only=True
    )
    config = plain_settings(_model_config(source)) | ({"quick_gelu": True} if quick else {})
    settings = {"model": config, "preprocess": dict(model.visual.preprocess_cfg)}
    model = model.float().eval().requires_grad_(False).to(device)
    return Loaded(model, device, settings, {"transform": transform})


def _model_config(source: Source) -> dict[str, Any]:
    from open_clip.factory import get_model_config

    if source.folder is not None:
        values = json.loads((source.folder / CONFIG).read_text(encoding="utf-8"))
        return dict(values.get("model_cfg", values))
    return dict(get_model_config(source.model))


def _tokenizer(source: Source) -> Any:
    import open_clip

    tokenizer = open_clip.get_tokenizer(source.model)
    if getattr(tokenizer, "reduction_fn", None) is not None:
        raise ConfigError(f"expected a tokenizer that cuts at the end, but that of {source.model!r} cuts at random")
    return tokenizer
