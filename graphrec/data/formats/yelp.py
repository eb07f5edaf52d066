"""Yelp's open dataset: stars for businesses, with names, categories and places."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from graphrec.config import Config
from graphrec.data.formats.collect import Collector, as_lines, as_number, as_text
from graphrec.data.formats.lines import find_file, find_optional, read_records
from graphrec.data.formats.media import IMAGES, files_by_id
from graphrec.data.raw import RawData


class YelpOptions(Config):
    """Files of Yelp's open dataset.

    Args:
        reviews: The reviews.
        businesses: What a business is; need not be there.
        users: Since when somebody has been a user; need not be there.
        photo_list: ``photos.json`` of the second archive: which photo shows which business; need not be there.
        photos: The folder of the photos.
    """

    kind: Literal["yelp"] = "yelp"
    reviews: str = "yelp_academic_dataset_review.json"
    businesses: str | None = "yelp_academic_dataset_business.json"
    users: str | None = "yelp_academic_dataset_user.json"
    photo_list: str | None = "photos.json"
    photos: str = "photos"


def read_yelp(folder: Path, options: YelpOptions) -> RawData:
    """Reads Yelp's open dataset (https://business.yelp.com/data/resources/open-dataset/), JSON lines.

    Left out because they count or quote the interactions that a test set holds back: what reviews say, the average
    stars and the numbers of reviews of businesses and users, friends.

    Args:
        folder: The folder of the raw files.
        options: Their names.

    Returns:
        Events with ``rating`` (1 to 5 stars) and ``time``; items with ``title``, ``categories``, ``city``, ``state``,
        ``latitude``, ``longitude``, ``text`` and ``image``, a business's first photo; people with ``since``.

    Raises:
        FileNotFoundError: If there is no file of reviews.
        ValueError: If a file is broken or holds no review.
    """
    collector = Collector(has_rating=True, has_time=True)
    path = find_file(folder, options.reviews)
    for line, record in read_records(path, collector.skips):
        user, item, stars = record.get("user_id"), record.get("business_id"), record.get("stars")
        collector.event(path, line, user, item, rating=stars, time=_seconds(record.get("date")))
    businesses = find_optional(folder, options.businesses)
    for line, record in read_records(businesses, collector.skips) if businesses is not None else []:
        collector.item(businesses or path, line, record.get("business_id"), _business(record))
    _people(find_optional(folder, options.users), collector)
    _photos(folder, options, collector)
    return collector.finish(path)


def _business(record: Mapping[str, Any]) -> dict[str, Any]:
    title, categories, city = (as_text(record.get(name)) for name in ("name", "categories", "city"))
    latitude, longitude = as_number(record.get("latitude")), as_number(record.get("longitude"))
    placed = abs(latitude) <= 90 and abs(longitude) <= 180
    return {
        "title": title,
        "categories": categories,
        "city": city,
        "state": as_text(record.get("state")),
        "latitude": latitude if placed else None,
        "longitude": longitude if placed else None,
        "text": as_lines((title, categories, city)),
    }


def _people(path: Path | None, collector: Collector) -> None:
    if path is None:
        return
    for line, record in read_records(path, collector.skips):
        user = record.get("user_id")
        if not isinstance(user, str) or user in collector.users:
            collector.person(path, line, user, {"since": as_text(record.get("yelping_since"))})


def _photos(folder: Path, options: YelpOptions, collector: Collector) -> None:
    path = find_optional(folder, options.photo_list)
    if path is None:
        return
    pictures = files_by_id(folder / options.photos, IMAGES, collector.skips)
    for _, record in read_records(path, collector.skips):
        photo, item = record.get("photo_id"), record.get("business_id")
        if not isinstance(photo, str) or not isinstance(item, str) or photo not in pictures:
            continue
        if item in collector.items and "image" not in collector.content(item):
            collector.supplement(item, image=str(pictures[photo]))


def _seconds(value: object) -> float | None:
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None
