"""MovieLens in its three forms: 100K, 1M, and the CSV files of 25M and latest-small."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from graphrec.config import Config
from graphrec.data.formats.collect import Collector, as_lines, as_names, as_number, as_text
from graphrec.data.formats.lines import TSV, Form, find_file, find_optional, read_batches, read_lines
from graphrec.data.formats.media import IMAGES, files_by_id
from graphrec.data.movielens import MOVIE_COLUMNS, PERSON_COLUMNS, RATING_COLUMNS, TEXT_COLUMNS
from graphrec.data.raw import RawData

OLD = ("utf-8", "latin-1")  # the older files are Latin-1; copies that were converted are UTF-8
BARS = Form("|", quoted=False, encodings=("latin-1",))
COLONS = Form("::", quoted=False, encodings=OLD)
TABS = Form("\t", quoted=False, encodings=OLD)
NO_GENRE = "(no genres listed)"
OCCUPATIONS = (  # by their number in users.dat, from the README of ml-1m
    "other or not specified",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)


class MovieLensRawOptions(Config):
    """A release of MovieLens.

    Args:
        release: ``100k`` (``u.data``), ``1m`` (``ratings.dat``) or ``csv`` (``ratings.csv``: 25M, latest-small).
        tags: How many of a movie's most frequent tags become text, where there are tags; 0 for none.
        posters: A folder of pictures named by movie; need not be there.
    """

    kind: Literal["movielens"] = "movielens"
    release: Literal["100k", "1m", "csv"] = "csv"
    tags: int = 10
    posters: str = "posters"


def read_movielens(folder: Path, options: MovieLensRawOptions) -> RawData:
    """Reads a release of MovieLens (https://grouplens.org/datasets/movielens/, doi:10.1145/2827872).

    Args:
        folder: The folder of the raw files.
        options: The release.

    Returns:
        Events with ``rating`` and ``time``; items with ``title``, ``genres``, ``text`` (title, genres, and the plot or
        the tags where there are any), ``image`` where there is a poster, ``imdb`` and ``tmdb`` where there are links;
        people with ``age``, ``gender``, ``occupation`` and ``zip`` where they are given. The ages of 1M are the lower
        end of a group, 1 for all below 18.

    Raises:
        FileNotFoundError: If there is no file of ratings or movies.
        ValueError: If a file is broken or holds no rating.
    """
    collector = Collector(has_rating=True, has_time=True)
    path = {"100k": _read_100k, "1m": _read_1m, "csv": _read_csv}[options.release](folder, options, collector)
    posters = files_by_id(folder / options.posters, IMAGES, collector.skips)
    for movie in posters.keys() & collector.items.keys():
        collector.supplement(movie, image=str(posters[movie]))
    return collector.finish(path)


def _read_100k(folder: Path, options: MovieLensRawOptions, collector: Collector) -> Path:
    path = find_file(folder, "u.data")
    _ratings(path, TSV, RATING_COLUMNS, RATING_COLUMNS, collector)
    genres = [line.partition("|")[0] for _, line in read_lines(find_file(folder, "u.genre"), collector.skips)]
    genres = [genre for genre in genres if genre.strip()]
    items, plots = find_file(folder, "u.item"), _plots(folder, collector)
    names = [*MOVIE_COLUMNS, *genres]
    for batch in read_batches(items, names, collector.skips, form=BARS, names=names):
        movies, titles, *_ = batch
        flags = list(zip(*batch.columns[len(MOVIE_COLUMNS) :], strict=True))
        for row, line in enumerate(batch.numbers):
            named = [genre for genre, flag in zip(genres, flags[row], strict=True) if flag == "1"] if flags else []
            collector.item(items, line, movies[row], _movie(titles[row], named, plots.get(movies[row])))
    people = find_file(folder, "u.user")
    for batch in read_batches(people, PERSON_COLUMNS, collector.skips, form=BARS, names=PERSON_COLUMNS):
        for line, user, age, gender, occupation, code in zip(batch.numbers, *batch, strict=True):
            collector.person(people, line, user, _person(age, gender, occupation, code))
    return path


def _read_1m(folder: Path, options: MovieLensRawOptions, collector: Collector) -> Path:
    path, items, people = (find_file(folder, name) for name in ("ratings.dat", "movies.dat", "users.dat"))
    _ratings(path, COLONS, RATING_COLUMNS, RATING_COLUMNS, collector)
    names: tuple[str, ...] = ("item", "title", "genres")
    for batch in read_batches(items, names, collector.skips, form=COLONS, names=names):
        for line, movie, title, genres in zip(batch.numbers, *batch, strict=True):
            collector.item(items, line, movie, _movie(title, genres.split("|")))
    names = ("user", "gender", "age", "occupation", "zip")
    for batch in read_batches(people, names, collector.skips, form=COLONS, names=names):
        for line, user, gender, age, work, code in zip(batch.numbers, *batch, strict=True):
            known = work.isdecimal() and int(work) < len(OCCUPATIONS)
            occupation = OCCUPATIONS[int(work)] if known else work
            collector.person(people, line, user, _person(age, gender, occupation, code))
    return path


def _read_csv(folder: Path, options: MovieLensRawOptions, collector: Collector) -> Path:
    path, items = find_file(folder, "ratings.csv"), find_file(folder, "movies.csv")
    _ratings(path, Form(), ("userId", "movieId", "rating", "timestamp"), None, collector)
    tags = _tags(find_optional(folder, "tags.csv") if options.tags else None, options.tags, collector)
    for batch in read_batches(items, ("movieId", "title", "genres"), collector.skips):
        for line, movie, title, genres in zip(batch.numbers, *batch, strict=True):
            collector.item(items, line, movie, _movie(title, genres.split("|"), tags.get(movie)))
    links = find_optional(folder, "links.csv")
    if links is not None:
        for batch in read_batches(links, ("movieId", "imdbId", "tmdbId"), collector.skips):
            for movie, imdb, tmdb in zip(*batch, strict=True):
                if collector.content(movie):
                    collector.supplement(movie, imdb=imdb or None, tmdb=tmdb or None)
    return path


def _ratings(
    path: Path, form: Form, columns: tuple[str, ...], names: tuple[str, ...] | None, collector: Collector
) -> None:
    for batch in read_batches(path, columns, collector.skips, form=form, names=names):
        user, item, rating, time = batch
        collector.events(path, batch.numbers, user, item, ratings=rating, times=time)


def _movie(title: str, genres: list[str], more: str | None = None) -> dict[str, str | None]:
    named = as_names(genre for genre in genres if genre != NO_GENRE)
    return {"title": as_text(title), "genres": named, "text": as_lines((title, named, more))}


def _person(age: str, gender: str, occupation: str, code: str) -> dict[str, str | float | None]:
    years = as_number(age)
    return {
        "age": None if years != years else years,
        "gender": as_text(gender),
        "occupation": as_text(occupation),
        "zip": as_text(code),
    }


def _plots(folder: Path, collector: Collector) -> dict[str, str]:
    """Returns the plots and taglines that were added to MovieLens 100K by others, by movie."""
    path = find_optional(folder, "items_text.csv")
    plots: dict[str, str] = {}
    for batch in read_batches(path, ("movie_id", *TEXT_COLUMNS[1:]), collector.skips) if path is not None else []:
        plots |= {movie: as_lines(texts) or "" for movie, *texts in zip(*batch, strict=True)}
    return plots


def _tags(path: Path | None, most: int, collector: Collector) -> dict[str, str]:
    counts: dict[str, dict[str, int]] = {}
    for batch in _tag_batches(path, collector):
        for movie, tag in batch:
            found, name = counts.setdefault(movie, {}), tag.strip().lower()
            found[name] = found.get(name, 0) + 1
    ranked = {movie: sorted(found, key=lambda tag, found=found: -found[tag]) for movie, found in counts.items()}  # type: ignore[misc]
    return {movie: as_names(names[:most]) or "" for movie, names in ranked.items()}


def _tag_batches(path: Path | None, collector: Collector) -> Iterator[Iterator[tuple[str, str]]]:
    if path is not None:
        for batch in read_batches(path, ("movieId", "tag"), collector.skips):
            yield zip(*batch, strict=True)
