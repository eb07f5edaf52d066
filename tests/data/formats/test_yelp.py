import json

import pytest

from graphrec.data.formats import YelpOptions, read_yelp


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def folder(tmp_path):
    review = {"review_id": "r", "user_id": "u-1", "business_id": "b_1", "stars": 3.0, "useful": 0, "text": "ok"}
    lines(
        tmp_path / "yelp_academic_dataset_review.json",
        review | {"date": "2018-07-07 22:09:11"},
        review | {"date": "long ago"},
        review | {"date": "2018-07-08 00:00:00", "business_id": "b_2", "stars": 5},
    )
    business = {"business_id": "b_1", "name": "Pho &amp; Co", "city": "Reno", "state": "NV", "stars": 4.5}
    lines(
        tmp_path / "yelp_academic_dataset_business.json",
        business | {"latitude": 39.5, "longitude": -119.8, "categories": "Food, Soup", "review_count": 9},
        business | {"business_id": "b_2", "latitude": 390, "longitude": None, "categories": None},
    )
    user = {"user_id": "u-1", "name": "W", "yelping_since": "2007-01-25 16:47:26", "average_stars": 3.9}
    lines(tmp_path / "yelp_academic_dataset_user.json", user, user | {"user_id": "silent"})
    return tmp_path


def test_reviews_businesses_and_users_come_together(folder):
    raw = read_yelp(folder, YelpOptions())
    assert raw.interactions.to_numpy().tolist() == [
        ["u-1", "b_1", 3, 1531001351],
        ["u-1", "b_2", 5, 1531008000],
    ]
    assert raw.items.loc["b_1"].to_dict() == {
        "title": "Pho & Co",
        "categories": "Food, Soup",
        "city": "Reno",
        "state": "NV",
        "latitude": 39.5,
        "longitude": -119.8,
        "text": "Pho & Co\nFood, Soup\nReno",
    }
    assert raw.items.loc["b_2", ["latitude", "longitude"]].isna().all()
    assert raw.people.to_dict("index") == {"u-1": {"since": "2007-01-25 16:47:26"}}
    assert raw.skipped == {"yelp_academic_dataset_review.json: no time": 1}


def test_the_first_photo_of_a_business_is_its_picture(folder):
    (folder / "photos").mkdir()
    for name in ("p1", "p2"):
        (folder / "photos" / f"{name}.jpg").touch()
    photos = [{"photo_id": name, "business_id": "b_1", "label": "food"} for name in ("gone", "../p1", "p2", "p1")]
    lines(folder / "photos.json", *photos, {"photo_id": ["x"], "business_id": "b_2"})
    raw = read_yelp(folder, YelpOptions())
    assert raw.items["image"].dropna().to_dict() == {"b_1": str(folder / "photos" / "p2.jpg")}
