"""H&M: two years of purchases of clothes, with descriptions, pictures and customers."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from graphrec.config import Config
from graphrec.data.formats.collect import Collector, as_id, as_lines, as_number, as_text
from graphrec.data.formats.lines import find_file, find_optional, read_batches
from graphrec.data.formats.media import IMAGES, files_by_id
from graphrec.data.raw import RawData

PURCHASES = ("t_dat", "customer_id", "article_id")
ARTICLES = {  # our names of the columns that say what an article is
    "prod_name": "title",
    "product_type_name": "product_type",
    "product_group_name": "product_group",
    "graphical_appearance_name": "appearance",
    "colour_group_name": "colour",
    "department_name": "department",
    "garment_group_name": "garment_group",
    "detail_desc": "description",
}
PEOPLE = ("customer_id", "age", "club_member_status", "fashion_news_frequency", "postal_code")


class HMOptions(Config):
    """Files of H&M's competition.

    Args:
        transactions: The purchases.
        articles: What an article is; need not be there.
        customers: Who a customer is; need not be there.
        images: The folder of pictures, ``images/010/0108775015.jpg``; need not be there.
    """

    kind: Literal["hm"] = "hm"
    transactions: str = "transactions_train.csv"
    articles: str | None = "articles.csv"
    customers: str | None = "customers.csv"
    images: str = "images"


def read_hm(folder: Path, options: HMOptions) -> RawData:
    """Reads H&M Personalized Fashion Recommendations.

    The source is https://www.kaggle.com/competitions/h-and-m-personalized-fashion-recommendations.

    Args:
        folder: The folder of the raw files.
        options: Their names.

    Returns:
        Events with ``time``, the day in seconds; a line per piece, so that pairs repeat. Items are articles, whose ids
        keep their leading zero, with ``title``, kinds and colours, ``description``, ``image`` and ``text``; people
        have ``age``, ``club_member_status``, ``fashion_news_frequency`` and ``postal_code``.

    Raises:
        FileNotFoundError: If there is no file of purchases.
        ValueError: If a file is broken or holds no purchase.
    """
    collector = Collector(has_time=True)
    path = find_file(folder, options.transactions)
    for batch in read_batches(path, PURCHASES, collector.skips):
        days, users, items = batch
        times = np.array([_seconds(day) for day in days], dtype=np.float64)
        collector.events(path, batch.numbers, users, items, times=times)
    _articles(find_optional(folder, options.articles), collector)
    _customers(find_optional(folder, options.customers), collector)
    for item, picture in files_by_id(folder / options.images, IMAGES, collector.skips).items():
        if item in collector.items:
            collector.supplement(item, image=str(picture))
    return collector.finish(path)


def _articles(path: Path | None, collector: Collector) -> None:
    if path is None:
        return
    names = ("article_id", *ARTICLES)
    for batch in read_batches(path, names, collector.skips, optional=tuple(ARTICLES)):
        for line, item, *values in zip(batch.numbers, *batch, strict=True):
            content = {name: as_text(value) for name, value in zip(ARTICLES.values(), values, strict=True)}
            parts = (content["title"], content["product_type"], content["colour"], content["description"])
            collector.item(path, line, item, content | {"text": as_lines(parts)})


def _customers(path: Path | None, collector: Collector) -> None:
    if path is None:
        return
    for batch in read_batches(path, PEOPLE, collector.skips, optional=PEOPLE[1:]):
        for line, user, age, *values in zip(batch.numbers, *batch, strict=True):
            if as_id(user) not in collector.users:
                continue  # who bought nothing cannot be recommended to
            years = as_number(age)
            content = {name: as_text(value) for name, value in zip(PEOPLE[2:], values, strict=True)}
            collector.person(path, line, user, {"age": None if years != years else years} | content)


@lru_cache(maxsize=4096)
def _seconds(day: str) -> float:
    try:
        return datetime.strptime(day.strip(), "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return float("nan")
