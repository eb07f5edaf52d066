import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from graphrec.data.files import join_texts, load_array, load_graph, read_columns, require_file


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
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_array(tmp_path / "x.npy")


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
