import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from graphrec.data.files import join_texts, load_array, load_graph, read_columns, read_parquet, require_file


def test_a_missing_file_is_named_with_what_is_there(tmp_path):
    (tmp_path / "other.inter").touch()
    with pytest.raises(FileNotFoundError, match=r"'baby\.inter' in .*, found other\.inter"):
        require_file(tmp_path / "baby.inter")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        require_file(tmp_path / "none" / "baby.inter")


def test_missing_columns_are_named(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert read_columns(tmp_path / "x.csv", ["b"]).columns.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"missing \['c'\]; its columns are \['a', 'b'\]"):
        read_columns(tmp_path / "x.csv", ["a", "c"])


def test_files_without_header_are_latin_1(tmp_path):
    (tmp_path / "x.txt").write_bytes("1|Caf\u00e9\n".encode("latin-1"))
    frame = read_columns(tmp_path / "x.txt", ["title"], separator="|", names=["id", "title"])
    assert frame["title"].tolist() == ["Caf\u00e9"]


@pytest.mark.parametrize("values", [np.ones(3), np.array([["a"]])])
def test_arrays_must_be_rows_of_numbers(tmp_path, values):
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(ValueError, match=r"expected feature rows \(num_items, dim\)"):
        load_array(tmp_path / "x.npy")


def test_pickles_are_never_opened(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"cannot read .*x\.npy: it holds no plain NumPy array") as caught:
        load_array(tmp_path / "x.npy")
    assert "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04cut", b"\x93NUMPY\x01\x00v\x00{", b"\xff\xfe,"])
@pytest.mark.parametrize(
    "read", [load_array, load_graph, lambda path: read_parquet(path, []), lambda path: read_columns(path, ["a"])]
)
def test_unreadable_files_are_one_error_that_names_them(tmp_path, read, content):
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"(cannot read|expected the columns) .*x\.bin") as caught:
        read(path)
    assert "pickle=" not in str(caught.value)


def test_cut_and_wrong_arrays_are_unreadable(tmp_path):
    np.save(tmp_path / "whole.npy", np.ones((9, 9)))
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-80])
    for read, name in ((load_array, "cut.npy"), (load_array, "other.npz"), (load_graph, "other.npz")):
        with pytest.raises(ValueError, match=f"cannot read .*{name}: "):
            read(tmp_path / name)


def test_ids_keep_their_form(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("plain,zeros,names,gaps,big,rating\n1,001,NA,1,1,NA\n-20,2,null,,99999999999999999999,3\n")
    ids = ["plain", "zeros", "names", "gaps", "big"]
    frame = read_columns(path, ids, ids=ids)
    assert frame["plain"].tolist() == [1, -20]
    assert frame["zeros"].tolist() == ["001", "2"]
    assert frame["names"].tolist() == ["NA", "null"]
    assert frame["gaps"].isna().tolist() == [False, True]
    assert frame["big"].tolist() == ["1", "99999999999999999999"]
    assert frame["rating"].isna().tolist() == [True, False]


@pytest.mark.parametrize("dense", [np.ones((2, 3)), np.array([[np.nan]])])
def test_graphs_must_be_square_and_finite(tmp_path, dense):
    sp.save_npz(tmp_path / "x.npz", sp.csr_array(dense))
    with pytest.raises(ValueError, match="expected a square kNN graph"):
        load_graph(tmp_path / "x.npz")


def test_graphs_of_any_sparse_format_become_csr(tmp_path):
    sp.save_npz(tmp_path / "x.npz", sp.coo_matrix(np.eye(3)))
    graph = load_graph(tmp_path / "x.npz")
    assert isinstance(graph, sp.csr_array)
    assert (graph.toarray() == np.eye(3)).all()


def test_texts_are_decoded_and_joined():
    frame = pd.DataFrame({"title": ["A&amp;B&reg;", None, " "], "plot": ["x", "y", None]})
    assert join_texts(frame, ["title", "plot"]).tolist() == ["A&B\u00ae\nx", "y", ""]
