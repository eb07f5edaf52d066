import numpy as np
import pytest

from graphrec.data.lightgcn import LightGCNOptions, read_lightgcn, read_lists


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def met(interactions):
    return sorted(map(tuple, interactions.to_frame()[["user", "item"]].to_numpy().tolist()))


def test_lists_equal_a_slow_loop(tmp_path):
    text = "0 5 6\n7 \n\n3 5 9 11 \n2\n0 8\n"
    users, items, lines = read_lists(write(tmp_path, train=text) / "train.txt")
    expected = [(0, 5), (0, 6), (3, 5), (3, 9), (3, 11), (0, 8)]
    assert list(zip(users.tolist(), items.tolist(), strict=True)) == expected
    assert lines.tolist() == [0, 7, 3, 2, 0]


def test_an_empty_file_has_no_lists(tmp_path):
    assert [len(part) for part in read_lists(write(tmp_path, train="\n") / "train.txt")] == [0, 0, 0]


def test_three_files_are_three_parts(tmp_path):
    data = read_lightgcn(write(tmp_path, train="0 1 2\n4 1\n", valid="0 3\n", test="0 9\n4 \n8\n"), name="toy")
    assert met(data.split.train) == [(0, 1), (0, 2), (4, 1)]
    assert met(data.split.valid) == [(0, 3)]
    assert met(data.test) == [(0, 9)]
    assert data.split.users.ids([0, 1, 2]).tolist() == [0, 4, 8]  # 8 is known, though its list is empty
    assert data.split.items.ids(range(4)).tolist() == [1, 2, 3, 9]
    assert data.notes == ()


def test_without_a_validation_file_it_is_drawn(tmp_path):
    folder = write(tmp_path, train="".join(f"{n} {' '.join(map(str, range(10)))}\n" for n in range(20)), test="0 10\n")
    data = read_lightgcn(folder, LightGCNOptions(valid_fraction=0.2, seed=1))
    assert set(data.split.valid.user_degree()) == {2}
    assert set(data.split.train.user_degree()) == {8}
    assert data.notes == ("validation drawn from train by seed 1",)
    assert met(data.split.valid) == met(read_lightgcn(folder, LightGCNOptions(valid_fraction=0.2, seed=1)).split.valid)
    assert met(data.split.valid) != met(read_lightgcn(folder, LightGCNOptions(valid_fraction=0.2, seed=2)).split.valid)


def test_repeated_items_are_merged_with_a_warning(tmp_path, caplog):
    data = read_lightgcn(write(tmp_path, train="0 1 1 2\n", valid="0 3\n", test="0 9\n"), name="toy")
    assert data.split.train.weight.tolist() == [2, 1]
    assert "toy: merged 1 repeated" in caplog.text


def test_bad_files_are_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'test.txt' in .*, found train.txt"):
        read_lightgcn(write(tmp_path, train="0 1 2\n"))
    with pytest.raises(ValueError, match="lines of integers"):
        read_lightgcn(write(tmp_path, test="0 x\n"))
    with pytest.raises(ValueError, match="lines of integers"):
        read_lightgcn(write(tmp_path, test=f"0 {10**30}\n"))
    with pytest.raises(ValueError, match="train and test to be disjoint"):
        read_lightgcn(write(tmp_path, valid="0 3\n", test="0 1\n"))


def test_row_ids_are_64_bit(tmp_path):
    users, items, _ = read_lists(write(tmp_path, train="5000000000 6000000000\n") / "train.txt")
    assert users.dtype == items.dtype == np.int64
    assert (users[0], items[0]) == (5_000_000_000, 6_000_000_000)
