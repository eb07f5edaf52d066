"""The pictures and words of the synthetic catalogue: what an item looks like, and how it is described."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 48
COLOURS = {
    "red": (205, 45, 50),
    "orange": (240, 150, 35),
    "green": (60, 165, 75),
    "cyan": (45, 180, 195),
    "blue": (50, 80, 200),
    "purple": (150, 60, 175),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
PATTERNS = ("plain", "stripes", "dots", "checks")
VARIANTS = tuple(
    (scale, turn, shade) for scale in (0.62, 0.78) for turn in (-0.15, 0.15) for shade in (225, 248)
)  # nuisance: size as a share of the picture, rotation in radians, grey of the background

TOPICS = {
    "cooking": ("kitchen", "cooking", "recipes", "baking"),
    "travel": ("travel", "luggage", "journeys", "airports"),
    "garden": ("garden", "plants", "seedlings", "lawns"),
    "music": ("music", "concerts", "melodies", "rhythm"),
    "sport": ("sport", "training", "running", "fitness"),
    "office": ("office", "desks", "meetings", "paperwork"),
}
MATERIALS = {
    "wood": ("wood", "oak", "timber", "walnut"),
    "metal": ("metal", "steel", "brass", "aluminium"),
    "cotton": ("cotton", "linen", "fabric", "textile"),
    "glass": ("glass", "crystal", "glazed", "porcelain"),
    "leather": ("leather", "suede", "hide", "calfskin"),
    "plastic": ("plastic", "acrylic", "nylon", "silicone"),
}
STYLES = {
    "classic": ("classic", "timeless", "traditional"),
    "modern": ("modern", "minimalist", "contemporary"),
    "playful": ("playful", "whimsical", "cheerful"),
    "rugged": ("rugged", "sturdy", "heavy-duty"),
}
SENTENCES = (
    "A {style} companion for {topic}, made of {material}.",
    "{material}: our {style} choice for everyone who loves {topic}.",
    "For {topic}. This {style} piece combines {material}.",
    "Bring {topic} home with {material} in a {style} finish.",
)


@dataclass(frozen=True)
class Look:
    """What can be seen of an item; items that look the same share one picture.

    Args:
        colour: A key of ``COLOURS``.
        shape: One of ``SHAPES``.
        pattern: One of ``PATTERNS``.
        variant: A position in ``VARIANTS``: size, rotation and background, which no taste depends on.
    """

    colour: str
    shape: str
    pattern: str
    variant: int

    @property
    def file_name(self) -> str:
        """The file name that stands for this look."""
        return f"{self.colour}-{self.shape}-{self.pattern}-{self.variant}.png"

    def draw(self) -> Image:
        """Draws the look as an RGB picture of ``SIZE`` x ``SIZE`` pixels."""
        from PIL import Image

        red, green, blue = COLOURS[self.colour]
        dark = (red * 2 // 5, green * 2 // 5, blue * 2 // 5)
        shade = VARIANTS[self.variant][2]
        size = (SIZE, SIZE)
        filled = Image.composite(
            Image.new("RGB", size, dark), Image.new("RGB", size, (red, green, blue)), _pattern_mask(self.pattern)
        )
        return Image.composite(filled, Image.new("RGB", size, (shade,) * 3), _shape_mask(self.shape, self.variant))

    def save(self, folder: Path) -> Path:
        """Writes the picture as PNG into the folder, the same bytes every time, and returns its path."""
        path = folder / self.file_name
        self.draw().save(path, format="PNG")
        return path


def describe(topic: str, material: str, style: str, rng: np.random.Generator) -> str:
    """Returns a sentence on an item that says nothing of its look; synonyms and wording are drawn from ``rng``."""
    sentence = SENTENCES[rng.integers(len(SENTENCES))]
    text = sentence.format(
        topic=_two(TOPICS[topic], rng), material=_two(MATERIALS[material], rng), style=_one(STYLES[style], rng)
    )
    return text[0].upper() + text[1:]


def _one(words: tuple[str, ...], rng: np.random.Generator) -> str:
    return words[rng.integers(len(words))]


def _two(words: tuple[str, ...], rng: np.random.Generator) -> str:
    first, step = rng.integers(len(words)), rng.integers(1, len(words))
    return f"{words[first]} and {words[(first + step) % len(words)]}"


@cache
def _pattern_mask(pattern: str) -> Image:
    from PIL import Image

    row, column = np.indices((SIZE, SIZE))
    masks = {
        "plain": np.zeros((SIZE, SIZE), bool),
        "stripes": column % 8 < 3,
        "dots": (row % 8 - 3.5) ** 2 + (column % 8 - 3.5) ** 2 < 6,
        "checks": (row // 6 + column // 6) % 2 == 0,
    }
    return Image.fromarray(np.where(masks[pattern], 255, 0).astype(np.uint8))


@cache
def _shape_mask(shape: str, variant: int) -> Image:
    from PIL import Image, ImageDraw

    scale, turn, _ = VARIANTS[variant]
    large = Image.new("L", (4 * SIZE, 4 * SIZE))
    pen, centre, radius = ImageDraw.Draw(large), 2.0 * SIZE, 2.0 * SIZE * scale
    box = (centre - radius, centre - radius, centre + radius, centre + radius)
    if shape in ("circle", "ring"):
        pen.ellipse(box, fill=255)
    else:
        pen.polygon([(centre + radius * x, centre + radius * y) for x, y in _corners(shape, turn)], fill=255)
    if shape == "ring":
        inner = radius * 0.55
        pen.ellipse((centre - inner, centre - inner, centre + inner, centre + inner), fill=0)
    return large.resize((SIZE, SIZE), Image.Resampling.BOX)


def _corners(shape: str, turn: float) -> list[tuple[float, float]]:
    arm = math.atan2(0.3, 1.0)
    polar = {
        "square": [(1.0, 0.25 + k / 2) for k in range(4)],
        "triangle": [(1.0, -0.5 + 2 * k / 3) for k in range(3)],
        "star": [((1.0, 0.42)[k % 2], -0.5 + k / 5) for k in range(10)],
        "cross": [
            corner
            for k in range(4)
            for corner in ((1.0, k / 2 - arm / math.pi), (1.0, k / 2 + arm / math.pi), (0.42, k / 2 + 0.25))
        ],
    }[shape]  # (radius, angle in units of pi)
    return [(r * math.cos(angle * math.pi + turn), r * math.sin(angle * math.pi + turn)) for r, angle in polar]
