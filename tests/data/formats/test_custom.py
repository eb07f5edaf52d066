import numpy as np
import pandas as pd
import pytest

from graphrec.data.formats import CustomOptions, read_custom


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "interactions.csv").write_text(
        "user,item,rating,time,split\nann,001,5,10,train\nbob,002,4,11,valid\n,001,3,12,test\nann,002,x,13,test\n"
        "ann,003,2,14,test\nann,003,2,14,later\n"
    )
    (tmp_path / "items.tsv").write_text(
        "item\ttitle\tbrand\tcolour\n001\tTea\tX&amp;Y\tred\n002\tPot\t\tNA\n009\tCup\t\t\n"
    )
    (tmp_path / "users.csv").write_text("user,age\nann,30\ncleo,40\n")
    for name in ("images/001.png", "images/stray.jpg", "audio/002.wav", "video/001.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_tables_and_folders_come_together(folder):
    raw = read_custom(folder, CustomOptions())
    assert raw.interactions.to_numpy().tolist() == [
        ["ann", "001", 5, 10, 0],
        ["bob", "002", 4, 11, 1],
        ["ann", "003", 2, 14, 2],
    ]
    assert raw.items.index.tolist() == ["001", "002", "009", "003"]
    assert raw.items["text"].tolist()[:3] == ["Tea\nX&Y", "Pot", "Cup"]
    assert raw.items["image"].dropna().to_dict() == {"001": str(folder / "images" / "001.png")}
    assert raw.items["audio"].dropna().to_dict() == {"002": str(folder / "audio" / "002.wav")}
    assert raw.items["video"].dropna().to_dict() == {"001": str(folder / "video" / "001.mp4")}
    assert raw.people["age"].dropna().to_dict() == {"ann": 30, "cleo": 40}
    assert raw.people.index.tolist() == ["ann", "cleo", "bob"]
    assert raw.skipped == {
        "interactions.csv: no user": 1,
        "interactions.csv: no rating": 1,
        "interactions.csv: no split": 1,
    }


def test_parquet_keeps_the_types_of_ids(tmp_path):
    pd.DataFrame({"u": ["1", "2"], "i": [7, 8], "when": pd.to_datetime(["2020-01-01", "2020-01-02"])}).to_parquet(
        tmp_path / "log.parquet"
    )
    raw = read_custom(tmp_path, CustomOptions(interactions="log", user="u", item="i", time="when"))
    assert raw.interactions["user"].tolist() == ["1", "2"]
    assert raw.interactions["item"].tolist() == [7, 8]
    assert raw.interactions["time"].dt.day.tolist() == [1, 2]
    assert raw.items.index.tolist() == [7, 8]


def test_ids_that_are_integers_in_one_table_only_become_texts(tmp_path):
    (tmp_path / "interactions.csv").write_text("user,item\n1,2\n")
    (tmp_path / "items.csv").write_text("item,title\n2,Two\n003,Three\n")
    raw = read_custom(tmp_path, CustomOptions())
    assert raw.interactions["item"].tolist() == ["2"]
    assert raw.items["title"].to_dict() == {"2": "Two", "003": "Three"}
    assert raw.interactions["user"].tolist() == [1]


def test_columns_may_name_files_of_the_folder_or_addresses(tmp_path):
    (tmp_path / "interactions.csv").write_text("user,item\n1,a\n1,b\n1,c\n")
    (tmp_path / "items.csv").write_text("item,image\na,pics/one.jpg\nb,https://x/y.jpg\nc,\n")
    raw = read_custom(tmp_path, CustomOptions())
    assert raw.items["image"].tolist() == [str(tmp_path / "pics" / "one.jpg"), "https://x/y.jpg", None]


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg"])
def test_files_outside_the_folder_are_absent_or_refused(tmp_path, name, caplog):
    (tmp_path / "interactions.csv").write_text("user,item\n1,a\n1,b\n")
    (tmp_path / "items.csv").write_text(f"item,image\na,{name}\nb,b.jpg\n")
    raw = read_custom(tmp_path, CustomOptions())
    assert raw.items["image"].tolist() == [None, str(tmp_path / "b.jpg")]
    assert raw.skipped == {"items: image outside the folder": 1}
    assert "image of item 'a' counts as absent: expected a name that stays inside its folder" in caplog.text
    with pytest.raises(ValueError, match="stays inside"):
        read_custom(tmp_path, CustomOptions(interactions=name))


@pytest.mark.parametrize("item", ["../secret", "/etc/secret", "a/b", "..", "C:\\x"])
def test_ids_that_look_like_paths_have_no_files(tmp_path, item):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (tmp_path / "secret.jpg").touch()
    (folder / "secret.jpg").touch()
    (folder / "interactions.csv").write_text(f"user,item\n1,{item}\n")
    raw = read_custom(folder, CustomOptions())
    assert raw.items.index.tolist() == [item]
    assert "image" not in raw.items


def test_an_id_twice_is_an_error(tmp_path):
    (tmp_path / "interactions.csv").write_text("user,item\n1,a\n")
    (tmp_path / "items.csv").write_text("item,title\na,x\na,y\n")
    with pytest.raises(ValueError, match=r"expected every item once in .*items\.csv, got \['a'\]"):
        read_custom(tmp_path, CustomOptions())


def test_missing_tables_and_columns_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected the table 'interactions' .* found nothing"):
        read_custom(tmp_path, CustomOptions())
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_custom(tmp_path / "none", CustomOptions())
    (tmp_path / "interactions.csv").write_text("who,item\n1,a\n")
    with pytest.raises(ValueError, match=r"missing \['user'\]; its columns are \['who', 'item'\]"):
        read_custom(tmp_path, CustomOptions())
    (tmp_path / "interactions.csv").write_text("user,item\n,a\n")
    with pytest.raises(ValueError, match="got none"):
        read_custom(tmp_path, CustomOptions())


def test_numbers_of_a_table_stay_numbers(tmp_path):
    pd.DataFrame({"user": [1, 2], "item": [1, 1], "rating": [0.5, np.inf]}).to_parquet(
        tmp_path / "interactions.parquet"
    )
    raw = read_custom(tmp_path, CustomOptions())
    assert raw.interactions.to_dict("list") == {"user": [1], "item": [1], "rating": [0.5]}


@pytest.mark.parametrize(
    ("times", "first"),
    [
        (["2020-01-02", "2020-01-01T10:00:00Z", "soon"], "2020-01-02"),
        (["13/02/2020", "14/02/2020", "14/13/2020"], "2020-02-13"),
        (["5", "6.5", "soon"], 5),
        (["5", "6", "inf"], 5),
    ],
)
def test_a_time_that_is_none_costs_its_row_only(tmp_path, times, first):
    rows = "".join(f"1,{item},{time}\n" for item, time in enumerate(times))
    (tmp_path / "interactions.csv").write_text(f"user,item,time\n{rows}")
    raw = read_custom(tmp_path, CustomOptions())
    assert raw.interactions["item"].tolist() == [0, 1]
    assert raw.interactions["time"][0] == (pd.Timestamp(first, tz="UTC") if isinstance(first, str) else first)
    assert raw.skipped == {"interactions.csv: no time": 1}
