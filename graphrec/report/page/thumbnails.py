"""Pictures of items on the page: small, each embedded once, referred to by the name of a CSS class."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from markupsafe import Markup

from graphrec.data.catalog import Catalog
from graphrec.features.pictures import open_picture
from graphrec.report.page.study import Study

PICTURE, WORDS = "image", ("title", "name", "text")  # of the columns of words the first that there is
SIDE, QUALITY = 96, 55  # pixels of the longer side, and WebP's quality: about 2 kB for a poster
BUDGET = 4_000_000  # characters of all pictures of a data set, of the 15 MB that a page may have
KEPT = "thumbnails"
LONGEST = 90  # characters of the words of an item


class Thumbnails:
    """The pictures of a page.

    A picture becomes part of the page when ``name`` first asks for it; ``style`` gives out what was not given out yet.

    Args:
        paths: The picture of every item row, a path or ``None``; items may share one.
        prefix: What the names of the pictures begin with, unique on the page.
        budget: The most characters that all pictures may take; those that do not fit are left out and counted.
    """

    def __init__(self, paths: Sequence[Any], *, prefix: str = "t", budget: int = BUDGET) -> None:
        self.paths, self.prefix, self.budget = paths, prefix, budget
        self.unreadable = self.left_out = 0
        self._names: dict[str, str | None] = {}
        self._waiting: list[str] = []

    @classmethod
    def of(cls, catalog: Catalog, *, prefix: str = "t", budget: int = BUDGET) -> Thumbnails:
        """Returns the pictures of a catalogue, from its column ``image``."""
        has_pictures = PICTURE in catalog.columns
        paths = catalog.values(PICTURE) if has_pictures else [None] * len(catalog.ids)
        return cls(paths, prefix=prefix, budget=budget)

    def name(self, row: int, *, reserve: int = 0) -> str | None:
        """Returns the CSS class that shows the picture of an item row; ``None`` where there is no picture to be read.

        The class sets ``background-image`` alone: size and shape are the element's.

        Args:
            row: The item row.
            reserve: The characters of the budget that a new picture leaves to others.
        """
        path = self.paths[row]
        if not isinstance(path, str | Path):
            return None
        key = str(path)
        if key not in self._names:
            self._names[key] = self._added(key, reserve)
        return self._names[key]

    def style(self) -> Markup:
        """Returns a ``style`` element with the pictures asked for since the last call; nothing if there are none."""
        rules, self._waiting = self._waiting, []
        return Markup("<style>{}</style>").format(Markup("\n".join(rules))) if rules else Markup("")

    def _added(self, path: str, reserve: int) -> str | None:
        try:
            data = data_uri(path)
        except (OSError, ValueError):
            self.unreadable += 1
            return None
        if len(data) > self.budget - reserve:
            self.left_out += 1
            return None
        self.budget -= len(data)
        name = f"{self.prefix}{len(self._names)}"
        self._waiting.append(f".{name}{{background-image:url({data})}}")
        return name


def thumbnails_of(study: Study) -> Thumbnails:
    """Returns the pictures of a study's items, the same object at every call: its sections share each picture."""
    kept = vars(study)  # as functools.cached_property does
    if KEPT not in kept:
        kept[KEPT] = Thumbnails.of(study.dataset.items, prefix=f"t{study.identity[:8]}-")
    return cast(Thumbnails, kept[KEPT])


def data_uri(path: str | Path, *, side: int = SIDE, quality: int = QUALITY) -> str:
    """Returns a picture as a ``data:`` address of WebP, its longer side at most ``side`` pixels, its shape kept.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is no picture.
    """
    from PIL import Image

    picture = open_picture(path, side=side, draft_above=0)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


class Titles:
    """The words of items: their title, else the first line of their text, else their id.

    Args:
        catalog: What the items are.
    """

    def __init__(self, catalog: Catalog) -> None:
        column = next((name for name in WORDS if name in catalog.columns), None)
        self._words = catalog.values(column) if column is not None else [None] * len(catalog.ids)
        self._ids = catalog.ids

    def __call__(self, row: int) -> str:
        """Returns the words of an item row, one line, cut where it is long."""
        lines = str(self._words[row] or "").strip().splitlines()
        words = " ".join(lines[0].split()) if lines else f"item {self._ids.ids([row])[0]}"
        return words if len(words) <= LONGEST else f"{words[: LONGEST - 2].rstrip()} …"
