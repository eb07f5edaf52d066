"""The run folder: everything comes back, nothing is half written, foreign and damaged folders are named."""

from __future__ import annotations

import importlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import HeteroData

import graphrec
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Split
from graphrec.data.files import write_bytes, write_json
from graphrec.data.interactions import Ids, Interactions
from graphrec.evaluation.ranking import Evaluation
from graphrec.graph.build import build_graph
from graphrec.runs import (
    RunFolder,
    RunFolderError,
    find_runs,
    load_dataset,
    load_graph,
    open_run,
    save_dataset,
    save_graph,
    share_dataset,
    share_graph,
)
from graphrec.runs.environment import environment, git_revision
from graphrec.runs.files import read_json, share
from graphrec.runs.ids import decode, encode, from_table, to_table
from graphrec.testing import block_data

ID_LISTS = {
    "int": [7, -1, 2**40],
    "str": ["b", "ä/ö", "1"],
    "float": [0.5, 1.25, -3.0],
    "bool": [True, False],
    "bytes": [b"\x00\xff", b"a"],
    "tuple": [(1, "x"), (2, ("y", 3.5))],
    "mixed": [1, "1", 2.5, (1,)],
    "timestamp": [pd.Timestamp("2024-01-02 03:04:05.678901"), pd.Timestamp("2020-01-01")],
    "zoned": [pd.Timestamp("2024-01-02", tz="UTC"), pd.Timestamp("2020-01-01", tz="UTC")],
}


@pytest.mark.parametrize("values", ID_LISTS.values(), ids=ID_LISTS)
def test_ids_of_any_type_round_trip(values, tmp_path):
    ids = Ids(values, name="item")
    found = from_table(to_table(ids))
    assert found == ids
    assert found.fingerprint() == ids.fingerprint()
    assert found.name == "item"
    assert decode(encode(values)) == values


def test_ids_that_need_a_pickle_are_refused():
    with pytest.raises(ValueError, match=r"expected ids that are numbers, texts.*turn the ids into texts"):
        to_table(Ids([frozenset({1}), frozenset({2})]))


@pytest.fixture
def data(tmp_path) -> Dataset:
    users, items = Ids(["u", "v", "w"], name="user"), Ids([10, 20, 30, 40], name="item")

    def part(user, item, **extra):
        return Interactions(np.array(user), np.array(item), users, items, **extra)

    train = part([0, 1, 2], [0, 1, 2], weight=np.float32([1, 2.5, 3]), time=np.array([5, 2**60 + 1, 7]))
    valid = part([0], [1], time=np.array([9]))
    columns = {"image": {10: Path("a.png")}, "text": {20: "words", 40: "more"}, "price": {30: 1.5}}
    return Dataset(
        "tiny",
        Split(train, valid),
        part([1, 1], [2, 3]),
        Catalog.from_columns(items, columns),
        Catalog.empty(users),
        notes=("a note",),
    )


def test_dataset_round_trip(data, tmp_path):
    save_dataset(tmp_path / "dataset", data)
    found = load_dataset(tmp_path / "dataset")
    for before, after in (
        (data.split.train, found.split.train),
        (data.split.valid, found.split.valid),
        (data.test, found.test),
    ):
        assert after.fingerprint() == before.fingerprint()
        np.testing.assert_array_equal(after.user, before.user)
        for field in ("weight", "time"):
            expected, got = getattr(before, field), getattr(after, field)
            assert (got is None) == (expected is None)
            if expected is not None:
                np.testing.assert_array_equal(got, expected)
                assert got.dtype == expected.dtype
    assert found.name == "tiny"
    assert found.notes == ("a note",)
    for column in data.items.columns:
        assert found.items.values(column) == data.items.values(column)


def test_what_is_known_of_users_round_trips(data, tmp_path):
    users = data.split.users
    one = users.index[0]
    known = replace(data, people=Catalog.from_columns(users, {"age": {one: 31}, "photo": {one: Path("b.png")}}))
    save_dataset(tmp_path / "first", known)
    share_dataset(tmp_path / "first", tmp_path / "second")
    people = load_dataset(tmp_path / "second").people
    assert people.columns == ("age", "photo")
    for column in people.columns:
        assert people.values(column) == known.people.values(column)


def test_dataset_with_dates_round_trips(tmp_path):
    frame = pd.DataFrame({"user": np.repeat(np.arange(5), 10), "item": np.tile(np.arange(10), 5)})
    frame["time"] = pd.date_range("2024-01-01", periods=50, freq="h")
    data = graphrec.from_dataframe(frame, time="time")
    save_dataset(tmp_path, data)
    np.testing.assert_array_equal(load_dataset(tmp_path).split.train.time, data.split.train.time)


