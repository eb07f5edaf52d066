"""What a parser finds in the files of a public data set, before ratings are cut off, k-cored and split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from graphrec.data.dataset import Vectors


@dataclass(frozen=True, eq=False)
class RawData:
    """Everything a data set's own files say, in graphrec's words; nothing is dropped yet.

    Args:
        interactions: One row per event: ``user``, ``item``, and where there are some ``rating``, ``time`` (seconds
            since 1970, or dates) and ``split`` (0 train, 1 valid, 2 test).
        items: One row per item, indexed by item id: ``title``, ``text``, ``image`` (a path or a URL), attributes. Items
            without an interaction are kept.
        people: One row per user, indexed by user id.
        vectors: Feature vectors of items that come with the data, by modality.
        skipped: Lines that could not be read, by reason; reported, never dropped in silence.
    """

    interactions: pd.DataFrame = field(repr=False)
    items: pd.DataFrame = field(repr=False)
    people: pd.DataFrame = field(repr=False, default_factory=pd.DataFrame)
    vectors: Mapping[str, Vectors] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
