"""What all towers do alike: precision, batches, names and fingerprints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from graphrec.config import Config, ConfigError
from graphrec.features.encoder import Kind, Precision
from graphrec.features.pictures import MAX_PIXELS, middle, open_picture
from graphrec.features.towers.loading import Loaded, digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class TowerOptions(Config):
    """What may be set of every tower.

    Args:
        normalize: Whether vectors get unit length; by default as the model's authors do.
        batch_size: Values per batch; what suits the device by default.
    """

    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"batch_size"})  # change no vector

    normalize: bool | None = None
    batch_size: int | None = Field(default=None, ge=1)

    def effective(self) -> dict[str, Any]:
        """Returns the settings that differ from the defaults and change vectors."""
        values = self.model_dump(exclude_defaults=True)
        return {key: value for key, value in values.items() if key not in self.NEUTRAL}


class ImageOptions(TowerOptions):
    """What may be set of an image tower.

    Args:
        max_pixels: The most pixels of a picture that are decoded; a larger one counts as unreadable, except that a
            JPEG is decoded at a fraction of its size.
    """

    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"batch_size", "max_pixels"})

    max_pixels: int = Field(default=MAX_PIXELS, ge=1)

    def open(self, value: Any, side: int) -> Any:
        """Returns the picture as a model of that input size wants it; see ``open_picture``."""
        return middle(open_picture(value, side=4 * side, max_pixels=self.max_pixels))


class ModelTower(ABC):
    """A tower around a loaded model; its subclasses read values and encode batches.

    Args:
        spec: What it was asked for as.
        loaded: The model.
        options: Its options.
        precision: ``"auto"`` is bfloat16 on a GPU (float16 where it has none) and float32 on the CPU.
    """

    kind: Kind
    batch_sizes: tuple[int, int] = (32, 256)  # on the CPU, on a GPU

    def __init__(self, spec: str, loaded: Loaded, options: TowerOptions, precision: Precision) -> None:
        self.spec, self.loaded = spec, loaded
        self.general = options
        self.precision = resolve_precision(precision, loaded.device)
        self._fingerprint: str | None = None

    @property
    def name(self) -> str:
        """What it was asked for as, and the settings that change its output."""
        values = self.general.effective() | ({} if self.precision == "fp32" else {"precision": self.precision})
        shown = ", ".join(f"{key}={value}" for key, value in values.items())
        return f"{self.spec}({shown})" if shown else self.spec

    @property
    def batch_size(self) -> int:
        """Values per batch that suit its device."""
        return self.general.batch_size or self.batch_sizes[self.loaded.device.type != "cpu"]

    @property
    def space(self) -> str:
        """Names the vector space, by the weights: both towers of a checkpoint share it."""
        return digest(self.loaded.weights, self.space_settings())[:16]

    @property
    @abstractmethod
    def dim(self) -> int:
        """The length of a vector."""

    def fingerprint(self) -> str:
        """Returns a hash of the weights and of all that changes a vector beside the value."""
        if self._fingerprint is None:
            shared = {"kind": self.kind, "precision": self.precision, "options": self.general.effective()}
            self._fingerprint = digest(self.loaded.weights, shared, self.preprocessing())
        return self._fingerprint

    def size(self, value: Any) -> int:
        """Returns 0: all values cost the same."""
        return 0

    def forward(self, inputs: Sequence[Any]) -> NDArray[np.float32]:
        """Returns the vectors of values that ``read`` returned ``(len(inputs), dim)``.

        Raises:
            ValueError: If the model returns values that are not finite.
        """
        import torch

        with torch.inference_mode(), self._autocast():
            vectors = self.encode_batch(inputs).float().cpu().numpy()
        if not np.isfinite(vectors).all():
            raise ValueError(
                f"expected finite vectors of {self.name}, got some that are not; try precision='fp32', or another "
                f"checkpoint"
            )
        return np.asarray(vectors, dtype=np.float32)

    @abstractmethod
    def read(self, value: Any) -> Any:
        """Reads and preprocesses one value.

        Raises:
            OSError, ValueError: If it cannot be read.
        """

    @abstractmethod
    def encode_batch(self, inputs: Sequence[Any]) -> Tensor:
        """Returns the vectors of values that ``read`` returned ``(len(inputs), dim)``, in any precision."""

    @abstractmethod
    def preprocessing(self) -> Mapping[str, Any]:
        """Returns all settings of the preprocessing, as plain values."""

    def space_settings(self) -> Mapping[str, Any]:
        """Returns what else than the weights sets the vector space apart, as plain values."""
        return {}

    def _autocast(self) -> AbstractContextManager[Any]:
        import torch

        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.loaded.device.type, dtype=dtype)


class TransformTower(ModelTower):
    """An image tower whose model comes with a transform of PIL images, kept in ``loaded.parts``.

    Args:
        spec: What it was asked for as.
        loaded: The model, its transform, and the settings of that.
        options: Its options.
        precision: See ``ModelTower``.
    """

    kind: Kind = "image"

    def __init__(self, spec: str, loaded: Loaded, options: ImageOptions, precision: Precision) -> None:
        super().__init__(spec, loaded, options, precision)
        self.options = options

    @property
    @abstractmethod
    def side(self) -> int:
        """The pixels of the longer side of what the model takes."""

    def read(self, value: Any) -> Tensor:
        """Returns a picture as the model takes it ``(3, height, width)``; see ``open_picture`` for errors."""
        return self.loaded.parts["transform"](self.options.open(value, self.side))

    def stacked(self, inputs: Sequence[Tensor]) -> Tensor:
        """Returns pictures as one batch on the model's device ``(len(inputs), 3, height, width)``."""
        import torch

        return torch.stack(list(inputs)).to(self.loaded.device)

    def preprocessing(self) -> Mapping[str, Any]:
        """Returns the settings of the transform."""
        return self.loaded.settings["preprocess"]


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Returns the precision that suits a device: on a GPU, bfloat16 where it has it, else float16."""
    import torch

    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"


def unit_length(vectors: Tensor) -> Tensor:
    """Returns the vectors at length 1 ``(num_vectors, dim)``, computed in 32 bits."""
    import torch

    return torch.nn.functional.normalize(vectors.float(), dim=-1)


def check_weights_folder(folder: Path, spec: str) -> None:
    """Checks that a folder holds weights.

    Raises:
        ConfigError: If there is no such folder, or no weights in it.
    """
    if not folder.is_dir():
        raise ConfigError(f"expected a folder with a checkpoint for {spec!r}, but there is no folder {str(folder)!r}")
    if not any(file.suffix in (".safetensors", ".bin", ".pth", ".pt") for file in folder.iterdir()):
        present = ", ".join(sorted(entry.name for entry in folder.iterdir())[:12]) or "nothing"
        raise ConfigError(
            f"expected weights (.safetensors, .bin, .pth) in {str(folder)!r}, found {present}; without them the model "
            f"would be random"
        )
