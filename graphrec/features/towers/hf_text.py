"""Text towers of transformers: encoders pooled as their authors do, and the text side of CLIP and SigLIP."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field

from graphrec.config import ConfigError, unknown_name
from graphrec.features.encoder import Kind, Precision
from graphrec.features.towers.base import ModelTower, TowerOptions, unit_length
from graphrec.features.towers.hf import encoder_of, features_of, load_model, load_tokenizer, tokenizer_settings
from graphrec.features.towers.loading import Loaded, checkpoint_errors, digest, quiet
from graphrec.features.towers.pooling import check_poolings, pool
from graphrec.features.towers.sentence import SentenceSettings, apply_layers, read_settings
from graphrec.features.towers.windows import average_windows, clean_text, cut_text, pad_tokens

if TYPE_CHECKING:
    from torch import Tensor

SIGLIP = ("siglip", "siglip2")
NO_LIMIT = 100_000  # tokenizers write a number beyond all texts where they know none
UNKNOWN_LIMIT = 512


class HfTextOptions(TowerOptions):
    """What may be set of a text tower of transformers.

    Args:
        pooling: A way to pool the vectors of tokens, see ``graphrec.features.towers.pooling``; by default what the
            checkpoint says, else the mean.
        prefix: What stands before every text, such as ``"query: "``, and so in its first window only.
        prompt: The name of a prompt of the checkpoint, instead of a prefix.
        max_length: The most tokens; by default what the checkpoint says.
        windows: Whether a longer text is encoded in windows, whose vectors are averaged by their tokens; otherwise it
            is cut off, as the model's authors do.
        overlap: The tokens that a window shares with the one before.
    """

    pooling: str | None = None
    prefix: str | None = None
    prompt: str | None = None
    max_length: int | None = Field(default=None, ge=3)
    windows: bool = False
    overlap: int = Field(default=0, ge=0)


def load(checkpoint: str, kind: Kind, options: Mapping[str, Any], device: str, precision: Precision) -> ModelTower:
    """Returns the text tower of a checkpoint of transformers.

    Args:
        checkpoint: A name on the hub, or a local folder.
        kind: ``"text"``.
        options: See ``HfTextOptions``.
        device: Where it runs.
        precision: See ``ModelTower``.

    Raises:
        ConfigError: If there is no such checkpoint, or it reads no texts.
    """
    parsed = HfTextOptions.parse(options, where="options")
    spec = f"hf:{checkpoint}"
    with checkpoint_errors(checkpoint, spec), quiet():
        settings = read_settings(checkpoint)
    loaded = load_model(checkpoint, device, settings.folder)
    tokenizer = load_tokenizer(checkpoint, settings.folder)
    if hasattr(loaded.model, "get_text_features"):
        return JointTextTower(spec, loaded, tokenizer, parsed, precision)
    return SentenceTower(spec, loaded, tokenizer, settings, parsed, precision)


class _TextTower(ModelTower):
    kind: Kind = "text"
    batch_sizes = (64, 512)

    def __init__(self, spec: str, loaded: Loaded, tokenizer: Any, options: HfTextOptions, precision: Precision) -> None:
        super().__init__(spec, loaded, options, precision)
        self.options, self.tokenizer = options, tokenizer
        self._lock = threading.Lock()  # a fast tokenizer may not be used by two threads at once
        self._tokenizer_settings = tokenizer_settings(tokenizer)
        if options.windows and not tokenizer.is_fast:
            raise ConfigError(f"expected windows=False for {spec!r}: its tokenizer cannot lay out windows")

    @cached_property
    def dim(self) -> int:
        """The length of a vector, found by encoding a word."""
        return int(self.forward([self.read("word")]).shape[1])

    @property
    @abstractmethod
    def max_length(self) -> int:
        """The most tokens of a text, or of a window."""

    @property
    def prefix(self) -> str:
        """What stands before every text."""
        return self.options.prefix or ""

    def size(self, value: Any) -> int:
        """Returns the characters of a text that can matter, so that texts of like length share a batch."""
        length = len(value) if isinstance(value, str) else 0
        return length if self.options.windows else min(length, 8 * self.max_length)

    def read(self, value: Any) -> list[list[int]]:
        """Returns the tokens of a text, by windows; one window unless windows are asked for.

        Raises:
            ValueError: If it is no text, or an empty one.
        """
        text = self.prefix + self._cased(clean_text(value))
        with self._lock:
            if self.options.windows:
                tokens = self._tokens(text, return_overflowing_tokens=True, stride=self.options.overlap)
                return [list(window) for window in tokens]
            if self.tokenizer.truncation_side == "right":
                text = cut_text(text, self.max_length, self._holds)
            return [list(self._tokens(text))]

    def encode_batch(self, inputs: Sequence[list[list[int]]]) -> Tensor:
        """Returns the vectors of texts ``(len(inputs), dim)``."""
        import torch

        rows = [window for windows in inputs for window in windows]
        step = self.batch_size
        parts = [self._encode_rows(rows[start : start + step]) for start in range(0, len(rows), step)]
        vectors = torch.cat(parts)
        if len(rows) > len(inputs):
            special = self.tokenizer.num_special_tokens_to_add()
            vectors = average_windows(vectors, [[max(len(row) - special, 1) for row in windows] for windows in inputs])
        return self._finished(vectors)

    def preprocessing(self) -> Mapping[str, Any]:
        """Returns the settings of the tokenizer and of the texts."""
        return {"tokenizer": self._tokenizer_settings, "length": self.max_length, "prefix": self.prefix}

    @abstractmethod
    def _encode_rows(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Returns the vectors of windows ``(len(rows), dim)``."""

    @abstractmethod
    def _finished(self, vectors: Tensor) -> Tensor:
        """Returns the vectors of texts as they leave the tower ``(num_texts, dim)``."""

    def _cased(self, text: str) -> str:
        return text

    def _tokens(self, text: str, **arguments: Any) -> Any:
        names = ("return_attention_mask", "return_token_type_ids")
        plain = dict.fromkeys(names, False) | {"truncation": True, "max_length": self.max_length}
        return self.tokenizer(text, **(plain | arguments))["input_ids"]

    def _holds(self, text: str, count: int) -> bool:
        return len(self._tokens(text, max_length=count)) >= count

    def _check_overlap(self) -> None:
        most = self.max_length - self.tokenizer.num_special_tokens_to_add() - 1
        if self.options.windows and self.options.overlap > most:
            raise ConfigError(f"expected an overlap of at most {most} tokens, got {self.options.overlap}")


