"""Image towers of transformers: CLIP, SigLIP, DINOv2, ViT and their like, with their own preprocessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from graphrec.config import ConfigError
from graphrec.features.encoder import Kind, Precision
from graphrec.features.towers.base import ImageOptions, ModelTower, unit_length
from graphrec.features.towers.hf import features_of, load_model
from graphrec.features.towers.loading import Loaded, checkpoint_errors, plain_settings, quiet
from graphrec.features.towers.pooling import pool

if TYPE_CHECKING:
    from torch import Tensor


class HfImageOptions(ImageOptions):
    """What may be set of an image tower of transformers.

    Args:
        pooling: ``"features"``: what the model compares with texts, where it does; ``"pooler"``: its pooled output;
            ``"cls"``: its first token; ``"patches"``: the mean of its patches. By default the first of them that the
            checkpoint has.
    """

    pooling: Literal["features", "pooler", "cls", "patches"] | None = None


def load(checkpoint: str, kind: Kind, options: Mapping[str, Any], device: str, precision: Precision) -> ModelTower:
    """Returns the image tower of a checkpoint of transformers.

    Args:
        checkpoint: A name on the hub, or a local folder.
        kind: ``"image"``.
        options: See ``HfImageOptions``.
        device: Where it runs.
        precision: See ``ModelTower``.

    Raises:
        ConfigError: If there is no such checkpoint, or it reads no pictures.
    """
    from transformers import AutoImageProcessor

    parsed = HfImageOptions.parse(options, where="options")
    with checkpoint_errors(checkpoint, f"hf:{checkpoint}"), quiet():
        processor = AutoImageProcessor.from_pretrained(checkpoint, trust_remote_code=False)
    return HfImageTower(f"hf:{checkpoint}", load_model(checkpoint, device), processor, parsed, precision)


class HfImageTower(ModelTower):
    """Encodes pictures by a vision model of transformers, after the checkpoint's own image processor.

    Vectors that compare with those of a text tower have unit length by default, as their models compare them; others
    stay as they are.
    """

    kind: Kind = "image"

    def __init__(
        self, spec: str, loaded: Loaded, processor: Any, options: HfImageOptions, precision: Precision
    ) -> None:
        super().__init__(spec, loaded, options, precision)
        self.options, self.processor = options, processor
        _check_pooling(options.pooling, loaded, spec)

    @cached_property
    def dim(self) -> int:
        """The length of a vector, found by encoding a white picture."""
        return int(self.forward([self._white()]).shape[1])

    @cached_property
    def pooling(self) -> str:
        """How a vector is made of what the model returns."""
        if self.options.pooling:
            return self.options.pooling
        if hasattr(self.loaded.model, "get_image_features"):
            return "features"
        if not _lacks_pooler(self.loaded) and self._pools():
            return "pooler"
        return "cls" if _num_special(self.loaded.model) else "patches"

    def read(self, value: Any) -> dict[str, Tensor]:
        """Returns a picture as the model takes it, by the names of the model's inputs; see ``open_picture``."""
        picture = self.options.open(value, self._side())
        inputs = self.processor(images=picture, return_tensors="pt")
        return {name: tensor[0] for name, tensor in inputs.items()}

    def encode_batch(self, inputs: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Returns the vectors of pictures ``(len(inputs), dim)``."""
        import torch

        batch = {name: torch.stack([one[name] for one in inputs]).to(self.loaded.device) for name in inputs[0]}
        vectors = self._pooled(batch)
        shared = self.pooling == "features"
        return (
            unit_length(vectors) if (self.options.normalize is None and shared) or self.options.normalize else vectors
        )

    def preprocessing(self) -> Mapping[str, Any]:
        """Returns the settings of the image processor."""
        return {
            "processor": type(self.processor).__name__,
            "settings": plain_settings(self.processor.to_dict()),
            "pooling": self.pooling,
        }

    def space_settings(self) -> Mapping[str, Any]:
        """Returns the pooling, unless its vectors compare with those of the text tower."""
        return {} if self.pooling == "features" else {"image": self.pooling}

    def _white(self) -> dict[str, Tensor]:
        from PIL import Image

        return self.read(Image.new("RGB", (8, 8), "white"))

    def _pools(self) -> bool:
        import torch

        batch = {name: value.unsqueeze(0).to(self.loaded.device) for name, value in self._white().items()}
        with torch.inference_mode():
            output = _vision_model(self.loaded.model)(**batch)
        return getattr(output, "pooler_output", None) is not None

    def _pooled(self, batch: Mapping[str, Tensor]) -> Tensor:
        model: Any = self.loaded.model
        if self.pooling == "features":
            return features_of(model.get_image_features(**batch))
        output = _vision_model(model)(**batch)
        if self.pooling == "pooler":
            return output.pooler_output.flatten(1)
        states = output.last_hidden_state
        if states.ndim == 4:  # a convolutional network: channels, height, width
            return states.mean(dim=(2, 3))
        if self.pooling == "cls":
            return states[:, 0]
        patches = states[:, _num_special(model) :]
        mask = batch.get("pixel_attention_mask")  # of models that take pictures of any shape
        return patches.mean(dim=1) if mask is None else pool(patches, mask, ["mean"])

    def _side(self) -> int:
        sizes = [
            *_numbers(getattr(self.processor, "size", None)),
            *_numbers(getattr(self.processor, "crop_size", None)),
        ]
        return max(sizes, default=512)


def _vision_model(model: Any) -> Any:
    return getattr(model, "vision_model", model)


def _lacks_pooler(loaded: Loaded) -> bool:
    return any("pooler." in name for name in loaded.unused)  # it would be random: classifiers are saved without


def _check_pooling(pooling: str | None, loaded: Loaded, spec: str) -> None:
    if pooling == "features" and not hasattr(loaded.model, "get_image_features"):
        raise ConfigError(f"expected a model with features that compare with texts for pooling='features', got {spec}")
    if pooling == "pooler" and _lacks_pooler(loaded):
        raise ConfigError(f"expected a pooler for pooling='pooler', but {spec!r} has no weights of one; use 'cls'")
    if pooling == "cls" and not _num_special(loaded.model):
        raise ConfigError(f"expected a model with a first token for pooling='cls', got {spec!r}; use 'patches'")


def _num_special(model: Any) -> int:
    """Returns how many tokens stand before the patches: the class token and registers."""
    vision = _vision_model(model)
    embeddings = getattr(vision, "embeddings", None)
    has_class = any(getattr(embeddings, name, None) is not None for name in ("cls_token", "class_embedding"))
    registers = int(getattr(vision.config, "num_register_tokens", 0) or 0)
    return (1 + registers) if has_class else 0


def _numbers(value: Any) -> list[int]:
    values = value.values() if hasattr(value, "values") else [value]
    return [int(number) for number in values if isinstance(number, int | float)]
