"""MicroLens: who commented on which short video, with titles, covers, sounds and videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from graphrec.config import Config
from graphrec.data.formats.collect import Collector, as_seconds, as_text
from graphrec.data.formats.lines import CSV, TSV, Batch, find_file, find_optional, first_known, header, read_batches
from graphrec.data.formats.media import IMAGES, SOUNDS, VIDEOS, files_by_id
from graphrec.data.raw import RawData

USERS, ITEMS, TIMES = (
    ("user", "userID", "user_id"),
    ("item", "videoID", "item_id", "video_id", "video"),
    ("timestamp", "time"),
)
MEDIA = {"image": IMAGES, "audio": SOUNDS, "video": VIDEOS}


class MicroLensOptions(Config):
    """Files of a part of MicroLens.

    Args:
        pairs: ``user,item,timestamp`` with a header, or, ending in ``.tsv``, a line per user: the user, a tab, and
            the videos in order, separated by spaces.
        titles: A line ``video,title`` each, with or without a header; need not be there.
        covers: The folder of covers, named by video; need not be there.
        audios: The folder of sounds; need not be there.
        videos: The folder of videos; need not be there.
    """

    kind: Literal["microlens"] = "microlens"
    pairs: str = "MicroLens-50k_pairs.csv"
    titles: str | None = "MicroLens-50k_titles.csv"
    covers: str = "MicroLens-50k_covers"
    audios: str = "MicroLens-50k_audios"
    videos: str = "MicroLens-50k_videos"


def read_microlens(folder: Path, options: MicroLensOptions) -> RawData:
    """Reads a part of MicroLens (https://github.com/westlake-repl/MicroLens, arXiv:2309.15379).

    The comments themselves, and the counts of likes and views, are not read: they tell of the interactions that a
    test set holds back.

    Args:
        folder: The folder of the raw files.
        options: Their names.

    Returns:
        Events with ``time`` in seconds (in the file milliseconds), or the place in the user's line where there are no
        times; items with ``title`` and ``text``, ``image``, ``audio`` and ``video`` where they are there.

    Raises:
        FileNotFoundError: If there is no file of pairs.
        ValueError: If a file is broken or holds no pair.
    """
    collector = Collector(has_time=True)
    path = find_file(folder, options.pairs)
    (_read_lists if path.suffix == ".tsv" else _read_pairs)(path, collector)
    titles = find_optional(folder, options.titles)
    if titles is not None:
        _read_titles(titles, collector)
    for name, place in (("image", options.covers), ("audio", options.audios), ("video", options.videos)):
        for item, found in files_by_id(folder / place, MEDIA[name], collector.skips).items():
            if item in collector.items:
                collector.supplement(item, **{name: str(found)})
    return collector.finish(path)


def _read_pairs(path: Path, collector: Collector) -> None:
    names = header(path)
    columns = [first_known(names, known, path) for known in (USERS, ITEMS, TIMES)]
    for batch in read_batches(path, columns, collector.skips):
        users, items, times = batch
        collector.events(path, batch.numbers, users, items, times=as_seconds(times))


def _read_lists(path: Path, collector: Collector) -> None:
    columns = ("user", "items")
    for batch in read_batches(path, columns, collector.skips, form=TSV, names=columns):
        for line, user, items in zip(batch.numbers, *batch, strict=True):
            for place, item in enumerate(items.split()):
                collector.event(path, line, user, item, time=place)


def _read_titles(path: Path, collector: Collector) -> None:
    for line, item, title in _titles(path, collector):
        text = as_text(title)
        collector.item(path, line, item, {"title": text, "text": text})


def _titles(path: Path, collector: Collector) -> Iterator[tuple[int, str, str]]:
    """Yields line, video and title; the files of 50k have a header, those of 100k need none."""
    first = header(path, CSV)
    known = [name for name in first if name in ITEMS]
    columns = (known[0], "title") if known else ("item", "title")
    batches: Iterator[Batch] = read_batches(path, columns, collector.skips, names=None if known else columns)
    for batch in batches:
        yield from zip(batch.numbers, *batch, strict=True)
