import gzip
import json
import logging

import numpy as np
import pytest

from graphrec.data.formats import (
    Amazon2014Options,
    Amazon2018Options,
    Amazon2023Options,
    read_amazon_2014,
    read_amazon_2018,
    read_amazon_2023,
)

REVIEW = {
    "reviewerID": "A1HK2FQW6KXQB2",
    "asin": "0615447279",
    "reviewerName": 'Amanda Johnsen "Amanda E. Johnsen"',
    "helpful": [0, 0],
    "reviewText": "Perfect for new parents.",
    "overall": 5.0,
    "summary": "Awesine",
    "unixReviewTime": 1373932800,
    "reviewTime": "07 16, 2013",
}


def lines(path, *records):
    text = "".join(record if isinstance(record, str) else json.dumps(record) + "\n" for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def test_the_2014_form_is_json_lines_and_python_dictionaries(tmp_path, caplog):
    other = REVIEW | {"reviewerID": "A2", "overall": 2.0, "unixReviewTime": 1400000000}
    bad = [REVIEW | {"overall": None}, {"asin": "0615447279"}, "cut off {\n"]
    lines(tmp_path / "reviews_Baby_5.json.gz", REVIEW, *bad, other, REVIEW | {"asin": "B000000001"})
    meta = {
        "asin": "0615447279",
        "title": "Baby&#39;s Day &amp; Night",
        "description": 'It\'s "new"',
        "brand": "Day",
        "price": 16.95,
        "imUrl": "http://ecx.images-amazon.com/images/I/51d.jpg",
        "related": {"also_bought": ["B001"]},
        "salesRank": {"Baby": 7},
        "categories": [["Baby", "Gear"], ["Baby", "Gifts & more"]],
    }
    lines(tmp_path / "meta_Baby.json.gz", f"{meta!r}\n", f"{meta | {'asin': 'B0NOBODY'}!r}\n", "{'asin': open('x')}\n")
    with caplog.at_level(logging.WARNING):
        raw = read_amazon_2014(tmp_path, Amazon2014Options())
    assert raw.interactions.to_dict("list") == {
        "user": ["A1HK2FQW6KXQB2", "A2", "A1HK2FQW6KXQB2"],
        "item": ["0615447279", "0615447279", "B000000001"],
        "rating": [5, 2, 5],
        "time": [1373932800, 1400000000, 1373932800],
    }
    assert raw.items.index.tolist() == ["0615447279", "B000000001"]
    assert raw.items.loc["0615447279"].to_dict() == {
        "title": "Baby's Day & Night",
        "brand": "Day",
        "categories": "Baby, Gear, Gifts & more",
        "description": 'It\'s "new"',
        "price": 16.95,
        "image": "http://ecx.images-amazon.com/images/I/51d.jpg",
        "text": "Baby's Day & Night\nDay\nBaby, Gear, Gifts & more\nIt's \"new\"",
    }
    assert raw.items.loc["B000000001"].isna().all()
    assert raw.skipped == {
        "reviews_Baby_5.json.gz: no rating": 1,
        "reviews_Baby_5.json.gz: no user": 1,
        "reviews_Baby_5.json.gz: no JSON object": 1,
        "meta_Baby.json.gz: no JSON object": 1,
    }
    assert "no JSON object: skipped 1, the first at line 4" in caplog.text


def test_products_that_nobody_reviewed_are_kept_on_request(tmp_path):
    lines(tmp_path / "reviews_Baby_5.json", REVIEW)
    lines(tmp_path / "meta_Baby.json", {"asin": "B0NOBODY", "title": "Real JSON, too"})
    raw = read_amazon_2014(tmp_path, Amazon2014Options(catalogue="all"))
    assert raw.items["title"].to_dict() == {"0615447279": None, "B0NOBODY": "Real JSON, too"}


def test_a_picture_in_the_folder_is_used_before_its_address(tmp_path):
    lines(tmp_path / "reviews_Baby_5.json", REVIEW)
    lines(tmp_path / "meta_Baby.json", {"asin": "0615447279", "imUrl": "http://x/y.jpg"})
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0615447279.jpg").touch()
    (tmp_path / "images" / "other.jpg").touch()
    raw = read_amazon_2014(tmp_path, Amazon2014Options())
    assert raw.items["image"].tolist() == [str(tmp_path / "images" / "0615447279.jpg")]


@pytest.mark.parametrize("address", ["javascript:alert(1)", "file:///etc/passwd", 7, None, ["x"]])
def test_only_web_addresses_are_pictures(tmp_path, address):
    lines(tmp_path / "reviews_Baby_5.json", REVIEW)
    lines(tmp_path / "meta_Baby.json", {"asin": "0615447279", "imUrl": address, "title": "t"})
    assert "image" not in read_amazon_2014(tmp_path, Amazon2014Options()).items


def test_the_2018_form_has_lists_and_prices_with_a_sign(tmp_path):
    review = {"overall": 4.0, "verified": True, "reviewerID": "A3", "asin": "B01", "unixReviewTime": 1514764800}
    lines(tmp_path / "All_Beauty_5.json.gz", review)
    meta = {
        "category": ["Beauty", "Hair"],
        "description": ["One.", "Two."],
        "title": "Loud &amp; clear",
        "brand": "Pro",
        "price": "$1,044.99",
        "asin": "B01",
        "imageURL": ["https://x/small.jpg"],
        "imageURLHighRes": ["https://x/big.jpg", "https://x/back.jpg"],
    }
    lines(tmp_path / "meta_All_Beauty.json.gz", meta, meta | {"title": "again"})
    raw = read_amazon_2018(tmp_path, Amazon2018Options())
    assert raw.items.loc["B01"].to_dict() == {
        "title": "Loud & clear",
        "brand": "Pro",
        "categories": "Beauty, Hair",
        "description": "One.\nTwo.",
        "price": 1044.99,
        "image": "https://x/big.jpg",
        "text": "Loud & clear\nPro\nBeauty, Hair\nOne.\nTwo.",
    }
    assert raw.skipped == {"meta_All_Beauty.json.gz: item again": 1}


def test_the_ratings_of_2018_alone_have_the_item_first(tmp_path):
    (tmp_path / "All_Beauty.csv").write_text("0143026860,A1V6B6TNIC10QE,1.0,1424304000\nB1,A2,x,1\nB2,A2,3.0,2\n")
    raw = read_amazon_2018(tmp_path, Amazon2018Options(reviews="All_Beauty.csv", meta=None))
    assert raw.interactions.to_numpy().tolist() == [
        ["A1V6B6TNIC10QE", "0143026860", 1, 1424304000],
        ["A2", "B2", 3, 2],
    ]
    assert raw.skipped == {"All_Beauty.csv: no rating": 1}


def meta_2023(**changes):
    images = [
        {"thumb": "https://x/t.jpg", "large": "https://x/l.jpg", "variant": "PT01", "hi_res": "https://x/h.jpg"},
        {"thumb": "https://x/t2.jpg", "large": "https://x/l2.jpg", "variant": "MAIN", "hi_res": None},
    ]
    record = {
        "main_category": "All Beauty",
        "title": "Howard",
        "average_rating": 4.8,
        "rating_number": 10,
        "features": ["Soft", "Strong"],
        "description": ["Long."],
        "price": "29.99",
        "images": images,
        "videos": [],
        "store": "Howard Products",
        "categories": ["Hair"],
        "details": {"Brand": "x"},
        "parent_asin": "B01CUPMQZE",
        "bought_together": None,
    }
    return record | changes


def test_the_2023_form_counts_in_milliseconds_and_groups_by_parent(tmp_path):
    review = {"rating": 5.0, "title": "t", "text": "x", "images": [], "asin": "B00YQ6X8EO", "parent_asin": "B01CUPMQZE"}
    review |= {"user_id": "AGKHLEW2", "timestamp": 1588687728923, "helpful_vote": 0, "verified_purchase": True}
    lines(tmp_path / "All_Beauty.jsonl.gz", review)
    lines(tmp_path / "meta_All_Beauty.jsonl.gz", meta_2023())
    raw = read_amazon_2023(tmp_path, Amazon2023Options())
    assert raw.interactions.to_numpy().tolist() == [["AGKHLEW2", "B01CUPMQZE", 5, 1588687728.923]]
    item = raw.items.loc["B01CUPMQZE"].to_dict()
    assert (item["store"], item["price"], item["image"]) == ("Howard Products", 29.99, "https://x/l2.jpg")
    assert item["text"] == "Howard\nHoward Products\nAll Beauty, Hair\nSoft\nStrong\nLong."
    assert "average_rating" not in item


def test_pictures_of_2023_may_stand_in_columns(tmp_path):
    (tmp_path / "x.csv").write_text("user_id,parent_asin,rating,timestamp\nu,B01CUPMQZE,5.0,1588687728923\n")
    images = {"hi_res": [None], "large": ["https://x/l.jpg"], "thumb": ["https://x/t.jpg"]}
    lines(tmp_path / "meta.jsonl", meta_2023(images=images))
    raw = read_amazon_2023(tmp_path, Amazon2023Options(reviews="x.csv", meta="meta.jsonl"))
    assert raw.items["image"].tolist() == ["https://x/l.jpg"]


@pytest.mark.parametrize("head", ["user_id,parent_asin,rating,timestamp,history\n", ""])
def test_benchmark_tables_of_2023_may_have_a_history_or_no_header(tmp_path, head):
    tail = ",B00 B01" if head else ""
    (tmp_path / "Books.csv").write_text(f"{head}AF1,0913212148,4.0,1523092443644{tail}\n")
    raw = read_amazon_2023(tmp_path, Amazon2023Options(reviews="Books.csv.gz", meta=None))
    assert raw.interactions.to_numpy().tolist() == [["AF1", "0913212148", 4, 1523092443.644]]


def test_a_category_without_reviews_is_missing(tmp_path):
    lines(tmp_path / "reviews_Beauty_5.json.gz", REVIEW)
    with pytest.raises(FileNotFoundError, match=r"reviews_Baby_5\.json\.gz.*found reviews_Beauty_5\.json\.gz"):
        read_amazon_2014(tmp_path, Amazon2014Options())


def features(path, *names, dim=4096):
    vectors = np.random.default_rng(0).normal(size=(len(names), dim)).astype("<f4")
    path.write_bytes(b"".join(name.encode() + row.tobytes() for name, row in zip(names, vectors, strict=True)))
    return vectors


def test_the_published_vectors_of_2014_belong_to_the_products_they_name(tmp_path):
    lines(tmp_path / "reviews_Baby_5.json.gz", REVIEW, REVIEW | {"asin": "B000000001"}, REVIEW | {"asin": "B000000002"})
    vectors = features(tmp_path / "image_features_Baby.b", "B00NOBODY1", "B000000001", "0615447279", "B000000001")
    found = read_amazon_2014(tmp_path, Amazon2014Options()).vectors["image"]
    assert found.ids.index.tolist() == ["0615447279", "B000000001"]
    np.testing.assert_array_equal(found.values, vectors[[2, 1]])


def test_vectors_that_are_cut_off_or_of_another_category_are_refused(tmp_path):
    lines(tmp_path / "reviews_Baby_5.json.gz", REVIEW)
    path = tmp_path / "image_features_Baby.b"
    features(path, "0615447279")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"expected records of 16394 bytes .*, got 16393 bytes; download it again"):
        read_amazon_2014(tmp_path, Amazon2014Options())
    features(path, "B00NOBODY1")
    with pytest.raises(ValueError, match=r"expected vectors of the 1 items .*, got none; is it of this category"):
        read_amazon_2014(tmp_path, Amazon2014Options())
