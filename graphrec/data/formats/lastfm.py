"""Last.fm 2K of HetRec 2011: how often listeners heard which artist, with names and tags."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from graphrec.config import Config
from graphrec.data.formats.collect import Collector, as_lines, as_names, as_text
from graphrec.data.formats.lines import Form, find_file, find_optional, read_batches
from graphrec.data.raw import RawData

TABS = Form("\t", quoted=False, encodings=("utf-8", "latin-1"))  # artists.dat is UTF-8, tags.dat is Latin-1


class LastFmOptions(Config):
    """Files of Last.fm 2K.

    Args:
        tags: How many of an artist's most frequent tags become text; 0 for none.
    """

    kind: Literal["lastfm"] = "lastfm"
    tags: int = 10


def read_lastfm(folder: Path, options: LastFmOptions) -> RawData:
    """Reads Last.fm 2K (https://grouplens.org/datasets/hetrec-2011/, doi:10.1145/2043932.2044016).

    Args:
        folder: The folder of the raw files.
        options: The number of tags.

    Returns:
        Events with ``rating``, the number of times a listener heard an artist, and no time; items with ``title`` (the
        artist's name), ``tags`` and ``text``, which joins the two.

    Raises:
        FileNotFoundError: If ``user_artists.dat`` or ``artists.dat`` is missing.
        ValueError: If a file is broken or holds no event.
    """
    collector = Collector(has_rating=True)
    path, artists = find_file(folder, "user_artists.dat"), find_file(folder, "artists.dat")
    for batch in read_batches(path, ("userID", "artistID", "weight"), collector.skips, form=TABS):
        users, items, counts = batch
        collector.events(path, batch.numbers, users, items, ratings=counts)
    tags = _tags(folder, options.tags, collector) if options.tags else {}
    for batch in read_batches(artists, ("id", "name"), collector.skips, form=TABS):
        for line, item, name in zip(batch.numbers, *batch, strict=True):
            content = {"title": as_text(name), "tags": tags.get(item), "text": as_lines((name, tags.get(item)))}
            collector.item(artists, line, item, content)
    return collector.finish(path)


def _tags(folder: Path, most: int, collector: Collector) -> dict[str, str | None]:
    """Returns the most frequent tags of every artist, the earlier one first of two as frequent."""
    names, given = find_optional(folder, "tags.dat"), find_optional(folder, "user_taggedartists.dat")
    if names is None or given is None:
        return {}
    values: dict[str, str] = {}
    for batch in read_batches(names, ("tagID", "tagValue"), collector.skips, form=TABS):
        values.update(zip(*batch, strict=True))
    counts: dict[str, dict[str, int]] = {}
    for batch in read_batches(given, ("artistID", "tagID"), collector.skips, form=TABS):
        for item, tag in zip(*batch, strict=True):
            found = counts.setdefault(item, {})
            found[tag] = found.get(tag, 0) + 1
    ranked = {item: sorted(found.items(), key=lambda pair: -pair[1])[:most] for item, found in counts.items()}
    return {item: as_names(values.get(tag) for tag, _ in found) for item, found in ranked.items()}
