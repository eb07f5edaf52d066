"""Trackers write what they are given, close whatever happens, and never cost a training."""

from __future__ import annotations

import json
import sys

import pytest

from graphrec.runtime import MissingExtraError
from graphrec.training import remote
from graphrec.training.tracking import Forgiving, JsonLines, Trackers, require_trackers, trackers

CONFIG = {"label": "mf", "seed": 0, "model": {"name": "mf", "l2": 0.1}, "evaluation": {"ks": [5, 10]}}


class Recorder:
    """Remembers what it is told; fails at the epochs it is told to."""

    def __init__(self, fails=()):
        self.told, self.fails = [], fails

    def log(self, epoch, values):
        if epoch in self.fails:
            raise ConnectionError("the server is gone")
        self.told.append((epoch, dict(values)))

    def final(self, values):
        self.told.append(("final", dict(values)))

    def close(self):
        self.told.append("closed")


def fails(found, error, **values):
    """Logs an epoch, then fails as a training may."""
    with found:
        found.log(1, values)
        raise error


class Logger:
    """A tracker that only follows epochs."""

    def __init__(self):
        self.told = []

    def log(self, epoch, values):
        self.told.append(epoch)

    def close(self):
        self.told.append("closed")


def test_json_lines_appends(tmp_path):
    path = tmp_path / "logs" / "history.jsonl"
    for _ in range(2):
        JsonLines(path).log(1, {"bpr": 0.5})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"epoch": 1, "bpr": 0.5}] * 2


def test_tensorboard_writes_an_event_file_with_the_values_and_the_config(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with trackers(["tensorboard"], tmp_path, name="mf", config=CONFIG) as found:
        found.log(3, {"Recall@20": 0.25, "coupling/text": 0.1})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("Recall@20")] == [(3, 0.25)]
    assert b"    l2: 0.1" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].replace(
        b"      ", b"    "
    )
    assert json.loads((tmp_path / "history.jsonl").read_text())["coupling/text"] == 0.1


