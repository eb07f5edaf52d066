"""The contact sheet: what a few users liked, and what a model recommends to them, as pictures."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphrec.data.files import write_bytes
from graphrec.features.pictures import open_picture
from graphrec.pipeline import Run

TILE, GAP, MARGIN, TEXT = 96, 12, 18, 60  # pixels: picture, space between, page border, height of the words below
HEAD, ROW_HEAD, BLOCK_GAP = 58, 26, 30  # title, words above a row, space between liked and recommended
NUM_LIKED = 5
INK, FAINT, PAPER, CARD = (30, 33, 38), (120, 126, 134), (255, 255, 255), (238, 240, 243)
HIT = (22, 150, 84)
PICTURE, WORDS = "image", ("title", "name", "text")  # of the columns of words the first that there is
LINE = 16  # characters below a picture


@dataclass(frozen=True)
class Shelf:
    """One row of the sheet: a user with item rows."""

    user: Hashable
    liked: list[int]
    total: int
    recommended: list[int]
    wanted: frozenset[int]


def contact_sheet(run: Run, users: Sequence[Hashable], path: str | Path, *, k: int = 10) -> Path:
    """Draws what users liked in training beside their recommendations, as PNG; hits in the test set are marked.

    Items without a picture show their text.

    Args:
        run: The run that recommends; item pictures come from the column ``image``, words from ``title``, ``name`` or
            the first line of ``text``.
        users: External user ids, a row each.
        path: The PNG file.
        k: Recommendations per user.

    Raises:
        KeyError: If a user is unknown.
        ValueError: If there is no user, or ``k`` is larger than the catalogue.
    """
    from PIL import Image, ImageDraw

    if not len(users):
        raise ValueError("expected at least one user for the contact sheet, got none")
    shelves = _shelves(run, users, k)
    width, height = _size(k, len(shelves))
    image = Image.new("RGB", (width, height), PAPER)
    pen = Pen(image, ImageDraw.Draw(image), Look(run))
    pen.title(f"What {run.config.label} recommends on {run.data.name}", width)
    for number, shelf in enumerate(shelves):
        pen.shelf(shelf, HEAD + MARGIN + number * (ROW_HEAD + TILE + TEXT + GAP))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    write_bytes(Path(path), buffer.getvalue())
    return Path(path)


def typical_users(run: Run, count: int = 5) -> list[Hashable]:
    """Returns users with test items and at least as many training items as the sheet shows, spread over activity."""
    degree = run.data.split.train.user_degree()
    able = np.flatnonzero((run.data.test.user_degree() > 0) & (degree >= min(NUM_LIKED, degree.max())))
    able = able[np.argsort(degree[able], kind="stable")]
    chosen = able[np.linspace(0, len(able) - 1, min(count, len(able)) + 2).astype(int)[1:-1]]
    return list(run.data.split.users.ids(np.unique(chosen)))


class Look:
    """Pictures and words of items.

    Args:
        run: Where the catalogue is.
    """

    def __init__(self, run: Run) -> None:
        catalog = run.data.items
        columns = catalog.columns
        self._pictures = catalog.values(PICTURE) if PICTURE in columns else [None] * run.data.num_items
        words = next((name for name in WORDS if name in columns), None)
        self._words = catalog.values(words) if words is not None else [None] * run.data.num_items
        self._ids = run.data.split.items

    def picture(self, row: int) -> Any:
        """Returns the picture of an item row, ``TILE`` pixels square; None where there is none to be read."""
        from PIL import Image, ImageOps

        path = self._pictures[row]
        if path is None:
            return None
        try:
            picture = open_picture(path, side=TILE)
        except (OSError, ValueError):
            return None
        return ImageOps.pad(picture, (TILE, TILE), Image.Resampling.LANCZOS, color=PAPER)

    def words(self, row: int) -> str:
        """Returns the title of an item row, else the first line of its text; its id where there is none."""
        text = str(self._words[row] or "").strip()
        return text.split("\n")[0] if text else f"no text: {self._ids.ids([row])[0]}"


class Pen:
    """Draws on the sheet.

    Args:
        image: The page.
        draw: Pillow's drawing interface to it.
        look: Pictures and words of items.
    """

    def __init__(self, image: Any, draw: Any, look: Look) -> None:
        from PIL import ImageFont

        self.image, self.draw, self.look = image, draw, look
        self.large, self.normal, self.small = (ImageFont.load_default(size) for size in (22, 14, 11))

    def title(self, text: str, width: int) -> None:
        """Writes the title and what the marks mean."""
        self.draw.text((MARGIN, MARGIN - 4), text, INK, self.large)
        note = "framed in green: in the user's test set"
        left = width - MARGIN - self.draw.textlength(note, self.normal)
        self.draw.text((left, MARGIN + 3), note, HIT, self.normal)
        self.draw.line((MARGIN, HEAD - 6, width - MARGIN, HEAD - 6), CARD, 2)

    def shelf(self, shelf: Shelf, top: int) -> None:
        """Draws one user."""
        hits = shelf.wanted & set(shelf.recommended)
        liked = f"{shelf.user} liked {shelf.total} items, such as" if shelf.liked else f"{shelf.user} liked nothing yet"
        self.draw.text((MARGIN, top), liked, INK, self.normal)
        middle = MARGIN + NUM_LIKED * (TILE + GAP) + BLOCK_GAP
        self.draw.text(
            (middle, top), f"recommended: {len(hits)} of {len(shelf.wanted)} test items found", INK, self.normal
        )
        line = middle - (BLOCK_GAP + GAP) // 2
        self.draw.line((line, top, line, top + ROW_HEAD + TILE + TEXT - GAP), CARD, 2)
        for left, rows in ((MARGIN, shelf.liked), (middle, shelf.recommended)):
            for place, row in enumerate(rows):
                self.tile(row, left + place * (TILE + GAP), top + ROW_HEAD, row in hits and left == middle)

    def tile(self, row: int, left: int, top: int, hit: bool) -> None:
        """Draws one item."""
        box = (left, top, left + TILE - 1, top + TILE - 1)
        picture, words = self.look.picture(row), self.look.words(row)
        if picture is None:
            self.draw.rectangle(box, CARD)
            lines = textwrap.wrap(words, 15, max_lines=5, placeholder=" …")
            self.draw.multiline_text((left + 6, top + 6), "\n".join(lines), INK, self.small, spacing=4)
        else:
            self.image.paste(picture, (left, top))
            lines = textwrap.wrap(words, LINE, max_lines=3, placeholder=" …")
            self.draw.multiline_text((left, top + TILE + 6), "\n".join(lines), FAINT, self.small, spacing=3)
        self.draw.rectangle(box, outline=CARD, width=1)
        if hit:
            self.draw.rectangle((left - 3, top - 3, left + TILE + 2, top + TILE + 2), outline=HIT, width=4)


def _size(k: int, rows: int) -> tuple[int, int]:
    width = 2 * MARGIN + (NUM_LIKED + k) * (TILE + GAP) - GAP + BLOCK_GAP
    return width, HEAD + 2 * MARGIN + rows * (ROW_HEAD + TILE + TEXT + GAP) - GAP


def _shelves(run: Run, users: Sequence[Hashable], k: int) -> list[Shelf]:
    found = run.recommend(users, k)
    train, test, items = run.data.split.train, run.data.test, run.data.split.items
    shelves = []
    for user, row in zip(users, run.data.split.users.rows(list(users)), strict=True):
        liked = train.item[train.user == row]
        recommended = items.rows(found.loc[[other == user for other in found["user"]], "item"]).tolist()
        wanted = frozenset(test.item[test.user == row].tolist())
        shelves.append(Shelf(user, liked[:NUM_LIKED].tolist(), len(liked), recommended, wanted))
    return shelves
