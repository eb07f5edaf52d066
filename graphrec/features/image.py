"""The light image encoder: colour, edge and thumbnail statistics, and PCA. Needs no weights and no network."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from graphrec.config import Config
from graphrec.features.encoder import UnreadableError
from graphrec.features.pictures import open_picture, upright_rgb
from graphrec.runtime import track

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 64  # pixels to which every picture is brought
CELL = 16  # pixels of a cell of the edge histogram
HUES, SHADES, ANGLES, THUMBNAIL = 12, 4, 8, 8


class LightImageEncoder(Config):
    """Hue, saturation and brightness histograms, edge directions by cell, and a thumbnail, reduced by PCA.

    Pictures are turned upright (EXIF), laid on white where transparent, brought to RGB and scaled to 64 x 64. The
    statistics are standardised, each of the three kinds weighs the same, and the vectors have unit length. PCA is
    learned from the distinct pictures that are encoded, so the vectors of two calls are not comparable. Where there are
    fewer distinct pictures than ``dim``, the vectors are shorter; a picture that equals the mean has the vector zero.

    Identical pictures (the same path, or files or pictures of the same content) are looked at once.

    Args:
        dim: The largest length of a vector.
    """

    dim: int = Field(default=64, ge=1)

    @property
    def name(self) -> str:
        """The encoder with all its settings."""
        return f"light-image(dim={self.dim})"

    def encode(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Returns one unit vector per picture ``(len(values), at most dim)``; equal pictures get equal vectors.

        Args:
            values: Paths, or PIL images.

        Raises:
            TypeError: If a value is neither a path nor a PIL image.
            UnreadableError: If files are missing or broken; names their paths.
            ValueError: If there are no pictures.
        """
        if not len(values):
            raise ValueError("expected pictures to encode, got none")
        statistics, which = _distinct_statistics(values)
        return _principal(_standardised(statistics), self.dim).astype(np.float32)[which]


def _distinct_statistics(values: Sequence[Any]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns the statistics of the distinct pictures, and which of them every value is ``(len(values),)``."""
    content: dict[Any, str] = {}
    rows: dict[str, NDArray[np.float32]] = {}
    wrong: dict[Any, str] = {}
    unique = {_key(value): value for value in values}
    for key, value in track(unique.items(), "Reading pictures", total=len(unique)):
        try:
            content[key] = _content(value)
            if content[key] not in rows:
                rows[content[key]] = image_statistics(_open(value))
        except _unreadable() as error:
            wrong[key] = f"{_label(value)} ({_reason(error)})"
    if wrong:
        raise UnreadableError({at: wrong[_key(value)] for at, value in enumerate(values) if _key(value) in wrong})
    order = {digest: row for row, digest in enumerate(rows)}
    return np.stack(list(rows.values())), np.array([order[content[_key(value)]] for value in values], np.int64)


def _standardised(statistics: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns every statistic at mean 0 and spread 1, then weighted so that each of the three kinds counts the same."""
    centred = statistics - statistics.mean(axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    sizes = (HUES + 2 * SHADES, (SIDE // CELL) ** 2 * ANGLES, 3 * THUMBNAIL**2)
    weights = np.concatenate([np.full(size, size**-0.5) for size in sizes])
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-6) * weights


def _principal(rows: NDArray[np.float64], dim: int) -> NDArray[np.float64]:
    """Returns centred rows along their principal axes, as unit vectors ``(len(rows), at most dim)``, signs fixed."""
    variances, axes = np.linalg.eigh(rows.T @ rows)
    variances, axes = variances[::-1][:dim], axes[:, ::-1][:, :dim]
    kept = variances > 1e-9 * variances[0]
    kept[0] = True  # where all pictures are equal, their vectors are zero and of length 1
    axes = axes[:, kept]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    reduced = rows @ axes
    length = np.linalg.norm(reduced, axis=1, keepdims=True)
    return np.divide(reduced, length, out=np.zeros_like(reduced), where=length > 1e-6)


def image_statistics(image: Image) -> NDArray[np.float32]:
    """Returns what is measured of one picture: its colours, edges and thumbnail ``(num_statistics,)``."""
    from PIL import Image

    small = upright_rgb(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.concatenate([_colours(small), _edges(small), _thumbnail(small)])


def _colours(image: Image) -> NDArray[np.float32]:
    """Returns histograms of hue, weighted by how colourful a pixel is, of saturation and of brightness."""
    hue, saturation, value = np.asarray(image.convert("HSV"), dtype=np.int64).reshape(-1, 3).T
    vivid = saturation * value / 255.0**2
    hues = np.bincount(hue * HUES // 256, weights=vivid, minlength=HUES)
    shades = [np.bincount(channel * SHADES // 256, minlength=SHADES) for channel in (saturation, value)]
    return (np.concatenate([hues, *shades]) / len(hue)).astype(np.float32)


def _edges(image: Image) -> NDArray[np.float32]:
    """Returns a histogram of edge directions for every cell, weighted by the strength of the edge."""
    grey = np.asarray(image.convert("L"), dtype=np.float32) / 255
    down, across = np.gradient(grey)
    angle = np.arctan2(down, across) % np.pi  # an edge and its opposite are the same direction
    direction = np.minimum((angle / np.pi * ANGLES).astype(np.int64), ANGLES - 1)
    row, column = np.indices(grey.shape) // CELL
    cells = (row * (SIDE // CELL) + column) * ANGLES + direction
    strength = np.bincount(cells.ravel(), np.hypot(down, across).ravel(), minlength=(SIDE // CELL) ** 2 * ANGLES)
    return np.sqrt(strength / CELL**2).astype(np.float32)


def _thumbnail(image: Image) -> NDArray[np.float32]:
    from PIL import Image

    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel() / np.float32(255)


def _open(value: Any) -> Image:
    from PIL import Image

    return value if isinstance(value, Image.Image) else open_picture(value, side=2 * SIDE, draft_above=0)


def _key(value: Any) -> Any:
    from PIL import Image

    if isinstance(value, Image.Image):
        return id(value)
    if isinstance(value, str | Path):
        return str(value)
    raise TypeError(f"expected a path or a PIL image, got {type(value).__name__}; leave absent values out")


def _content(value: Any) -> str:
    if isinstance(value, str | Path):
        return hashlib.sha256(Path(value).read_bytes()).hexdigest()
    head = f"{value.mode} {value.size} {value.info.get('transparency')} {value.getexif().get(0x0112)}"
    palette = value.getpalette() if value.mode == "P" else None
    return hashlib.sha256(f"{head} {palette}".encode() + value.tobytes()).hexdigest()


def _label(value: Any) -> str:
    return repr(str(value)) if isinstance(value, str | Path) else f"a PIL image of size {value.size}"


def _reason(error: BaseException) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) else str(error).split("\n")[0] or type(error).__name__


def _unreadable() -> tuple[type[Exception], ...]:
    from PIL import Image

    return (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
