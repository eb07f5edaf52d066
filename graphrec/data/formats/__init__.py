"""Parsers of public data sets in the formats that their sources publish, by kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from graphrec.data.formats.amazon import (
    Amazon2014Options,
    Amazon2018Options,
    Amazon2023Options,
    read_amazon_2014,
    read_amazon_2018,
    read_amazon_2023,
)
from graphrec.data.formats.custom import CustomOptions, read_custom
from graphrec.data.formats.hm import HMOptions, read_hm
from graphrec.data.formats.inter import InterOptions, read_inter
from graphrec.data.formats.lastfm import LastFmOptions, read_lastfm
from graphrec.data.formats.lists import ListsOptions, read_lightgcn_raw
from graphrec.data.formats.microlens import MicroLensOptions, read_microlens
from graphrec.data.formats.mind import MindOptions, read_mind
from graphrec.data.formats.mmssl import MMSSLOptions, read_mmssl
from graphrec.data.formats.movielens import MovieLensRawOptions, read_movielens
from graphrec.data.formats.yelp import YelpOptions, read_yelp
from graphrec.data.raw import RawData

FORMATS: dict[str, Callable[[Any, Any], RawData]] = {
    "amazon-2014": read_amazon_2014,
    "amazon-2018": read_amazon_2018,
    "amazon-2023": read_amazon_2023,
    "custom": read_custom,
    "hm": read_hm,
    "inter": read_inter,
    "lastfm": read_lastfm,
    "lightgcn": read_lightgcn_raw,
    "microlens": read_microlens,
    "mind": read_mind,
    "mmssl": read_mmssl,
    "movielens": read_movielens,
    "yelp": read_yelp,
}
RawOptions = Annotated[
    Amazon2014Options
    | Amazon2018Options
    | Amazon2023Options
    | CustomOptions
    | HMOptions
    | InterOptions
    | LastFmOptions
    | ListsOptions
    | MicroLensOptions
    | MindOptions
    | MMSSLOptions
    | MovieLensRawOptions
    | YelpOptions,
    Field(discriminator="kind"),
]

__all__ = [
    "FORMATS",
    "Amazon2014Options",
    "Amazon2018Options",
    "Amazon2023Options",
    "CustomOptions",
    "HMOptions",
    "InterOptions",
    "LastFmOptions",
    "ListsOptions",
    "MMSSLOptions",
    "MicroLensOptions",
    "MindOptions",
    "MovieLensRawOptions",
    "RawOptions",
    "YelpOptions",
    "read_amazon_2014",
    "read_amazon_2018",
    "read_amazon_2023",
    "read_custom",
    "read_hm",
    "read_inter",
    "read_lastfm",
    "read_lightgcn_raw",
    "read_microlens",
    "read_mind",
    "read_mmssl",
    "read_movielens",
    "read_yelp",
]