def test_json_lines_are_always_written_and_others_are_told_last(tmp_path):
    other = Logger()
    with trackers([], tmp_path, name="mf", config=CONFIG, others=[other]) as found:
        found.log(1, {"bpr": 0.5})
        found.final({"best_epoch": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]
    assert other.told == [1, "closed"]


def test_all_are_closed_on_an_error_even_if_one_cannot_be():
    class Stuck(Recorder):
        def close(self):
            raise OSError("no space left")

    first, last = Recorder(), Recorder()
    with pytest.raises(OSError, match="no space"):
        fails(Trackers([first, Stuck(), last]), FloatingPointError())
    assert first.told == last.told == [(1, {}), "closed"]


def test_a_tracker_that_fails_is_left_out_with_one_warning(caplog):
    faulty, sound = Recorder(fails=(2,)), Recorder()
    with Trackers([Forgiving(faulty, "mlflow"), sound]) as found:
        for epoch in (1, 2, 3):
            found.log(epoch, {})
        found.final({})
    assert faulty.told == [(1, {})]
    assert sound.told == [(1, {}), (2, {}), (3, {}), ("final", {}), "closed"]
    assert [record.getMessage() for record in caplog.records] == [
        "mlflow failed and is left out from here on: the server is gone"
    ]


def test_what_a_tracker_of_the_caller_raises_ends_the_training(tmp_path):
    with (
        pytest.raises(ConnectionError),
        trackers([], tmp_path, name="mf", config={}, others=[Recorder(fails=(1,))]) as found,
    ):
        found.log(1, {})


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_extra_is_told_before_anything_is_written(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    for call in (
        lambda: require_trackers(["tensorboard", name]),
        lambda: trackers(["tensorboard", name], tmp_path / "run", name="mf", config=CONFIG),
    ):
        with pytest.raises(MissingExtraError, match=rf"pip install \"graphrec\[{name}\]\""):
            call()
    assert not (tmp_path / "run").exists()


def test_trackers_already_open_are_closed_when_the_next_cannot_be_opened(tmp_path, monkeypatch):
    opened = Recorder()

    def refuse(folder, **settings):
        raise ConnectionError("no server")

    monkeypatch.setattr(remote, "CLIENTS", {"mlflow": lambda folder, **settings: opened, "wandb": refuse})
    with pytest.raises(ConnectionError, match="no server"):
        trackers(["mlflow", "wandb"], tmp_path, name="mf", config=CONFIG)
    assert opened.told == ["closed"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    return f"sqlite:///{tmp_path_factory.mktemp('server')}/server.db"


@pytest.fixture
def mlflow_client(server, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    return mlflow.MlflowClient(tracking_uri=server)


def test_mlflow_has_config_epochs_and_what_the_run_came_to(tmp_path, mlflow_client):
    def only_run():
        (run,) = mlflow_client.search_runs([mlflow_client.get_experiment_by_name(tmp_path.name).experiment_id])
        return run

    found = trackers(["mlflow"], tmp_path, name="mf, seed 0", config=CONFIG)
    with pytest.raises(FloatingPointError):
        fails(found, FloatingPointError(), **{"bpr": 0.5, "Recall@20": 0.1, "coupling/text": 0.3})
    assert (only_run().info.run_name, only_run().info.status) == ("mf, seed 0", "FAILED")
    resumed = trackers(["mlflow"], tmp_path, name="mf, seed 0", config=CONFIG | {"seed": 1})
    with resumed:
        resumed.log(2, {"bpr": 0.4, "Recall@20": 0.2})
        resumed.final({"best_epoch": 2})
    run = only_run()
    assert run.info.status == "FINISHED"
    expected = {"label": "mf", "seed": "0", "model.name": "mf", "model.l2": "0.1", "evaluation.ks": "[5, 10]"}
    assert run.data.params == expected
    assert run.data.metrics == {
        "bpr": 0.4, "Recall_at_20": 0.2, "coupling/text": 0.3, "final/best_epoch": 2.0,
    }  # fmt: skip
    history = mlflow_client.get_metric_history(run.info.run_id, "Recall_at_20")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.1), (2, 0.2)]
    assert not (tmp_path / "mlflow" / "mlflow.db").exists()


def test_mlflow_keeps_to_the_folder_without_a_server(tmp_path, monkeypatch):
    pytest.importorskip("sqlalchemy")
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with trackers(["mlflow"], tmp_path / "run", name="mf", config=CONFIG) as found:
        found.log(1, {"bpr": 0.5})
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/run/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("graphrec")
    assert experiment.artifact_location == (tmp_path / "run" / "mlflow" / "artifacts").as_uri()
    assert [run.data.metrics for run in client.search_runs([experiment.experiment_id])] == [{"bpr": 0.5}]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_mlflow_makes_a_new_run_where_the_old_one_is_unknown(tmp_path, mlflow_client, caplog):
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "run-id").write_text("0" * 32)
    remote.MLflow(tmp_path / "mlflow", name="mf", config=CONFIG).close()
    assert "MLflow does not know the run" in caplog.text
    kept = (tmp_path / "mlflow" / "run-id").read_text()
    assert mlflow_client.get_run(kept).info.status == "FAILED"


def test_mlflow_takes_the_experiment_that_another_process_makes_at_the_same_time(tmp_path, mlflow_client, monkeypatch):
    made = mlflow_client.create_experiment(tmp_path.name)
    look, calls = type(mlflow_client).get_experiment_by_name, []

    def too_early(client, name):
        calls.append(name)
        return None if len(calls) == 1 else look(client, name)

    monkeypatch.setattr(type(mlflow_client), "get_experiment_by_name", too_early)
    remote.MLflow(tmp_path / "mlflow", name="mf", config=CONFIG).close()
    assert len(mlflow_client.search_runs([made])) == 1


def offline_records(folder):
    """Returns the records of all offline runs in a folder: a LevelDB log of protobuf messages, below one block."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # its writer is a process of its own
    found = []
    for path in sorted(folder.rglob("*.wandb")):
        data, place = path.read_bytes(), 7  # the header of the file
        assert len(data) < 1 << 15
        while place < len(data):
            length = int.from_bytes(data[place + 4 : place + 6], "little")  # after a checksum; then a kind
            found.append(wandb_internal_pb2.Record.FromString(data[place + 7 : place + 7 + length]))
            place += 7 + length
    return found


@pytest.fixture
def no_login(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.mark.usefixtures("no_login")
def test_wandb_logs_offline_without_a_login(tmp_path):
    with trackers(["wandb"], tmp_path, name="mf, seed 0", config=CONFIG) as found:
        found.log(1, {"bpr": 0.5, "Recall@20": 0.1})
        found.log(2, {"bpr": 0.4, "Recall@20": 0.2})
        found.final({"best_epoch": 2})
    records = offline_records(tmp_path / "wandb")
    run = next(record.run for record in records if record.HasField("run"))
    assert (run.project, run.display_name) == ("graphrec", "mf, seed 0")
    assert {entry.key: json.loads(entry.value_json) for entry in run.config.update if entry.key != "_wandb"} == CONFIG
    rows = [
        {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [(row["_step"], row["bpr"], row["Recall@20"]) for row in rows] == [(1, 0.5, 0.1), (2, 0.4, 0.2)]
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [0]
    assert any("final/best_epoch" in str(record.summary) for record in records if record.HasField("summary"))


@pytest.mark.usefixtures("no_login")
def test_wandb_resumes_the_same_run_and_an_error_is_told(tmp_path):
    for _ in range(2):
        found = trackers(["wandb"], tmp_path, name="mf", config=CONFIG)
        with pytest.raises(KeyError):
            fails(found, KeyError(), bpr=0.5)
    records = offline_records(tmp_path / "wandb")
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [1, 1]
    assert len({record.run.run_id for record in records if record.HasField("run")}) == 1
