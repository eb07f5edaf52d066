import gzip
import json
import re
import zipfile

import pytest
from pydantic import TypeAdapter

from graphrec.config import load_yaml
from graphrec.data.cards import UNVERIFIED, DatasetCard, card_names, load_card, read_card
from graphrec.data.formats import FORMATS, RawOptions
from graphrec.data.formats.lines import find_file
from graphrec.data.prepare import prepare_dataset
from graphrec.data.sources import load_dataset
from graphrec.runtime import package_folder

ASKED = (
    *(
        "amazon-2014",
        "amazon-2018",
        "amazon-2023",
        "ml-100k",
        "ml-1m",
        "ml-25m",
        "ml-latest-small",
        "microlens",
        "mind",
    ),
    *("hm", "yelp", "lastfm-2k", "tiktok", "netflix", "gowalla", "yelp2018", "amazon-book", "custom"),
)
RAW = [name for name in card_names() if load_card(name).raw is not None]
LOCAL = ("users", "items", "interactions")


def test_every_data_set_that_was_asked_for_has_a_card_with_raw_files():
    assert set(ASKED) <= set(RAW)


@pytest.mark.parametrize("name", RAW)
def test_cards_say_where_what_how_and_under_which_licence(name):
    card = load_card(name)
    assert card.sources
    assert card.citation
    assert card.licence
    assert card.columns or name == "tiktok"
    assert card.raw.kind in FORMATS
    assert card.downloads or name == "custom"
    assert DatasetCard.parse(card.model_dump(mode="json")) == card


@pytest.mark.parametrize("name", RAW)
def test_addresses_are_https_and_nothing_is_fetched_twice(name):
    card = load_card(name)
    files = [entry.file for entry in card.downloads]
    assert len(files) == len(set(files))
    for entry in card.downloads:
        assert entry.url.startswith("https://") or entry.login
        assert entry.sha256 == UNVERIFIED or re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert entry.extract == entry.file.endswith((".zip", ".tar", ".tgz"))  # .gz is read as it is


@pytest.mark.parametrize("name", RAW)
def test_counts_say_where_they_were_read(name):
    expected = load_card(name).expected
    if expected is not None:
        assert len(expected.source) > 10
        assert any(getattr(expected, key) for key in LOCAL)


@pytest.mark.parametrize("name", RAW)
def test_every_variant_fills_in_its_name(name):
    card = load_card(name)
    for variant in card.variants.names if card.variants is not None else ():
        chosen = load_card(f"{name}:{variant}")
        text = str(chosen.model_dump(exclude={"description", "variants"}))
        assert "{" + card.variants.key + "}" not in text
        assert all(variant in entry.url and variant in entry.file for entry in chosen.downloads)
        assert variant in chosen.raw.reviews
        assert (chosen.expected is not None) == (variant == card.variants.default)


@pytest.mark.parametrize("name", RAW)
def test_the_downloads_are_the_files_that_the_parser_looks_for(tmp_path, name):
    card = load_card(name).choose()
    fetched = {entry.file for entry in card.downloads}
    named = {value for value in card.raw.model_dump().values() if isinstance(value, str) and "." in value}
    if card.raw.kind in ("mmssl", "yelp", "hm", "lightgcn") or card.raw.kind.startswith(("amazon", "microlens")):
        extra = {"photos.json", "MicroLens-50k_covers", "valid.txt"}  # of a second archive, or an own part
        assert named - extra <= fetched
    for file in fetched:
        (tmp_path / file).touch()
        assert find_file(tmp_path, file) == tmp_path / file


@pytest.mark.parametrize("name", RAW)
def test_given_parts_are_kept_whole_and_only_asked_for_where_a_parser_gives_them(name):
    card = load_card(name)
    assert (card.prepare.split == "given") == (card.raw.kind in ("mind", "mmssl", "lightgcn"))
    if card.prepare.threshold is not None:
        assert card.raw.kind == "movielens"


def test_options_of_raw_files_are_those_of_their_format():
    for name in RAW:
        values = load_yaml(package_folder("datasets") / f"{name}.yaml")["raw"]
        assert TypeAdapter(RawOptions).validate_python(values) == load_card(name).raw


def ratings_of_a_small_crowd(users=12, items=9):
    pairs = [(user, item) for user in range(1, users + 1) for item in range(1, items + 1) if (user + item) % 4]
    return [(user, item, 4 + (user * item) % 2, 978300000 + place) for place, (user, item) in enumerate(pairs)]


def test_an_archive_becomes_a_benchmark_by_the_name_of_its_card(tmp_path):
    crowd = ratings_of_a_small_crowd()
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "".join(f"{u}::{i}::{r}::{t}\n" for u, i, r, t in [*crowd, (1, 4, 3, 5)]))
        archive.writestr("ml-1m/movies.dat", "".join(f"{item}::Movie {item}::Drama\n" for item in range(1, 10)))
        archive.writestr("ml-1m/users.dat", "".join(f"{user}::F::25::10::48067\n" for user in range(1, 13)))
    prepare_dataset("ml-1m", tmp_path / "root", source=tmp_path)
    data = load_dataset("ml-1m", root=tmp_path / "root")
    assert (data.num_users, data.num_items) == (12, 9)
    assert len(data.split.train) + len(data.split.valid) + len(data.test) == len(crowd)  # 3 stars are below 4
    assert data.items.values("text")[0] == "Movie 1\nDrama"
    assert data.people.values("occupation")[0] == "K-12 student"


def test_a_category_of_amazon_becomes_a_benchmark_with_texts_and_picture_addresses(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    reviews = "".join(
        json.dumps({"reviewerID": f"A{u}", "asin": f"000{i}", "overall": r, "unixReviewTime": t}) + "\n"
        for u, i, r, t in ratings_of_a_small_crowd()
    )
    meta = "".join(
        f"{{'asin': '000{item}', 'title': 'It\\'s {item}', 'imUrl': 'http://x/{item}'}}\n" for item in range(12)
    )
    (source / "reviews_Beauty_5.json.gz").write_bytes(gzip.compress(reviews.encode()))
    (source / "meta_Beauty.json.gz").write_bytes(gzip.compress(meta.encode()))
    folder = prepare_dataset("amazon-2014:Beauty", tmp_path / "root", source=source)
    data = load_dataset(folder)
    assert data.name == "amazon-2014-Beauty"
    assert list(data.items.ids.index) == [f"000{item}" for item in range(1, 10)]
    assert data.items.values("title")[0] == "It's 1"
    assert data.items.values("image_url")[0] == "http://x/1"


@pytest.mark.data
def test_the_real_100k_prepared_is_what_its_own_reader_reads(real_data, tmp_path):
    folder = prepare_dataset("ml-100k", tmp_path, source=real_data("ml-100k"))
    own, prepared = read_card(load_card("ml-100k"), real_data("ml-100k")), load_dataset(folder)
    for part, other in ((own.split.train, prepared.split.train), (own.split.valid, prepared.split.valid)):
        assert pairs_of(part) == pairs_of(other)
    assert pairs_of(own.test) == pairs_of(prepared.test)  # ids that lost all their ratings are gone, nothing else


def pairs_of(interactions):
    return set(map(tuple, interactions.to_frame()[["user", "item"]].to_numpy().tolist()))
