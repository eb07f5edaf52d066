"""Score fusion: the sum of z-scores, its parts and weight chosen on validation, the test set scored once."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from graphrec.config import ConfigError
from graphrec.evaluation.ranking import evaluate
from graphrec.pipeline import BenchmarkConfig, benchmark, load
from graphrec.pipeline.fusion import Fused, z_scores
from graphrec.runs import RunFolderError
from graphrec.testing import block_data

FAST = {"max_epochs": 3, "batch_size": 64, "learning_rate": 0.01, "metric": "Recall@5"}
SMALL = {"training": FAST, "graph": {"neighbors": 4}, "evaluation": {"ks": [5], "metrics": ["recall", "ndcg"]}}
MODELS = {
    "ease": {"model": {"name": "ease"}},
    "popularity": {"model": {"name": "popularity"}},
    "gcn": {"model": {"name": "lightgcn"}},
}
FUSION = {"first": ["popularity", "ease"], "second": ["gcn"], "weights": [0.25, 0.5, 0.75]}
REFIT = {"model": {"name": "lightgcn"}, "training": {"refit": True}}
CONFIG = SMALL | {"seeds": [0, 1], "models": MODELS, "fusions": {"sum": FUSION}}


@pytest.fixture(scope="module")
def data():
    return block_data()


@pytest.fixture(scope="module")
def found(data, tmp_path_factory):
    return benchmark(CONFIG, tmp_path_factory.mktemp("fusion"), data=data)


def test_z_scores_equal_numpys():
    scores = torch.rand(4, 9, generator=torch.Generator().manual_seed(0))
    values = scores.numpy()
    expected = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    np.testing.assert_allclose(z_scores(scores).numpy(), expected, atol=1e-5)


def test_the_parts_and_the_weight_are_those_that_are_best_on_validation(data, found):
    fused = [run for run in found.runs if run.metrics()["kind"] == "fusion"]
    assert [run.path.name for run in fused] == ["seed-0", "seed-1"]
    metrics = fused[1].metrics()
    assert metrics["fusion"] == ["ease/seed-0", "gcn/seed-1"]
    parts = [load(run.path) for run in found.runs if str(run.path).endswith(("ease/seed-0", "gcn/seed-1"))]
    recall = {
        weight: evaluate(
            Fused(*(part.scorer for part in parts), weight),
            seen=data.split.train, truth=data.split.valid, metrics=("recall",), ks=(5,),
        ).mean()["Recall@5"]
        for weight in FUSION["weights"]
    }  # fmt: skip
    assert metrics["weight"] == max(recall, key=recall.get)
    assert metrics["valid"]["Recall@5"] == recall[metrics["weight"]]
    assert fused[1].config()["weights"] == {str(weight): value for weight, value in recall.items()}
    assert len(fused[1].users("test")) == metrics["test_users"]


def test_a_finished_fusion_is_not_made_again(data, found):
    root = found.runs[0].path.parent.parent
    again = benchmark(CONFIG, root, data=data)
    fused = [run for run in again.runs if run.metrics()["kind"] == "fusion"]
    assert [len(run.evaluations()) for run in fused] == [1, 1]
    other = CONFIG | {"fusions": {"sum": FUSION | {"weights": [0.5]}}}
    assert "fusion of other runs" in benchmark(other, root, data=data).failures[0].reason
    with pytest.raises(RunFolderError, match="scores of a fusion, which is no model"):
        load(fused[0].path)


@pytest.mark.parametrize("name", ["users-test.parquet", "config.yaml", "data.json"])
@pytest.mark.parametrize("label", ["sum", "gcn"])
def test_a_finished_row_that_is_damaged_fails_alone(data, found, tmp_path, label, name):
    shutil.copytree(found.runs[0].path.parent.parent, tmp_path, dirs_exist_ok=True)
    damaged = tmp_path / label / "seed-1" / name
    damaged.unlink()
    damaged.write_text("{")
    again = benchmark(CONFIG, tmp_path, data=data)
    assert (again.failures[0].label, name in again.failures[0].reason) == (label, True)
    kept = {run.metrics()["label"] for run in again.runs}
    assert {"ease", "gcn"} <= kept


@pytest.mark.parametrize(
    ("fusions", "message"),
    [
        ({"sum": {"first": ["eas"], "second": ["gcn"]}}, "unknown label 'eas': did you mean 'ease'"),
        ({"ease": {"first": ["ease"], "second": ["gcn"]}}, "a label that no model has"),
        ({"sum": {"first": ["ease"], "second": []}}, "second"),
        ({"sum": {"first": ["ease"], "second": ["gcn"], "weights": [2]}}, "weights"),
        ({"sum": {"first": ["ease"], "second": ["refit"]}}, r"without training\.refit, got 'refit'"),
    ],
)
def test_wrong_fusions_name_their_place(fusions, message):
    with pytest.raises(ConfigError, match=message):
        BenchmarkConfig.parse(CONFIG | {"models": MODELS | {"refit": REFIT}, "fusions": fusions})


def test_a_fusion_waits_until_all_of_its_candidates_are_finished(data, found, tmp_path):
    root = found.runs[0].path.parent.parent
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "sum")
    shutil.rmtree(tmp_path / "gcn" / "seed-1")
    (tmp_path / "gcn" / "seed-1").mkdir()
    (tmp_path / "gcn" / "seed-1" / "mine.txt").touch()
    failures = benchmark(CONFIG, tmp_path, data=data).failures
    assert [(failure.label, failure.seed) for failure in failures] == [("gcn", 1), ("sum", None)]
    assert "'gcn' with seed 1 is not finished" in failures[1].reason
    assert not (tmp_path / "sum").exists()
    (tmp_path / "gcn" / "seed-1" / "mine.txt").unlink()
    again = benchmark(CONFIG, tmp_path, data=data)
    assert not again.failures
    assert [run.metrics()["test"] for run in again.runs] == [run.metrics()["test"] for run in found.runs]


def test_a_fusion_leaves_a_folder_of_something_else_alone(data, found, tmp_path):
    shutil.copytree(found.runs[0].path.parent.parent, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "sum")
    (tmp_path / "sum" / "seed-0").mkdir(parents=True)
    (tmp_path / "sum" / "seed-0" / "mine.txt").touch()
    failures = benchmark(CONFIG, tmp_path, data=data).failures
    assert ["with other files" in failure.reason for failure in failures] == [True]