def test_damaged_dataset_is_named(data, tmp_path):
    save_dataset(tmp_path, data)
    (tmp_path / "interactions.parquet").write_bytes(b"not parquet")
    with pytest.raises(RunFolderError, match=r"cannot read .*interactions\.parquet"):
        load_dataset(tmp_path)


def assert_same_graph(first: HeteroData, second: HeteroData) -> None:
    assert set(first.node_types) == set(second.node_types)
    assert set(first.edge_types) == set(second.edge_types)
    for store in (*first.node_types, *first.edge_types):
        assert set(first[store].keys()) == set(second[store].keys())
        for key, value in first[store].items():
            other = second[store][key]
            if isinstance(value, torch.Tensor):
                assert value.dtype == other.dtype
                assert torch.equal(value, other), (store, key)
            else:
                assert value == other


def test_graph_round_trip_with_reverse_edges(data, tmp_path):
    graph = build_graph(block_data())
    save_graph(tmp_path, graph)
    assert_same_graph(graph, load_graph(tmp_path))
    weighted = build_graph(data, features={})
    save_graph(tmp_path / "weighted", weighted)
    assert_same_graph(weighted, load_graph(tmp_path / "weighted"))


def test_graph_is_stored_narrow_and_without_reverse_edges(tmp_path):
    from safetensors.torch import load_file

    graph = build_graph(block_data())
    save_graph(tmp_path, graph)
    stored = load_file(tmp_path / "graph.safetensors")
    edges = [value for name, value in stored.items() if name.endswith("edge_index")]
    assert len(edges) == len(graph.edge_types) / 2
    assert {value.dtype for value in edges} == {torch.int32}


def test_rows_beyond_int32_stay_wide(tmp_path):
    graph = build_graph(block_data())
    graph["item"].big = torch.full((graph["item"].num_nodes,), 2**40)
    save_graph(tmp_path, graph)
    assert torch.equal(load_graph(tmp_path)["item"].big, graph["item"].big)


def test_damaged_graph_is_named(tmp_path):
    save_graph(tmp_path, build_graph(block_data()))
    content = (tmp_path / "graph.safetensors").read_bytes()
    (tmp_path / "graph.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(RunFolderError, match="cannot read the graph"):
        load_graph(tmp_path)


def test_shared_files_survive_a_new_version_of_the_source(tmp_path):
    save_graph(tmp_path / "one", build_graph(block_data()))
    share_graph(tmp_path / "one", tmp_path / "two")
    before = (tmp_path / "two" / "graph.safetensors").read_bytes()
    write_bytes(tmp_path / "one" / "graph.safetensors", b"new")
    assert (tmp_path / "two" / "graph.safetensors").read_bytes() == before


def test_sharing_falls_back_to_a_copy(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "a").write_text("content")
    share(tmp_path / "a", tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b").read_text() == "content"


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_json(path, {"old": 1})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*No space left on device; what was there before is unchanged"):
        write_json(path, {"new": 2})
    assert read_json(path) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    found = RunFolder(tmp_path / "run")
    found.begin({"model": {"name": "mf"}, "seed": 3}, {"name": "tiny", "identity": "abc"})
    return found


def test_run_folder_states(folder):
    assert folder.exists()
    assert not folder.is_complete()
    folder.check_free()
    with pytest.raises(RunFolderError, match="not finished"):
        open_run(folder.path)
    folder.write_metrics({"test": {"Recall@20": 0.1}})
    assert open_run(folder.path) == folder
    assert folder.config() == {"model": {"name": "mf"}, "seed": 3}
    assert folder.data()["identity"] == "abc"
    with pytest.raises(RunFolderError, match="already holds a finished run"):
        folder.check_free()
    assert find_runs(folder.path.parent) == [folder]


def test_foreign_folders_are_refused(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(RunFolderError, match="with other files"):
        RunFolder(tmp_path).check_free()
    with pytest.raises(RunFolderError, match=r"expected a run folder, got .* without environment\.json"):
        open_run(tmp_path)
    with pytest.raises(RunFolderError, match="found none"):
        find_runs(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 99}, "expected run format 1 .* got 99"), ({"graphrec": "9.0.0"}, r"made by graphrec 9\.0\.0")],
)
def test_other_versions_are_refused(folder, change, message):
    folder.write_metrics({})
    write_json(folder.path / "environment.json", folder.environment() | change)
    with pytest.raises(RunFolderError, match=message):
        open_run(folder.path)


def test_damaged_json_is_named(folder):
    (folder.path / "metrics.json").write_text('{"test": ')
    with pytest.raises(RunFolderError, match=r"cannot read .*metrics\.json"):
        folder.metrics()
    (folder.path / "metrics.json").write_text("[]")
    with pytest.raises(RunFolderError, match="expected a mapping, got list"):
        folder.metrics()


