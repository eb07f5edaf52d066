"""Benchmarks: going on where they stopped, sharing files, the oracle; and the data of a run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock

import graphrec
from graphrec.config import ConfigError, dump_yaml
from graphrec.data.dataset import Split
from graphrec.evaluation.ranking import evaluate
from graphrec.models.hetero_lightgcn import HeteroLightGCN
from graphrec.models.mf import MF
from graphrec.pipeline import benchmark, cells, load, result, run
from graphrec.pipeline.config import DataConfig, fingerprint_of
from graphrec.pipeline.prepare import identity, load_data, prepare
from graphrec.runs import RunFolder, RunFolderError, peak_memory
from graphrec.testing import block_data
from graphrec.training.trainer import Trainer

FAST = {"max_epochs": 3, "batch_size": 64, "learning_rate": 0.01, "metric": "Recall@5"}
SMALL = {"training": FAST, "graph": {"neighbors": 4}, "evaluation": {"ks": [5], "metrics": ["recall", "ndcg"]}}


@pytest.fixture(scope="module")
def data():
    return block_data()


def settings(name: str = "lightgcn", seed: int = 0, training: dict | None = None, **options) -> dict:
    return SMALL | {"model": {"name": name, **options}, "seed": seed, "training": FAST | (training or {})}


MODELS = {
    "ease": {"model": {"name": "ease"}},
    "mf": {"model": {"name": "mf"}},
    "gcn": {"model": {"name": "lightgcn"}, "training": {"max_epochs": 2}},
}


def test_benchmark_goes_on_where_it_stopped(data, tmp_path, monkeypatch):
    config = SMALL | {"seeds": [0, 1], "models": MODELS, "reference": "gcn"}
    places = benchmark(config, tmp_path, data=data).runs
    names = [str(place.path.relative_to(tmp_path.resolve())) for place in places]
    assert names == ["ease/seed-0", "mf/seed-0", "mf/seed-1", "gcn/seed-0", "gcn/seed-1"]
    scores = [place.metrics()["test"] for place in places]
    assert scores[1] != scores[2]
    (tmp_path / "gcn" / "seed-1" / "metrics.json").unlink()  # as if it had stopped just before the end
    calls = []
    original = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda *a, **k: calls.append(1) or original(*a, **k))
    again = benchmark(config, tmp_path, data=data).runs
    assert len(calls) == 1
    assert [place.metrics()["test"] for place in again] == scores
    assert all(len(place.evaluations()) == 1 for place in again[:-1])


def test_a_finished_run_whose_scores_are_damaged_fails_alone(data, tmp_path):
    config = SMALL | {"seeds": [0], "models": MODELS}
    benchmark(config, tmp_path, data=data)
    (tmp_path / "mf" / "seed-0" / "users-test.parquet").write_bytes(b"PAR1")
    found = benchmark(config, tmp_path, data=data)
    assert [(failure.label, failure.seed) for failure in found.failures] == [("mf", 0)]
    assert "users-test.parquet" in found.failures[0].reason
    assert [place.path.parent.name for place in found.runs] == ["ease", "gcn"]


def test_a_run_of_a_version_with_fewer_settings_has_their_defaults(data, tmp_path, monkeypatch):
    model = {"name": "hetero-lightgcn", "linear": {"weight": 0.1}}
    config = SMALL | {"seeds": [0], "models": {"hetero": {"model": model}}}
    place = benchmark(config, tmp_path, data=data).runs[0]
    written = place.config()
    del written["model"]["linear"]["max_items"]
    (place.path / "config.yaml").write_text(dump_yaml(written))
    place.write_metrics(place.metrics() | {"config": fingerprint_of(written)})
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert benchmark(config, tmp_path, data=data).runs == [place]
    other = {"hetero": {"model": model | {"linear": {"weight": 0.1, "max_items": 9}}}}
    with pytest.raises(RunFolderError, match="other settings or data"):
        benchmark(config | {"models": other}, tmp_path, data=data)
    monkeypatch.setattr(HeteroLightGCN, "results_version", 99)
    with pytest.raises(RunFolderError, match="other settings or data"):
        benchmark(config, tmp_path, data=data)


def test_benchmark_equals_single_runs_and_shares_files(data, tmp_path):
    places = benchmark(SMALL | {"seeds": [1], "models": MODELS}, tmp_path, data=data).runs
    alone = run(settings(seed=1, training={"max_epochs": 2}), data=data)
    assert places[2].metrics()["test"] == alone.evaluate().mean()
    inodes = {(place.path / "graph.safetensors").stat().st_ino for place in places}
    assert len(inodes) == 1
    assert load(places[2].path).recommend(["u0"]).equals(alone.recommend(["u0"]))


def test_benchmark_refuses_a_folder_with_other_settings(data, tmp_path):
    models = {"ease": MODELS["ease"]}
    benchmark(SMALL | {"seeds": [0], "models": models}, tmp_path, data=data)
    with pytest.raises(RunFolderError, match="other settings or data"):
        benchmark(SMALL | {"seeds": [0], "models": models}, tmp_path, data=block_data(seed=4))


def test_benchmark_adds_the_oracle_where_the_truth_is_known(tmp_path):
    data = graphrec.generate(400, folder=tmp_path / "pictures")
    models = {"popularity": {"model": {"name": "popularity"}}}
    places = benchmark(SMALL | {"seeds": [0], "models": models}, tmp_path / "out", data=data).runs
    expected = evaluate(
        Truth(data.truth), seen=data.split.train, truth=data.test, metrics=("recall", "ndcg"), ks=(5,)
    ).mean()
    assert places[-1].path.name == "oracle"
    assert places[-1].metrics()["test"] == expected
    assert expected["Recall@5"] > places[0].metrics()["test"]["Recall@5"]
    with pytest.raises(RunFolderError, match="known ceiling, which is no model"):
        load(places[-1].path)
    for name in ("data.json", "metrics.json", "users-test.parquet"):
        kept = (places[-1].path / name).read_bytes()
        (places[-1].path / name).write_text("{")
        found = benchmark(SMALL | {"seeds": [0], "models": models}, tmp_path / "out", data=data)
        assert [(failure.label, name in failure.reason) for failure in found.failures] == [("oracle", True)]
        assert [run.path.parent.name for run in found.runs] == ["popularity"]
        (places[-1].path / name).write_bytes(kept)


class Truth:
    def __init__(self, truth):
        self.truth = truth

    def score(self, users):
        return torch.as_tensor(np.array(self.truth.score(users.numpy())))


def test_data_config_splits_anew_and_drops_unseen(tmp_path):
    frame = pd.DataFrame({"user": np.repeat(np.arange(20), 10), "item": np.tile(np.arange(10), 20)})
    frame.to_csv(tmp_path / "table.csv", index=False)
    config = DataConfig(name=str(tmp_path / "table.csv"), split={"name": "leave-one-out"}, drop_unseen=True)
    found = load_data(config)
    assert len(found.test) == len(found.split.valid) == 20
    assert any(note.startswith("split anew") for note in found.notes)
    assert any(note.startswith("unseen ids dropped") for note in found.notes)


def test_run_from_a_file(tmp_path):
    values = settings("popularity") | {"data": {"name": "synthetic:300"}}
    (tmp_path / "run.yaml").write_text(dump_yaml(values))
    assert run(tmp_path / "run.yaml", folder=tmp_path / "run").metrics["test_users"] > 0
    assert load(str(tmp_path / "run")).config.label == "popularity"


def test_identity_knows_valid_and_test(data):
    assert identity(data) == identity(block_data())
    assert identity(replace(data, test=data.test.take([0]))) != identity(data)
    assert identity(replace(data, split=Split(data.split.train, data.split.valid.take([0])))) != identity(data)


def test_peak_memory_is_plausible():
    found = peak_memory()
    assert found is None or 50 < found < 1_000_000


CELLS = {
    "mf": {"model": {"name": "mf"}},
    "bad": {"model": {"name": "freedom", "weights": {"smell": 1.0}}},
    "diverges": {"model": {"name": "lightgcn"}, "training": {"learning_rate": 1e30}},
    "ease": {"model": {"name": "ease"}},
}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failed_cell_is_reported_and_does_not_stop_the_rest(jobs, data, tmp_path, caplog):
    (tmp_path / "ease" / "seed-0").mkdir(parents=True)
    (tmp_path / "ease" / "seed-0" / "thesis.txt").write_text("mine")
    config = SMALL | {"seeds": [0, 1], "models": CELLS}
    found = benchmark(config, tmp_path, data=data, jobs=jobs)
    names = [str(place.path.relative_to(tmp_path.resolve())) for place in found.runs]
    assert names == ["mf/seed-0", "mf/seed-1"]
    reasons = {(failure.label, failure.seed): failure.reason for failure in found.failures}
    assert sorted(reasons) == [("bad", 0), ("bad", 1), ("diverges", 0), ("diverges", 1), ("ease", 0)]
    assert "unknown modality 'smell'" in reasons["bad", 1]
    assert "with other files" in reasons["ease", 0]
    assert "became" in reasons["diverges", 0]
    written = json.loads((tmp_path / "failures.json").read_text())["failures"]
    assert [(entry["label"], entry["seed"]) for entry in written] == [(one.label, one.seed) for one in found.failures]
    assert "diverges, seed 0 failed" in caplog.text
    benchmark(config | {"models": {"mf": CELLS["mf"]}}, tmp_path, data=data)
    assert not (tmp_path / "failures.json").exists()


def test_several_jobs_find_what_one_finds(data, tmp_path):
    config = SMALL | {"seeds": [0, 1], "models": MODELS}
    one, two = (benchmark(config, tmp_path / str(jobs), data=data, jobs=jobs).runs for jobs in (1, 2))
    assert [place.metrics()["test"] for place in one] == [place.metrics()["test"] for place in two]


def test_models_share_a_graph_and_may_have_their_own(data, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(
        cells, "prepare", lambda *arguments: built.append(arguments[2].neighbors) or prepare(*arguments)
    )
    models = {
        "a": {"model": {"name": "freedom"}},
        "b": {"model": {"name": "hetero-lightgcn"}},
        "c": {"model": {"name": "freedom"}, "graph": {"neighbors": 2}},
    }
    places = benchmark(SMALL | {"seeds": [0], "models": models}, tmp_path, data=data).runs
    assert built == [4, 2]
    assert places[0].metrics()["test"] != places[2].metrics()["test"]


def test_a_benchmark_for_choices_leaves_the_test_set_alone(data, tmp_path):
    config = SMALL | {"seeds": [0], "models": {"ease": MODELS["ease"], "mf": MODELS["mf"]}}
    places = benchmark(config, tmp_path, data=data, score_test=False).runs
    assert [place.metrics()["test"] for place in places] == [None, None]
    assert all(place.metrics()["valid"]["Recall@5"] > 0 for place in places)
    assert not any(place.evaluations() for place in places)
    again = benchmark(config, tmp_path, data=data).runs
    assert all(len(place.evaluations()) == 1 for place in again)


def test_a_newer_results_version_is_another_run(data, tmp_path, monkeypatch):
    config = SMALL | {"seeds": [0], "models": {"mf": MODELS["mf"]}}
    benchmark(config, tmp_path, data=data)
    monkeypatch.setattr(MF, "results_version", 2)
    with pytest.raises(RunFolderError, match="other settings or data"):
        benchmark(config, tmp_path, data=data)


def test_a_cell_of_another_process_is_waited_for_and_the_others_come_first(data, tmp_path, monkeypatch):
    config = SMALL | {"seeds": [0, 1], "models": {"mf": MODELS["mf"]}}
    (tmp_path / ".locks").mkdir()
    order, execute = [], cells.execute

    def noted(config, *arguments, **options):
        order.append(config.seed)
        if config.seed == 1:
            other.release()  # the process that had seed 0 dies
        return execute(config, *arguments, **options)

    monkeypatch.setattr(cells, "execute", noted)
    other = FileLock(tmp_path / ".locks" / "mf-0.lock")
    with other:
        found = benchmark(config, tmp_path, data=data)
    assert order == [1, 0]
    assert not found.failures
    assert [place.path.name for place in found.runs] == ["seed-0", "seed-1"]


@pytest.mark.parametrize(("method", "call"), [("log_evaluation", 1), ("write_metrics", 2)])
def test_a_cell_that_is_killed_between_scoring_and_writing_is_finished_without_scoring_again(
    method, call, data, tmp_path, monkeypatch
):
    config = SMALL | {"seeds": [0], "models": {"mf": MODELS["mf"]}}
    calls, original = [], getattr(RunFolder, method)

    def killed(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, method, killed)
        with pytest.raises(KeyboardInterrupt):
            benchmark(config, tmp_path, data=data)
    with monkeypatch.context() as patch:
        patch.setattr(result, "measure", None)
        (place,) = benchmark(config, tmp_path, data=data).runs
    assert place.metrics()["test"] == run(settings("mf"), data=data).evaluate().mean()
    assert [entry["test"] for entry in place.evaluations()] == [place.metrics()["test"]]


class Faulty(MF):
    """A model from outside with a mistake in it."""

    results_version = 7

    def __init__(self, graph, config=None):
        super().__init__(graph, config)
        if config.embedding_dim == 3:
            raise AttributeError("no such thing")


def test_a_mistake_in_a_model_from_outside_stops_nobody_else(data, tmp_path):
    faulty = {"name": f"{__name__}:Faulty"}
    models = {"bad": {"model": faulty | {"embedding_dim": 3}}, "good": {"model": faulty}, "mf": MODELS["mf"]}
    found = benchmark(SMALL | {"seeds": [0], "models": models}, tmp_path, data=data)
    assert [str(failure) for failure in found.failures] == ["bad, seed 0: AttributeError: no such thing"]
    good, mf = found.runs
    assert good.metrics()["test"] == mf.metrics()["test"]
    assert good.metrics()["config"] != mf.metrics()["config"]


WRONG = {
    "typo": {"model": {"name": "lightgnc"}},
    "metric": {"model": {"name": "mf"}, "training": {"metric": "recal@20"}},
    "range": {"model": {"name": "mf", "embedding_dim": 0}},
    "shape": "mf",
    "oracle": {"model": {"name": "mf"}},
}


def test_rows_whose_settings_are_wrong_are_named_and_the_others_go_on(data, tmp_path, caplog):
    fusions = {
        "sum": {"first": ["ease"], "second": ["mf"], "weights": [0.5]},
        "lost": {"first": ["ease"], "second": ["typo"]},
        "unknown": {"first": ["ease"], "second": ["nothing"]},
        "mf": {"first": ["ease"], "second": ["mf"]},
        "metric": {"first": ["ease"], "second": ["mf"]},
    }
    models = WRONG | {"ease": MODELS["ease"], "mf": MODELS["mf"]}
    config = SMALL | {"seeds": [0], "models": models, "fusions": fusions, "reference": "typo"}
    found = benchmark(config, tmp_path, data=data)
    assert [run.path.parent.name for run in found.runs] == ["ease", "mf", "sum"]
    assert found.reference is None
    reasons = {failure.label: failure.reason for failure in found.failures}
    assert [*reasons] == [*WRONG, "lost", "unknown", "mf"]
    assert {failure.seed for failure in found.failures} == {None}
    assert reasons["typo"].startswith("benchmark.models.typo.model.name: unknown model 'lightgnc': did you mean")
    assert "did you mean 'recall'" in reasons["metric"]
    assert "benchmark.models.range.model.embedding_dim" in reasons["range"]
    assert "benchmark.models.shape" in reasons["shape"]
    assert reasons["lost"] == "benchmark.fusions.lost: typo cannot be run; mend it, or leave it out"
    assert "unknown label 'nothing'" in reasons["unknown"]
    assert reasons["mf"] == "benchmark.fusions.mf: expected a label that no model has, got 'mf'"
    written = json.loads((tmp_path / "failures.json").read_text())["failures"]
    assert {entry["label"]: entry["reason"] for entry in written} == reasons
    assert all(f"{label} cannot be run" in caplog.text for label in reasons)
    mended = config | {"models": models | {"typo": MODELS["gcn"]}}
    again = benchmark(mended, tmp_path, data=data)
    assert [run.path.parent.name for run in again.runs] == ["typo", "ease", "mf", "sum", "lost"]
    assert again.reference == "typo"
    assert len(again.runs[2].evaluations()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {"typo": WRONG["typo"]}}, r"models\.typo\.model\.name: unknown model 'lightgnc'"),
        ({"models": {}}, r"benchmark\.models"),
        ({"models": ["mf"]}, r"benchmark\.models"),
        ({"fusions": ["mf"]}, r"benchmark\.fusions"),
        ({"evaluation": {"metrics": ["recal"]}}, r"benchmark\.evaluation\.metrics: unknown metric 'recal'"),
        ({"seeds": [1, 1]}, "different seeds"),
        ({"reference": "eas"}, r"benchmark\.reference: unknown label 'eas': did you mean 'ease'"),
    ],
)
def test_what_all_rows_share_must_be_right(change, message, data, tmp_path):
    config = SMALL | {"models": WRONG | {"ease": MODELS["ease"]}} | change
    with pytest.raises(ConfigError, match=message):
        benchmark(config, tmp_path / "out", data=data)
    assert not (tmp_path / "out").exists()
