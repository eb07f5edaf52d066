from datetime import UTC, datetime

import pytest

from graphrec.data.formats import MindOptions, read_mind

NINE = datetime(2019, 11, 15, 9, 0, 0, tzinfo=UTC).timestamp()


@pytest.fixture
def folder(tmp_path):
    for part in ("MINDsmall_train", "MINDsmall_dev"):
        (tmp_path / part).mkdir()
    (tmp_path / "MINDsmall_train" / "behaviors.tsv").write_text(
        "1\tU1\t11/15/2019 10:00:00 AM\tN1 N2\tN3-1 N4-0\n"
        "2\tU1\t11/15/2019 9:00:00 AM\tN1 N2\tN4-1 N5-1\n"
        "3\tU2\t11/15/2019 9:00:00 PM\t\tN3-0\n"
        "4\tU3\tyesterday\t\tN3-1\n"
        "five columns\n"
    )
    (tmp_path / "MINDsmall_dev" / "behaviors.tsv").write_text(
        "1\tU1\t11/16/2019 9:00:00 AM\tN1 N2 N3\tN6-1 N3-1\n2\tU4\t11/16/2019 9:00:00 AM\tN1\tN6-0 N4-1\n"
    )
    news = 'N1\tlifestyle\troyals\tThe "Brands\tShop &amp; go\thttps://x\t[]\t[]\n'
    (tmp_path / "MINDsmall_train" / "news.tsv").write_text(news)
    (tmp_path / "MINDsmall_dev" / "news.tsv").write_text(f"{news}N9\tnews\tworld\tTitle\t\thttps://x\t[]\t[]\n")
    return tmp_path


def events(raw):
    return sorted(map(tuple, raw.interactions.to_numpy().tolist()))


def test_clicks_are_events_and_histories_come_before_them(folder):
    raw = read_mind(folder, MindOptions())
    assert events(raw) == [
        ("U1", "N1", NINE - 2, 0),
        ("U1", "N2", NINE - 1, 0),
        ("U1", "N3", NINE + 3600, 0),
        ("U1", "N4", NINE, 0),
        ("U1", "N5", NINE, 0),
        ("U1", "N6", NINE + 86400, 2),
        ("U4", "N1", NINE + 86400 - 1, 0),
        ("U4", "N4", NINE + 86400, 2),
    ]
    assert raw.skipped == {
        "behaviors.tsv: no time": 1,
        "behaviors.tsv: not 5 columns": 1,
        "behaviors.tsv: met in an earlier part": 1,
    }


def test_histories_and_parts_can_be_left_out(folder):
    raw = read_mind(folder, MindOptions(history="none", split="none"))
    assert "split" not in raw.interactions
    pairs = [event[:2] for event in events(raw)]
    assert pairs == [("U1", "N3"), ("U1", "N3"), ("U1", "N4"), ("U1", "N5"), ("U1", "N6"), ("U4", "N4")]


def test_news_of_both_parts_are_items(folder):
    raw = read_mind(folder, MindOptions())
    assert raw.items.loc["N1"].to_dict() == {
        "title": 'The "Brands',
        "category": "lifestyle",
        "subcategory": "royals",
        "abstract": "Shop & go",
        "text": 'The "Brands\nShop & go',
    }
    assert raw.items.loc["N9", "text"] == "Title"
    assert not any("again" in reason for reason in raw.skipped)


def test_a_missing_part_is_named(folder):
    (folder / "MINDsmall_dev" / "behaviors.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"behaviors\.tsv"):
        read_mind(folder, MindOptions())
