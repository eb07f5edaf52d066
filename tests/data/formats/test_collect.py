import math
from pathlib import Path

import numpy as np
import pytest

from graphrec.data.formats.collect import (
    TEST,
    TRAIN,
    Collector,
    as_id,
    as_index,
    as_lines,
    as_names,
    as_number,
    as_numbers,
    as_seconds,
    as_text,
)

PATH = Path("x.csv")


def test_a_batch_is_what_its_events_are_one_by_one():
    users, items = ["a", "", "b", " c ", "d", "e"], ["1", "2", "", "3", "4", "5"]
    ratings, times = ["1", "2", "3", "4.5", "inf", "5"], ["10", "11", "12", "13", "14", "never"]
    batch, single = (Collector(has_rating=True, has_time=True, has_split=True) for _ in range(2))
    batch.events(PATH, range(1, 7), users, items, ratings=ratings, times=times, split=TEST)
    for line, event in enumerate(zip(users, items, ratings, times, strict=True), start=1):
        single.event(PATH, line, *event[:2], rating=event[2], time=event[3], split=TEST)
    found, expected = batch.finish(PATH), single.finish(PATH)
    assert found.interactions.to_dict("list") == {
        "user": ["a", "c"],
        "item": [1, 3],
        "rating": [1.0, 4.5],
        "time": [10, 13],
        "split": [2, 2],
    }
    assert found.interactions.equals(expected.interactions)
    assert found.skipped == expected.skipped
    assert found.skipped == {"x.csv: no user": 1, "x.csv: no item": 1, "x.csv: no rating": 1, "x.csv: no time": 1}


def test_a_clean_batch_is_what_its_events_are_one_by_one():
    batch, single = (Collector(has_rating=True) for _ in range(2))
    users, items, ratings = ["7", "8", "7"], ["x", "x", "y"], ["1", "2", "3"]
    batch.events(PATH, [1, 2, 3], users, items, ratings=ratings)
    for line in range(3):
        single.event(PATH, line, users[line], items[line], rating=ratings[line])
    assert batch.finish(PATH).interactions.equals(single.finish(PATH).interactions)


def test_ids_are_integers_only_if_all_are_written_as_such_content_included():
    collector = Collector()
    collector.event(PATH, 1, "1", "2")
    collector.item(PATH, 1, "03", {"title": "t"})
    raw = collector.finish(PATH)
    assert raw.interactions["user"].tolist() == [1]
    assert raw.interactions["item"].tolist() == ["2"]
    assert raw.items.index.tolist() == ["2", "03"]
    assert raw.items["title"].tolist() == [None, "t"]
    assert raw.people.index.tolist() == [1]


def test_the_first_of_two_entries_counts():
    collector = Collector()
    collector.event(PATH, 1, "u", "i")
    collector.item(PATH, 1, "i", {"title": "first", "price": 2})
    collector.item(PATH, 2, "i", {"title": "second"})
    collector.item(PATH, 3, None, {"title": "third"})
    collector.person(PATH, 1, "u", {"age": 3.0, "name": None})
    collector.supplement("i", image="x.jpg")
    raw = collector.finish(PATH)
    assert raw.items.to_dict("index") == {"i": {"title": "first", "price": 2.0, "image": "x.jpg"}}
    assert raw.people.to_dict("index") == {"u": {"age": 3.0}}
    assert raw.skipped == {"x.csv: item again": 1, "x.csv: no item": 1}


def test_vectors_bring_all_their_rows_and_must_cover_the_items():
    collector = Collector()
    collector.event(PATH, 1, 0, 2)
    raw = collector.finish(PATH, {"image": np.eye(4)})
    assert sorted(raw.items.index) == [0, 1, 2, 3]
    assert raw.vectors["image"].ids.index.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"expected image vectors of every item, got 2 rows; none for \['2', '3'\]"):
        collector.finish(PATH, {"image": np.eye(2)})


def test_nothing_found_is_an_error_with_the_reasons():
    collector = Collector(has_rating=True)
    collector.event(PATH, 1, "u", "i", rating="many")
    with pytest.raises(ValueError, match=r"expected interactions in x\.csv, got none: x\.csv: no rating \(1 lines\)"):
        collector.finish(PATH)


def test_later_parts_lose_pairs_that_an_earlier_part_has():
    collector = Collector(has_split=True, has_time=True, has_rating=True)
    for user, item, part in (
        ("a", "x", TEST),
        ("a", "x", TRAIN),
        ("a", "y", TEST),
        ("b", "x", TEST),
        ("a", "x", TRAIN),
    ):
        collector.event(PATH, 1, user, item, split=part, time=1, rating=1)
    collector.drop_later(PATH)
    raw = collector.finish(PATH)
    kept = raw.interactions[["user", "item", "split"]].to_numpy().tolist()
    assert kept == [["a", "x", 0], ["a", "y", 2], ["b", "x", 2], ["a", "x", 0]]
    assert raw.skipped == {"x.csv: met in an earlier part": 1}


@pytest.mark.parametrize(
    ("value", "expected"), [(7, "7"), (" a ", "a"), ("0001", "0001"), (True, ""), (None, ""), (1.5, ""), ("a\0", "")]
)
def test_ids_keep_their_form(value, expected):
    assert as_id(value) == expected


@pytest.mark.parametrize("value", [None, True, "x", "nan", math.inf, [1], 10**400])
def test_what_is_no_finite_number_is_none(value):
    assert math.isnan(as_number(value))


def test_numbers_and_times_are_read_together():
    assert as_numbers(["1", "2.5"]).tolist() == [1, 2.5]
    assert np.isnan(as_numbers(["1", "x", "inf"])).tolist() == [False, True, True]
    assert as_seconds(["1583378629552", "881250949"]).tolist() == [1583378629.552, 881250949]


def test_texts_are_decoded_and_joined():
    assert as_text(" A&amp;B ") == "A&B"
    assert as_text(" ") is as_text(None) is as_text(["a"]) is None
    assert as_text("\ud800") == "?"
    assert as_lines(("t", None, "", "d")) == "t\nd"
    assert as_names(("b", "a", "b", None)) == "b, a"


def test_plain_integers_become_integers():
    assert as_index(["1", "20"]).tolist() == [1, 20]
    assert as_index(["1", "020"]).tolist() == ["1", "020"]
    assert as_index([]).tolist() == []
