import gzip
import importlib
import inspect
import json
import random
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from graphrec.data.formats import FORMATS, RawOptions
from graphrec.data.raw import RawData

GOOD = {  # a file of every kind that its parser reads, beside the ones named in OTHERS
    "amazon-2014": (
        "reviews_Baby_5.json.gz",
        '{"reviewerID": "u", "asin": "i", "overall": 5.0, "unixReviewTime": 9}\n',
    ),
    "amazon-2018": ("All_Beauty_5.json.gz", '{"reviewerID": "u", "asin": "i", "overall": 5.0, "unixReviewTime": 9}\n'),
    "amazon-2023": (
        "All_Beauty.jsonl.gz",
        '{"user_id": "u", "parent_asin": "i", "rating": 5.0, "timestamp": 1588687728923}\n',
    ),
    "custom": ("interactions.csv", "user,item,rating\nu,i,1\n"),
    "hm": ("transactions_train.csv", "t_dat,customer_id,article_id\n2018-09-20,u,01\n"),
    "inter": ("a.inter", "user_id:token\titem_id:token\trating:float\nu\ti\t5\n"),
    "lastfm": ("user_artists.dat", "userID\tartistID\tweight\n1\t2\t3\n"),
    "lightgcn": ("train.txt", "0 1 2\n"),
    "microlens": ("MicroLens-50k_pairs.csv", "user,item,timestamp\n1,2,1583378629552\n"),
    "mind": ("MINDsmall_train/behaviors.tsv", "1\tU1\t11/15/2019 9:00:00 AM\tN1\tN2-1 N3-0\n"),
    "mmssl": ("train.json", '{"0": [1, 2]}'),
    "movielens": ("ratings.csv", "userId,movieId,rating,timestamp\n1,2,4.5,9\n"),
    "yelp": (
        "yelp_academic_dataset_review.json",
        '{"user_id": "u", "business_id": "i", "stars": 5, "date": "2018-07-07 22:09:11"}\n',
    ),
}
OTHERS = {
    "amazon-2014": {"meta_Baby.json.gz": "{'asin': 'i', 'title': 'T', 'categories': [['a']], 'price': 3.0}\n"},
    "amazon-2018": {"meta_All_Beauty.json.gz": '{"asin": "i", "category": ["a"], "imageURLHighRes": ["https://x"]}\n'},
    "amazon-2023": {"meta_All_Beauty.jsonl.gz": '{"parent_asin": "i", "images": [{"large": "https://x"}]}\n'},
    "custom": {"items.csv": "item,title\ni,T\n"},
    "hm": {"articles.csv": "article_id,prod_name\n01,T\n", "customers.csv": "customer_id,age\nu,30\n"},
    "inter": {"a.item": "item_id:token\ttitle:token_seq\ni\tT\n"},
    "lastfm": {"artists.dat": "id\tname\n2\tT\n", "tags.dat": "tagID\ttagValue\n1\tx\n"},
    "lightgcn": {"test.txt": "0 3\n", "item_list.txt": "org_id remap_id\nx 1\n"},
    "microlens": {"MicroLens-50k_titles.csv": "item,title\n2,T\n"},
    "mind": {
        "MINDsmall_train/news.tsv": "N1\ta\tb\tT\tA\tu\t[]\t[]\n",
        "MINDsmall_dev/news.tsv": "N1\ta\tb\tT\tA\tu\t[]\t[]\n",
        "MINDsmall_dev/behaviors.tsv": "1\tU1\t11/16/2019 9:00:00 AM\tN1\tN3-1\n",
    },
    "mmssl": {"val.json": '{"0": [3]}', "test.json": '{"0": [4]}'},
    "movielens": {"movies.csv": "movieId,title,genres\n2,T,Drama\n", "tags.csv": "userId,movieId,tag\n1,2,x\n"},
    "yelp": {"yelp_academic_dataset_business.json": '{"business_id": "i", "name": "T", "latitude": 1}\n'},
}


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def lay(folder, kind):
    name, text = GOOD[kind]
    for file, content in {name: text, **OTHERS[kind]}.items():
        write(folder, file, content.encode())
    return name


