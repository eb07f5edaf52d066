"""Amazon reviews of 2014, 2018 and 2023, one category at a time: ratings, product texts and picture addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from graphrec.config import Config
from graphrec.data.dataset import Vectors
from graphrec.data.formats.collect import Collector, as_lines, as_names, as_number, as_seconds, as_text
from graphrec.data.formats.lines import find_file, find_optional, header, read_batches, read_records
from graphrec.data.formats.media import IMAGES, files_by_id
from graphrec.data.interactions import Ids
from graphrec.data.raw import RawData

PICTURES_2023 = ("hi_res", "large", "thumb")
PICTURES_2018 = ("imageURLHighRes", "imageURL")
RATINGS_2018 = ("item", "user", "rating", "timestamp")
COLUMNS_2023 = ("user_id", "parent_asin", "rating", "timestamp")


FEATURES_2014 = np.dtype([("asin", "S10"), ("vector", "<f4", 4096)])


class CategoryOptions(Config):
    """Files of one category, whatever the year.

    Args:
        images: A folder of pictures named by product, used instead of addresses where there is one.
        catalogue: The products that are kept: those with a review (``met``) or ``all``.
    """

    images: str = "images"
    catalogue: Literal["met", "all"] = "met"


class Amazon2014Options(CategoryOptions):
    """Files of one category of 2014.

    Args:
        reviews: JSON lines, such as ``reviews_Baby_5.json.gz``.
        meta: Product metadata, lines of Python dictionaries, such as ``meta_Baby.json.gz``; need not be there.
        features: The published vectors of the products' pictures, such as ``image_features_Baby.b``; need not be there.
    """

    kind: Literal["amazon-2014"] = "amazon-2014"
    reviews: str = "reviews_Baby_5.json.gz"
    meta: str | None = "meta_Baby.json.gz"
    features: str | None = "image_features_Baby.b"


class Amazon2018Options(CategoryOptions):
    """Files of one category of 2018.

    Args:
        reviews: JSON lines such as ``All_Beauty_5.json.gz``, or the ratings alone, ``All_Beauty.csv``.
        meta: Product metadata, JSON lines; need not be there.
    """

    kind: Literal["amazon-2018"] = "amazon-2018"
    reviews: str = "All_Beauty_5.json.gz"
    meta: str | None = "meta_All_Beauty.json.gz"


class Amazon2023Options(CategoryOptions):
    """Files of one category of 2023.

    Args:
        reviews: JSON lines such as ``All_Beauty.jsonl.gz``, or a table of the benchmark such as ``All_Beauty.csv.gz``.
        meta: Product metadata, JSON lines; need not be there.
    """

    kind: Literal["amazon-2023"] = "amazon-2023"
    reviews: str = "All_Beauty.jsonl.gz"
    meta: str | None = "meta_All_Beauty.jsonl.gz"


AmazonOptions = Amazon2014Options | Amazon2018Options | Amazon2023Options
Content = Mapping[str, Any]


def read_amazon_2014(folder: Path, options: Amazon2014Options) -> RawData:
    """Reads a category of the Amazon review data of 2014 (https://jmcauley.ucsd.edu/data/amazon/, arXiv:1602.01585).

    A line of reviews has ``reviewerID``, ``asin``, ``overall`` and ``unixReviewTime``. What reviews say is not read:
    as a text of users or items it would tell of the interactions that a test set holds back.

    Args:
        folder: The folder of the raw files.
        options: Their names.

    Returns:
        Events with ``rating`` (1 to 5) and ``time``; items with ``title``, ``brand``, ``categories``, ``description``,
        ``price``, ``image`` (an address, or a path where the folder of pictures has one) and ``text``, which joins the
        title, brand, categories and description; vectors of ``image`` where the file of features is there.

    Raises:
        FileNotFoundError: If there is no file of reviews.
        ValueError: If a file is broken or holds no review.
    """
    collector = Collector(has_rating=True, has_time=True)
    path = find_file(folder, options.reviews)
    for line, record in read_records(path, collector.skips):
        _review(collector, path, line, record, ("reviewerID", "asin", "overall", "unixReviewTime"))
    _meta(folder, options, collector, "asin", _product_2014)
    raw, features = collector.finish(path), find_optional(folder, options.features)
    return raw if features is None else replace(raw, vectors={"image": read_image_features(features, raw.items.index)})


def read_image_features(path: Path, items: pd.Index) -> Vectors:
    """Reads the published vectors of the pictures of 2014: 4,096 numbers of a CNN each (arXiv:1506.04757).

    The file has no header: ten bytes of ``asin`` and 4,096 little-endian 32-bit floats, product after product. It holds
    far more products than a 5-core, so it is mapped into memory and only the vectors of the items are copied.

    Args:
        path: The file, such as ``image_features_Baby.b``, unpacked.
        items: The ids of the items.

    Raises:
        ValueError: If the file is cut off or knows none of the items.
    """
    size = path.stat().st_size
    if not size or size % FEATURES_2014.itemsize:
        raise ValueError(
            f"expected records of {FEATURES_2014.itemsize} bytes (ten of the product, 4,096 floats) in {path}, got "
            f"{size} bytes; download it again"
        )
    records = np.memmap(path, FEATURES_2014, "r")
    products = pd.Index(records["asin"].astype("U10"))
    first = np.flatnonzero(~products.duplicated())
    found = products[first].get_indexer(items.astype(str))
    known = items[found >= 0]
    if not len(known):
        raise ValueError(f"expected vectors of the {len(items)} items in {path}, got none; is it of this category?")
    return Vectors(Ids(known, name="item"), np.array(records["vector"][first[found[found >= 0]]]))


def read_amazon_2018(folder: Path, options: Amazon2018Options) -> RawData:
    """Reads a category of Amazon reviews of 2018 (https://nijianmo.github.io/amazon/, doi:10.18653/v1/D19-1018).

    The ratings alone are a table without header: item, user, rating, time. Returns and raises as
    ``read_amazon_2014``; the picture is the first of high resolution.
    """
    collector = Collector(has_rating=True, has_time=True)
    path = find_file(folder, options.reviews)
    if options.reviews.removesuffix(".gz").endswith(".csv"):
        for batch in read_batches(path, RATINGS_2018, collector.skips, names=RATINGS_2018):
            item, user, rating, time = batch
            collector.events(path, batch.numbers, user, item, ratings=rating, times=time)
    else:
        for line, record in read_records(path, collector.skips):
            _review(collector, path, line, record, ("reviewerID", "asin", "overall", "unixReviewTime"))
    _meta(folder, options, collector, "asin", _product_2018)
    return collector.finish(path)


def read_amazon_2023(folder: Path, options: Amazon2023Options) -> RawData:
    """Reads a category of Amazon Reviews 2023 (https://amazon-reviews-2023.github.io/, arXiv:2403.03952).

    Items are ``parent_asin``: colours and sizes of one product together. Times are written in milliseconds and given
    in seconds. Tables of the benchmark have ``user_id``, ``parent_asin``, ``rating``, ``timestamp`` and perhaps
    ``history``, which is not needed. Returns and raises as ``read_amazon_2014``; there is ``store`` for ``brand``, and
    the average rating is left out because it counts the ratings of a test set.
    """
    collector = Collector(has_rating=True, has_time=True)
    path = find_file(folder, options.reviews)
    if options.reviews.removesuffix(".gz").endswith(".csv"):
        names = None if COLUMNS_2023[0] in header(path) else COLUMNS_2023
        for batch in read_batches(path, COLUMNS_2023, collector.skips, names=names):
            user, item, rating, time = batch
            collector.events(path, batch.numbers, user, item, ratings=rating, times=as_seconds(time))
    else:
        for line, record in read_records(path, collector.skips):
            _review(collector, path, line, record, COLUMNS_2023, unit=1000)
    _meta(folder, options, collector, "parent_asin", _product_2023)
    return collector.finish(path)


def _review(
    collector: Collector, path: Path, line: int, record: Content, fields: tuple[str, ...], *, unit: int = 1
) -> None:
    user, item, rating, time = (record.get(field) for field in fields)
    collector.event(path, line, user, item, rating=rating, time=as_number(time) / unit)


def _meta(
    folder: Path,
    options: AmazonOptions,
    collector: Collector,
    key: str,
    parse: Callable[[Content], dict[str, Any]],
) -> None:
    path = find_optional(folder, options.meta)
    pictures = files_by_id(folder / options.images, IMAGES, collector.skips)
    if path is not None:
        for line, record in _products(path, options, collector, key):
            collector.item(path, line, record.get(key), parse(record))
    for item in pictures.keys() & collector.items.keys():
        collector.supplement(item, image=str(pictures[item]))


def _products(path: Path, options: AmazonOptions, collector: Collector, key: str) -> Iterator[tuple[int, Content]]:
    """Yields the products that are kept; most lines of metadata are about products that nobody reviewed."""
    for line, record in read_records(path, collector.skips):
        item = record.get(key)
        if options.catalogue == "all" or not isinstance(item, str) or item in collector.items:
            yield line, record


def _product_2014(record: Content) -> dict[str, Any]:
    categories = _names(record.get("categories"))
    return _product(record, brand=record.get("brand"), categories=categories, image=record.get("imUrl"))


def _product_2018(record: Content) -> dict[str, Any]:
    image = next((found for name in PICTURES_2018 if (found := _first(record.get(name)))), None)
    return _product(record, brand=record.get("brand"), categories=_names(record.get("category")), image=image)


def _product_2023(record: Content) -> dict[str, Any]:
    names = [record.get("main_category"), *_flat(record.get("categories"))]
    about = [*_flat(record.get("features")), *_flat(record.get("description"))]
    product = _product({**record, "description": about}, record.get("store"), as_names(names), _picture_2023(record))
    product["store"] = product.pop("brand")
    return product


def _product(record: Content, brand: object, categories: str | None, image: object) -> dict[str, Any]:
    title, brand, description = as_text(record.get("title")), as_text(brand), as_lines(_flat(record.get("description")))
    return {
        "title": title,
        "brand": brand,
        "categories": categories,
        "description": description,
        "price": _price(record.get("price")),
        "image": image if isinstance(image, str) and image.startswith(("http://", "https://")) else None,
        "text": as_lines((title, brand, categories, description)),
    }


def _picture_2023(record: Content) -> object:
    pictures = record.get("images")
    if isinstance(pictures, Mapping):  # the same in columns, as tables of the Hugging Face hub have it
        return next((found for size in PICTURES_2023 if (found := _first(pictures.get(size)))), None)
    shown = [picture for picture in _flat(pictures) if isinstance(picture, Mapping)]
    first = sorted(shown, key=lambda picture: picture.get("variant") != "MAIN")[:1]
    return next((picture[size] for picture in first for size in PICTURES_2023 if picture.get(size)), None)


def _price(value: object) -> float | None:
    number = as_number(value.replace("$", "").replace(",", "") if isinstance(value, str) else value)
    return None if number != number else number


def _names(values: object) -> str | None:
    return as_names(_flat(values))


def _flat(values: object) -> list[Any]:
    if not isinstance(values, list | tuple):
        return [] if values is None else [values]
    return [entry for value in values for entry in (value if isinstance(value, list | tuple) else [value])]


def _first(values: object) -> object:
    return next(iter(_flat(values)), None)
