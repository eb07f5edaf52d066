"""Opens pictures: whatever people have on disk becomes an upright RGB picture, or an error that says why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 50_000_000  # of a picture in memory: 150 MB as RGB
DRAFT_ABOVE = 16_000_000  # a larger JPEG is decoded at a fraction of its size
MAX_ASPECT = 50
DEEP = ("I;16", "I;16B", "I;16L", "I", "F")  # convert() would cut these off above 255
CLEAR = ("RGBA", "LA", "PA", "La", "RGBa")


class TooLargeError(ValueError):
    """A picture has more pixels than are decoded; the limit is a setting, and may be another one next time."""


def open_picture(
    value: str | Path | Image, *, side: int = 512, draft_above: int = DRAFT_ABOVE, max_pixels: int = MAX_PIXELS
) -> Image:
    """Returns a picture upright (EXIF), transparency laid on white, as 8-bit RGB; the first frame of an animated one.

    A JPEG of more than ``draft_above`` pixels is decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size that keeps
    ``side`` pixels each way, which bounds memory and changes hardly a pixel of what a model sees.

    Args:
        value: A path, or a PIL image, which stays as it is.
        side: The pixels each way that are enough.
        draft_above: The pixels up to which a JPEG is decoded in full; 0 for never in full.
        max_pixels: The most pixels that are decoded.

    Raises:
        OSError: If the file is missing or cannot be read; the message is without the path.
        TooLargeError: If it has too many pixels.
        ValueError: If it is no picture, cut off, or broken.
    """
    from PIL import Image

    if not isinstance(value, str | Path | Image.Image):
        raise ValueError(f"expected a path or a PIL image, got {type(value).__name__}; leave absent values out")
    with _explained():
        if isinstance(value, Image.Image):
            return upright_rgb(_checked(value, max_pixels))
        with Path(value).open("rb") as file, _opened(file) as image:
            if image.width * image.height > draft_above:
                image.draft("RGB", (side, side))
            _checked(image, max_pixels).load()
            return upright_rgb(image)


def upright_rgb(image: Image) -> Image:
    """Returns a decoded picture upright, transparency laid on white, as 8-bit RGB; deeper greys keep their contrast."""
    from PIL import Image

    upright = _upright(image)
    if upright.mode in DEEP:
        upright = _eight_bits(upright)
    if not (upright.mode in CLEAR or "transparency" in upright.info):
        return upright.convert("RGB")
    clear = upright.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")


def middle(image: Image, max_aspect: int = MAX_ASPECT) -> Image:
    """Returns the middle of a picture that is more than ``max_aspect`` times as long as wide, others as they are.

    A model brings the shorter side to its input size and looks at the middle square; of a strip of 1 x 100,000 pixels
    that would be a picture of gigabytes.
    """
    width, height = (min(size, max_aspect * min(image.size)) for size in image.size)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _opened(file: BinaryIO) -> Image:
    from PIL import Image, JpegImagePlugin

    start = file.read(3)
    file.seek(0)
    if not start:
        raise ValueError("an empty file")
    if start == b"\xff\xd8\xff":  # Image.open counts the pixels of the whole, draft or not
        return JpegImagePlugin.JpegImageFile(file)
    return Image.open(file)


def _checked(image: Image, max_pixels: int) -> Image:
    if image.width * image.height > max_pixels:
        raise TooLargeError(
            f"expected at most {max_pixels:,} pixels, got {image.width} x {image.height}; scale the picture down, or "
            f"raise max_pixels, an option of towers"
        )
    return image


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a picture with broken EXIF is still a picture
        return image


def _eight_bits(image: Image) -> Image:
    from PIL import Image

    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    low, high = float(values.min()), float(values.max())
    if low == high:  # of a flat picture nothing says how bright its white is: take 16 bits
        return Image.new("L", image.size, int(min(max(low / 257, 0), 255)))
    return Image.fromarray(((values - low) * (255 / (high - low))).astype(np.uint8))


@contextmanager
def _explained() -> Iterator[None]:
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except UnidentifiedImageError:
        raise ValueError("no picture, or of a format that cannot be read") from None
    except Image.DecompressionBombError:
        raise TooLargeError("more pixels than Pillow decodes; scale the picture down") from None
    except TooLargeError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError("no such file") from None
    except OSError as error:
        raise OSError(error.strerror or _first_line(error)) from None
    except Exception as error:  # on broken bytes, Pillow's readers raise whatever they run into
        raise ValueError(_first_line(error)) from None


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0] or type(error).__name__
