import pytest

from graphrec.data.formats import ListsOptions, read_lightgcn_raw


def test_lists_and_original_ids_come_together(tmp_path):
    (tmp_path / "train.txt").write_text("0 1 2\n1\n2 1\n")
    (tmp_path / "test.txt").write_text("0 3\n")
    (tmp_path / "item_list.txt").write_text("org_id remap_id\n0553092626 1\n000100 2\nbroken line here\n")
    (tmp_path / "user_list.txt").write_text("org_id remap_id\nA3R 0\n")
    raw = read_lightgcn_raw(tmp_path, ListsOptions())
    assert raw.interactions.to_numpy().tolist() == [[0, 1, 0], [0, 2, 0], [2, 1, 0], [0, 3, 2]]
    assert raw.items["original"].to_dict() == {1: "0553092626", 2: "000100", 3: None}
    assert raw.people["original"].to_dict() == {0: "A3R", 2: None}
    assert raw.skipped == {"item_list.txt: not 2 columns": 1}


def test_a_validation_file_is_read_where_there_is_one(tmp_path):
    for name, text in (("train", "\ufeff0 1\r\n"), ("valid", "0 2\n"), ("test", "0 3\n")):
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    raw = read_lightgcn_raw(tmp_path, ListsOptions())
    assert sorted(raw.interactions.itertuples(index=False, name=None)) == [(0, 1, 0), (0, 2, 1), (0, 3, 2)]
    assert len(read_lightgcn_raw(tmp_path, ListsOptions(valid=None)).interactions) == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.txt"):
        read_lightgcn_raw(tmp_path, ListsOptions())


def test_numbers_beyond_64_bits_are_refused(tmp_path):
    (tmp_path / "train.txt").write_text(f"0 {'9' * 30}\n")
    (tmp_path / "test.txt").write_text("0 3\n")
    with pytest.raises(ValueError, match=r"expected lines of integers .*train\.txt"):
        read_lightgcn_raw(tmp_path, ListsOptions())
