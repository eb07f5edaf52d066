"""MovieLens 100K: ratings with times, titles and plots, posters, genres, and who the users are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset
from graphrec.data.files import ReaderOptions, join_texts, read_columns, require_file
from graphrec.data.interactions import Ids, Interactions
from graphrec.data.splits import Parts, SplitConfig, hold_out_valid

RATING_COLUMNS = ("user", "item", "rating", "time")
MOVIE_COLUMNS = ("item", "title", "released", "video", "url")
PERSON_COLUMNS = ("user", "age", "gender", "occupation", "zip")
TEXT_COLUMNS = ("title", "overview", "tagline")


class MovieLensOptions(ReaderOptions):
    """How the ratings become a benchmark: one file and a split, or a training and a test file.

    Args:
        ratings: All ratings (``u.data``), or the training ratings (``ua.base``) where ``test`` is given.
        test: The test ratings, such as ``ua.test``; validation is then drawn from the training ones.
        threshold: The lowest rating that counts as an interaction; none: all do.
        split: The split where there is no test file; 8:1:1 per user by default.
        valid_fraction: The share of every user's training interactions drawn where there is a test file.
        seed: The seed of that draw.
    """

    kind: Literal["movielens-100k"] = "movielens-100k"
    ratings: str = "u.data"
    test: str | None = None
    threshold: float | None = 4.0
    split: SplitConfig | None = None
    valid_fraction: float = Field(0.1, gt=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if self.test is not None and self.split is not None:
            raise ValueError(f"expected a test file or a split, got both ({self.test!r} and {self.split.name!r})")
        return self


def read_movielens_100k(
    folder: str | Path, options: MovieLensOptions | None = None, *, name: str | None = None
) -> Dataset:
    """Reads MovieLens 100K (https://grouplens.org/datasets/movielens/100k/) with texts and posters where present.

    All 943 users and 1,682 movies are in the vocabularies, whatever the threshold leaves of their ratings. The
    catalogue has ``title`` and ``genres``, ``text`` where ``items_text.csv`` has one, and ``image``, the path of
    ``posters/<movie>.jpg``, where there is one; the people have ``age``, ``gender``, ``occupation`` and ``zip``.

    Args:
        folder: The folder of the files.
        options: The rating rule and the split.
        name: The data set's name; the folder's by default.

    Raises:
        FileNotFoundError: If a rating, item or user file is missing.
        ValueError: If no rating reaches the threshold or a part of the split is empty.
    """
    folder, options = Path(folder), options or MovieLensOptions()
    people = _people(folder)
    items = _movies(folder)
    split, test = _interactions(folder, options, people.ids, items.ids)
    return Dataset(name or folder.name, split, test, items, people)


def _interactions(folder: Path, options: MovieLensOptions, users: Ids, items: Ids) -> Parts:
    ratings = _ratings(folder / options.ratings, users, items).implicit(options.threshold)
    if options.test is None:
        return (options.split or SplitConfig()).apply(ratings)
    test = _ratings(folder / options.test, users, items).implicit(options.threshold)
    return hold_out_valid(ratings, fraction=options.valid_fraction, seed=options.seed), test


def _ratings(path: Path, users: Ids, items: Ids) -> Interactions:
    frame = read_columns(path, RATING_COLUMNS, separator="\t", names=RATING_COLUMNS)
    return Interactions.from_frame(frame, weight="rating", time="time", users=users, items=items)


def _movies(folder: Path) -> Catalog:
    lines = require_file(folder / "u.genre").read_text("latin-1").split()
    genres = [line.partition("|")[0] for line in lines]
    columns = [*MOVIE_COLUMNS, *genres]
    frame = read_columns(folder / "u.item", columns, separator="|", names=columns).set_index("item")
    flags = frame[genres].to_numpy(dtype=bool)
    named = [", ".join(np.array(genres)[row]) for row in flags]
    ids = Ids(frame.index, name="item")
    contents = {
        "title": frame["title"],
        "genres": pd.Series(named, index=frame.index, dtype=object),
        "text": _texts(folder / "items_text.csv"),
        "image": _posters(folder / "posters"),
    }
    return Catalog.from_columns(ids, contents)


def _texts(path: Path) -> pd.Series:
    if not path.is_file():
        return pd.Series(dtype=object)
    frame = read_columns(path, ["movie_id", *TEXT_COLUMNS]).set_index("movie_id")
    return join_texts(frame, TEXT_COLUMNS)


def _posters(folder: Path) -> pd.Series:
    paths = [path for path in folder.glob("*.jpg") if path.stem.isdigit()] if folder.is_dir() else []
    return pd.Series(paths, index=[int(path.stem) for path in paths], dtype=object)


def _people(folder: Path) -> Catalog:
    frame = read_columns(folder / "u.user", PERSON_COLUMNS, separator="|", names=PERSON_COLUMNS).set_index("user")
    return Catalog.from_columns(Ids(frame.index, name="user"), {str(key): frame[key] for key in frame.columns})