class SentenceTower(_TextTower):
    """Encodes texts by a transformer, pooled as the checkpoint's files of sentence-transformers say.

    Without such files the vectors of a text's tokens are averaged. Equal to ``SentenceTransformer.encode``.
    """

    def __init__(
        self,
        spec: str,
        loaded: Loaded,
        tokenizer: Any,
        settings: SentenceSettings,
        options: HfTextOptions,
        precision: Precision,
    ) -> None:
        super().__init__(spec, loaded, tokenizer, options, precision)
        self.settings = settings
        self.poolings = check_poolings((options.pooling,) if options.pooling else settings.poolings or ("mean",))
        self._prefix = _prefix(options, settings)
        self._prompt_length = 0 if settings.include_prompt else self._count_prompt()
        self._check_overlap()
        if options.windows and self._prompt_length:
            raise ConfigError(f"expected windows=False for {spec!r}, whose pooling leaves the prompt out")

    @cached_property
    def max_length(self) -> int:
        """The most tokens of a text, or of a window."""
        asked = self.options.max_length or self.settings.max_length or _tokenizer_limit(self.tokenizer)
        return _smaller(asked, _positions(self.loaded.model))

    @property
    def prefix(self) -> str:
        """What stands before every text."""
        return self._prefix

    def preprocessing(self) -> Mapping[str, Any]:
        """Returns the settings of the tokenizer, the pooling and what follows it."""
        own = {"lower": self.settings.lower, "prompt_tokens": self._prompt_length}
        return {**super().preprocessing(), **own, **self.space_settings()}

    def space_settings(self) -> Mapping[str, Any]:
        """Returns the pooling and what follows it."""
        return {"pooling": self.poolings, "layers": [_layer_settings(layer) for layer in self.settings.layers]}

    def _encode_rows(self, rows: Sequence[Sequence[int]]) -> Tensor:
        tokens, mask = (part.to(self.loaded.device) for part in pad_tokens(rows, self.tokenizer.pad_token_id))
        states = encoder_of(self.loaded.model)(input_ids=tokens, attention_mask=mask).last_hidden_state
        mask[:, : self._prompt_length] = 0
        return apply_layers(pool(states, mask, self.poolings), self.settings.layers)

    def _finished(self, vectors: Tensor) -> Tensor:
        by_authors = any(layer.kind == "normalize" for layer in self.settings.layers)
        wanted = by_authors if self.options.normalize is None else self.options.normalize
        return unit_length(vectors) if wanted else vectors

    def _cased(self, text: str) -> str:
        return text.lower() if self.settings.lower else text

    def _count_prompt(self) -> int:
        tokens = self._tokens(self.prefix) if self.prefix else []
        ends = (self.tokenizer.sep_token_id, self.tokenizer.eos_token_id)
        return len(tokens) - bool(tokens and tokens[-1] in ends)


