"""MIND: which news readers of Microsoft News clicked, with titles, abstracts and categories."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from graphrec.config import Config
from graphrec.data.formats.collect import TEST, TRAIN, VALID, Collector, as_id, as_lines, as_text
from graphrec.data.formats.lines import TSV, find_file, read_batches
from graphrec.data.raw import RawData

BEHAVIOURS = ("impression", "user", "time", "history", "impressions")
NEWS = ("item", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities")
PARTS = {"train": TRAIN, "valid": VALID, "test": TEST}
TIME_FORM = "%m/%d/%Y %I:%M:%S %p"


class MindOptions(Config):
    """Folders of MIND, each with a ``behaviors.tsv`` and a ``news.tsv``.

    Args:
        parts: The folder of every part; the clicks of the test part of the large set are secret, so that its ``dev``
            is the test set here.
        history: Whether clicks before the first impression count (``before``) or not (``none``).
        split: Whether events carry the part that they come from (``given``) or not (``none``).
    """

    kind: Literal["mind"] = "mind"
    parts: dict[Literal["train", "valid", "test"], str] = Field(
        {"train": "MINDsmall_train", "test": "MINDsmall_dev"}, min_length=1
    )
    history: Literal["before", "none"] = "before"
    split: Literal["given", "none"] = "given"


def read_mind(folder: Path, options: MindOptions) -> RawData:
    """Reads MIND (https://msnews.github.io/, doi:10.18653/v1/2020.acl-main.331).

    Only clicks (``N123-1``) are events. A user's history was clicked before the first impression, in its order but
    without times: its clicks are dated one second apart before that impression, and are training events. A click that
    both a history and an impression have stands twice; one of a later part on news that the user had clicked in an
    earlier one is left out and counted.

    Args:
        folder: The folder of the raw files.
        options: The folders of the parts.

    Returns:
        Events with ``time`` in seconds and ``split``; items with ``title``, ``category``, ``subcategory``,
        ``abstract`` and ``text``, which joins title and abstract.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is broken or holds no click.
    """
    collector = Collector(has_time=True, has_split=options.split == "given")
    behaviours = {part: find_file(folder, f"{place}/behaviors.tsv") for part, place in options.parts.items()}
    reader = _Reader(collector)
    for part, path in behaviours.items():
        reader.read(path, PARTS[part])
    if options.history == "before":
        reader.add_histories()
    if options.split == "given":
        collector.drop_later(folder / "behaviors.tsv")
    for place in options.parts.values():
        _read_news(find_file(folder, f"{place}/news.tsv"), collector)
    return collector.finish(next(iter(behaviours.values()), folder))


class _Reader:
    """Reads clicks, and remembers the history of every user as it was at the first impression."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._news: dict[str, int] = {}
        self._histories: dict[str, tuple[float, Path, int, array[int]]] = {}

    def read(self, path: Path, part: int) -> None:
        columns = BEHAVIOURS[1:]
        for batch in read_batches(path, columns, self._collector.skips, form=TSV, names=BEHAVIOURS):
            for line, user, when, history, shown in zip(batch.numbers, *batch, strict=True):
                time = _seconds(when)
                self._remember(path, line, user, time, history)
                for item in [entry[:-2] for entry in shown.split() if entry.endswith("-1")]:
                    self._collector.event(path, line, user, item, time=time, split=part)

    def add_histories(self) -> None:
        news = list(self._news)
        for user, (time, path, line, history) in self._histories.items():
            for place, code in enumerate(history):
                self._collector.event(path, line, user, news[code], time=time - len(history) + place)

    def _remember(self, path: Path, line: int, user: str, time: float | None, history: str) -> None:
        if time is None or not as_id(user) or (user in self._histories and self._histories[user][0] <= time):
            return
        codes = array("i", [self._news.setdefault(item, len(self._news)) for item in history.split()])
        self._histories[user] = (time, path, line, codes)


@lru_cache(maxsize=1 << 14)
def _seconds(text: str) -> float | None:
    try:
        return datetime.strptime(text.strip(), TIME_FORM).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _read_news(path: Path, collector: Collector) -> None:
    columns = NEWS[:5]
    for batch in read_batches(path, columns, collector.skips, form=TSV, names=NEWS):
        for line, item, category, subcategory, title, abstract in zip(batch.numbers, *batch, strict=True):
            if not collector.content(item):  # most news of one part are in the other one too
                content = {"title": title, "category": category, "subcategory": subcategory, "abstract": abstract}
                texts = {name: as_text(value) for name, value in content.items()}
                collector.item(path, line, item, texts | {"text": as_lines((title, abstract))})
