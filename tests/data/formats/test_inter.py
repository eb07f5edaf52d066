import pytest

from graphrec.data.formats import InterOptions, read_inter


def test_recbole_files_have_types_in_their_headers(tmp_path):
    (tmp_path / "ml.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n001\tA\t4.0\t881250949\n1\tB\tbad\t2\n1\tB\t3\t2\n"
    )
    (tmp_path / "ml.item").write_text(
        "item_id:token\tclass:token_seq\trelease_year:float\tmovie_title:token_seq\n"
        'A\tDrama War\t1995\t"Cry"\nA\tx\t1\ty\n'
    )
    (tmp_path / "ml.user").write_text("user_id:token\tage:float\tgender:token\n001\t24\tM\n1\tnan\tF\n")
    raw = read_inter(tmp_path, InterOptions())
    assert raw.interactions.to_numpy().tolist() == [["001", "A", 4, 881250949], ["1", "B", 3, 2]]
    assert raw.items.loc["A"].to_dict() == {
        "class": "Drama War",
        "release_year": 1995,
        "movie_title": '"Cry"',
        "text": '"Cry"\nDrama War',
    }
    assert raw.people["age"].isna().tolist() == [False, True]
    assert raw.people["gender"].tolist() == ["M", "F"]
    assert raw.skipped == {"ml.inter: no rating": 1, "ml.item: item again": 1}


def test_mmrec_files_have_labels(tmp_path):
    (tmp_path / "baby.inter").write_text("userID\titemID\tx_label\n0\t5\t0\n0\t6\t2\n1\t5\t1.0\n1\t6\t7\n")
    raw = read_inter(tmp_path, InterOptions())
    assert sorted(raw.interactions.to_numpy().tolist()) == [[0, 5, 0], [0, 6, 2], [1, 5, 1]]
    assert raw.skipped == {"baby.inter: no part of a split": 1}


def test_a_number_of_items_that_is_a_float_by_type_keeps_its_id(tmp_path):
    (tmp_path / "x.inter").write_text("user:token\titem:token\n1\t2\n")
    (tmp_path / "x.item").write_text("item:float\ttitle:token_seq\n2\tTwo\n")
    assert read_inter(tmp_path, InterOptions()).items["title"].to_dict() == {2: "Two"}


def test_which_file_is_meant_must_be_clear(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\.inter"):
        read_inter(tmp_path, InterOptions())
    (tmp_path / "a.inter").write_text("user\titem\n1\t2\n")
    (tmp_path / "b.inter").write_text("user\titem\n1\t2\n")
    with pytest.raises(ValueError, match=r"expected one \.inter file in .*, got a\.inter, b\.inter"):
        read_inter(tmp_path, InterOptions())
    assert len(read_inter(tmp_path, InterOptions(inter="a.inter")).interactions) == 1


def test_a_missing_column_says_which_there_are(tmp_path):
    (tmp_path / "a.inter").write_text("user:token\tthing:token\n1\t2\n")
    with pytest.raises(ValueError, match=r"expected one of the columns \['item_id'.*it has user, thing"):
        read_inter(tmp_path, InterOptions())