@pytest.mark.parametrize("values", [["a", "b", "c"], [5, 6, 7], [(1, 2), "x", 3]])
def test_users_round_trip_in_full_precision(folder, values):
    frame = pd.DataFrame({"Recall@20": [1 / 3, 0.1]}, index=pd.Index([0, 2], name="user"))
    folder.write_users("test", Evaluation(frame, Ids(values, name="user")))
    found = folder.users("test")
    assert found.index.tolist() == [values[0], values[2]]
    assert found["Recall@20"].tolist() == [1 / 3, 0.1]
    assert not folder.has_users("valid")


def test_history_and_evaluations_are_lines(folder):
    assert folder.history() == []
    folder.write_history([{"epoch": 1, "bpr": 0.5}, {"epoch": 2, "bpr": 0.4}])
    assert [row["epoch"] for row in folder.history()] == [1, 2]
    folder.log_evaluation({"again": False})
    folder.log_evaluation({"again": True})
    assert [entry["again"] for entry in folder.evaluations()] == [False, True]


def test_weights_carry_metadata(folder):
    about = {"model": "mf", "config": "c0", "graphrec": "1", "data": "d0", "a": "b"}
    folder.write_weights({"w": torch.arange(3.0)}, about)
    assert torch.equal(folder.weights()["w"], torch.arange(3.0))
    assert folder.weights_about() == about
    first = (folder.path / "model.safetensors").read_bytes()
    for _ in range(8):
        folder.write_weights({"w": torch.arange(3.0)}, dict(reversed(about.items())))
        assert (folder.path / "model.safetensors").read_bytes() == first
    (folder.path / "model.safetensors").write_bytes(b"xx")
    for read in (folder.weights, folder.weights_about):
        with pytest.raises(RunFolderError, match="cannot read"):
            read()


def test_metadata_of_older_runs_is_read(folder):
    from safetensors.torch import save_file

    folder.path.mkdir(parents=True, exist_ok=True)
    for about in ({"model": "mf", "data": "d0"}, {}):
        save_file({"w": torch.ones(2)}, folder.path / "model.safetensors", about)
        assert folder.weights_about() == about


def test_environment_is_json_and_names_versions():
    found = json.loads(json.dumps(environment()))
    assert found["graphrec"] == graphrec.__version__
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["threads"] == torch.get_num_threads()


def test_the_revision_of_graphrec_is_known_wherever_it_is_run(tmp_path, monkeypatch):
    expected = git_revision(Path(graphrec.__file__).parents[1])
    monkeypatch.chdir(tmp_path)
    assert environment()["git"] is None
    assert environment()["graphrec git"] == expected
    module = tmp_path / "site-packages" / "graphrec" / "runs" / "environment.py"
    module.parent.mkdir(parents=True)
    (module.parents[1] / "__init__.py").touch()
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    monkeypatch.setattr(importlib.import_module("graphrec.runs.environment"), "__file__", str(module))
    assert environment()["graphrec git"] is None  # installed inside another repository


def test_git_revision_is_none_outside_a_checkout(tmp_path):
    assert git_revision(tmp_path) is None


def test_no_pickle_is_written(folder):
    folder.write_weights({"w": torch.ones(1)}, {})
    assert not [path for path in folder.path.rglob("*") if path.suffix in {".pt", ".pth", ".pkl", ".npy"}]


def test_lists_come_back_in_the_order_of_the_users(tmp_path):
    lists = np.array([[2, 0, -1], [1, 2, 0]], np.int32)
    frame = pd.DataFrame({"Recall@3": [0.0, 1.0]}, index=pd.Index([1, 0], name="user"))
    place = RunFolder(tmp_path)
    place.write_users("test", Evaluation(frame, Ids(["a", "b"], name="user"), lists))
    assert place.users("test").index.tolist() == ["b", "a"]
    assert place.has_lists("test")
    np.testing.assert_array_equal(place.lists("test"), lists)


def test_a_folder_with_only_a_half_written_first_file_is_free(tmp_path):
    (tmp_path / ".environment.json.partial").write_text("{")
    RunFolder(tmp_path).check_own()
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="with other files"):
        RunFolder(tmp_path).check_own()


def test_scores_that_an_interrupted_process_noted_are_noted_once(tmp_path):
    place = RunFolder(tmp_path)
    for recall in (0.25, 0.25, 0.5):
        place.log_first_evaluation({"test": {"Recall@5": recall}})
    assert [entry["test"]["Recall@5"] for entry in place.evaluations()] == [0.25, 0.5]