class JointTextTower(_TextTower):
    """Encodes texts as ``get_text_features`` of CLIP, SigLIP and their like does; compares with their image tower.

    `SigLIP <https://arxiv.org/abs/2303.15343>`_ was trained on lower-cased texts padded to their full length, without
    a mask, and is used so.
    """

    def __init__(self, spec: str, loaded: Loaded, tokenizer: Any, options: HfTextOptions, precision: Precision) -> None:
        super().__init__(spec, loaded, tokenizer, options, precision)
        if options.pooling or options.prompt:
            raise ConfigError(f"expected neither pooling nor prompt for {spec!r}, which pools in its own way")
        self._siglip = loaded.settings["model_type"] in SIGLIP
        self._check_overlap()

    @cached_property
    def max_length(self) -> int:
        """The most tokens of a text, or of a window."""
        positions = (self.loaded.settings.get("text_config") or {}).get("max_position_embeddings")
        return _smaller(self.options.max_length or _tokenizer_limit(self.tokenizer), positions)

    def _encode_rows(self, rows: Sequence[Sequence[int]]) -> Tensor:
        length = self.max_length if self._siglip else 0
        left = self._siglip and self.tokenizer.padding_side == "left"
        tokens, mask = pad_tokens(rows, self.tokenizer.pad_token_id, length=length, left=left)
        model: Any = self.loaded.model
        masks = {} if self._siglip else {"attention_mask": mask.to(self.loaded.device)}
        output = model.get_text_features(input_ids=tokens.to(self.loaded.device), **masks)
        return cast("Tensor", features_of(output))

    def _finished(self, vectors: Tensor) -> Tensor:
        return vectors if self.options.normalize is False else unit_length(vectors)

    def _cased(self, text: str) -> str:
        return text.lower() if self._siglip else text


def _prefix(options: HfTextOptions, settings: SentenceSettings) -> str:
    if options.prefix is not None:
        if options.prompt is not None:
            raise ConfigError("expected a prefix or the name of a prompt, got both")
        return options.prefix
    name, prompts = options.prompt or settings.prompt, settings.prompts or {}
    if name is None:
        return ""
    if name not in prompts:
        raise ConfigError(unknown_name(name, prompts, kind="prompt"))
    return prompts[name]


def _layer_settings(layer: Any) -> dict[str, Any]:
    tensors = {"weight": layer.weight, "bias": layer.bias}
    hashes = {name: tensor.numpy().tobytes().hex() for name, tensor in tensors.items() if tensor is not None}
    return {"kind": layer.kind, "activation": layer.activation, "weights": digest(hashes)}


def _smaller(*limits: int | None) -> int:
    return min((limit for limit in limits if limit is not None), default=UNKNOWN_LIMIT)


def _tokenizer_limit(tokenizer: Any) -> int | None:
    limit = tokenizer.model_max_length
    return int(limit) if limit and limit < NO_LIMIT else None


def _positions(model: Any) -> int | None:
    """Returns how many tokens a model has positions for; RoBERTa and its like start to count behind their padding."""
    size = getattr(model.config, "max_position_embeddings", None)
    if not size or size < 0:
        return None
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return int(size) if padding is None else int(size) - padding - 1