def options_of(kind):
    return TypeAdapter(RawOptions).validate_python({"kind": kind})


def read(folder, kind):
    return FORMATS[kind](folder, options_of(kind))


def spoil(content, generator):
    """Returns the content with a few bytes cut, doubled, moved or replaced by what parsers stumble over."""
    traps = [
        b"\0",
        b"\xff\xfe",
        b'"',
        b"'",
        b"\r",
        b"\n",
        b"\t",
        b",",
        b"{",
        b"]",
        b"::",
        b"nan",
        b"1e999",
        b"-1",
        b"../",
    ]
    traps += [b"[" * 3000, b"9" * 5000, b"\\ud800", b"null", "\u202e\U0001f600".encode(), b"NaN", b"Infinity", b"true"]
    for _ in range(generator.randint(1, 6)):
        at, size = generator.randrange(len(content) + 1), generator.randint(0, 8)
        content = content[:at] + generator.choice([b"", content[at : at + 20] * 2, *traps]) + content[at + size :]
    return content


def test_every_kind_has_options_a_parser_and_a_file_to_test_it():
    kinds = {entry.model_fields["kind"].default for entry in RawOptions.__origin__.__args__}
    assert kinds == set(FORMATS) == set(GOOD) == set(OTHERS)


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_every_parser_cites_its_source_and_says_what_it_returns(kind):
    text = inspect.getdoc(FORMATS[kind])
    assert "Raises" in text or "raises" in text
    assert "http" in text or kind == "custom"


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_every_parser_reads_a_small_folder(tmp_path, kind):
    lay(tmp_path, kind)
    raw = read(tmp_path, kind)
    assert isinstance(raw, RawData)
    assert len(raw.interactions)
    assert {"user", "item"} <= set(raw.interactions) <= {"user", "item", "rating", "time", "split"}
    assert raw.items.index.is_unique
    assert set(raw.interactions["item"]) <= set(raw.items.index)
    assert set(raw.interactions["user"]) <= set(raw.people.index)
    assert raw.skipped == {}


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_an_absent_folder_and_an_empty_file_are_clear_errors(tmp_path, kind):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none", kind)
    name = lay(tmp_path, kind)
    write(tmp_path, name, b"")
    if kind == "mind":  # a part may be empty, not both
        write(tmp_path, "MINDsmall_dev/behaviors.tsv", b"")
    if kind == "lightgcn":
        write(tmp_path, "test.txt", b"")
    with pytest.raises(ValueError, match=Path(name).name if kind != "mind" else "expected interactions"):
        read(tmp_path, kind)


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_spoiled_files_are_read_or_refused_but_never_crash(tmp_path, kind):
    generator = random.Random(kind)
    name = lay(tmp_path, kind)
    files = {name: GOOD[kind][1], **OTHERS[kind]}
    outcomes = {"read": 0, "refused": 0}
    for _ in range(25):
        file = generator.choice(list(files))
        write(tmp_path, file, spoil((files[file] * 3).encode(), generator))
        try:
            raw = read(tmp_path, kind)
        except (ValueError, FileNotFoundError):
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            raw.items.to_parquet(tmp_path.parent / f"{tmp_path.name}.parquet")
            assert raw.interactions.notna().all().all()
        write(tmp_path, file, files[file].encode())
    assert sum(outcomes.values()) == 25
    assert outcomes["read"] or kind in ("mmssl", "lightgcn")


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_options_are_strict_and_go_through_json(kind):
    options = options_of(kind)
    again = TypeAdapter(RawOptions).validate_python(json.loads(options.model_dump_json()))
    assert again == options
    with pytest.raises(ValidationError, match="unknown key"):
        TypeAdapter(RawOptions).validate_python({"kind": kind, "surprise": 1})


def test_parsers_load_nothing_heavy():
    module = importlib.import_module("graphrec.data.formats")
    assert not {"torch", "sklearn"} & set(vars(module))
