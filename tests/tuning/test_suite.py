"""A benchmark file in full: several data sets, every model tuned under one budget, failures that stop nobody."""

from __future__ import annotations

import json

import pytest

from graphrec.config import ConfigError, load_yaml
from graphrec.models.ease import EASEConfig
from graphrec.pipeline.benchmark import benchmark, read_failures
from graphrec.testing import block_data
from graphrec.tuning import TuningError
from graphrec.tuning.suite import only_datasets, read_suite, run_suite

TRAINING = {"max_epochs": 2, "batch_size": 64, "metric": "Recall@5"}
SMALL = {"graph": {"neighbors": 4}, "evaluation": {"ks": [5], "metrics": ["recall"]}, "training": TRAINING}
MODELS = {
    "popularity": {"model": {"name": "popularity"}},
    "ease": {"model": {"name": "ease"}, "search": {"model.regularization": {"low": 1, "high": 100, "log": True}}},
    "freedom": {
        "model": {"name": "freedom", "num_layers": 1, "embedding_dim": 8, "similar_layers": 1},
        "search": {"training.learning_rate": [0.01, 0.02], "model.edge_keep": [0.5]},
    },
}
TUNED = SMALL | {"seeds": [3, 4], "tuning": {"trials": 2}, "models": MODELS}


@pytest.fixture(scope="module")
def data():
    return block_data()


@pytest.fixture(scope="module")
def tuned(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("suite")
    return root, run_suite(TUNED, root, data=data)[""]


def test_every_model_is_tuned_under_the_same_budget_and_then_run(tuned):
    root, found = tuned
    assert not found.failures
    assert [run.path.parent.name for run in found.runs] == ["popularity", "ease", "freedom", "freedom"]
    budgets = {label: json.loads((root / label / "tuning" / "study.json").read_text()) for label in ("ease", "freedom")}
    assert {study["budget"]["trials"] for study in budgets.values()} == {2}
    assert not (root / "popularity" / "tuning").exists()


def test_runs_have_the_settings_that_their_study_found(tuned):
    root, found = tuned
    best = load_yaml(root / "freedom" / "tuning" / "best.yaml")
    first, second = (run.config() for run in found.runs[2:])
    assert first["model"] == best["model"]
    assert first["training"] == best["training"]
    assert (first["model"].pop("seed"), second["model"].pop("seed")) == (3, 4)
    assert first["model"] == second["model"]


def test_the_benchmark_that_was_found_is_a_file_of_its_own(data, tuned):
    root, found = tuned
    again = run_suite(root / "benchmark.yaml", root, data=data)[""]
    assert [run.metrics()["test"] for run in again.runs] == [run.metrics()["test"] for run in found.runs]
    assert all(len(run.evaluations()) == 1 for run in again.runs)


def test_a_model_without_a_search_is_taken_as_it_is(data, tmp_path):
    models = {"ease": {"model": {"name": "ease"}, "search": False}}
    found = run_suite(TUNED | {"models": models}, tmp_path, data=data)[""]
    assert not found.failures
    assert not (tmp_path / "ease" / "tuning").exists()
    assert found.runs[0].config()["model"]["regularization"] == EASEConfig().regularization


def test_data_sets_lie_beside_each_other_and_one_that_is_missing_stops_nobody(tmp_path):
    datasets = {
        "small": {"data": {"name": "synthetic:300"}, "models": {"freedom": None}},
        "lost": {"data": {"name": "amazon-baby", "root": str(tmp_path / "nowhere")}},
    }
    models = {"popularity": MODELS["popularity"], "freedom": {"model": {"name": "freedom"}}}
    told = {}
    config = SMALL | {"seeds": [0], "models": models, "datasets": datasets}
    found = run_suite(config, tmp_path / "out", after=told.__setitem__)
    assert told == found
    assert [run.path.relative_to((tmp_path / "out").resolve()).parts[:2] for run in found["small"].runs] == [
        ("small", "popularity"),
        ("small", "oracle"),
    ]
    assert not found["lost"].runs
    assert "nowhere" in found["lost"].failures[0].reason


def test_a_model_that_cannot_be_tuned_is_a_failure_of_its_own(data, tmp_path):
    models = {"ease": MODELS["ease"], "bad": {"model": {"name": "freedom", "weights": {"smell": 1.0}}, "search": {}}}
    fusions = {"sum": {"first": ["ease"], "second": ["bad"]}}
    found = run_suite(
        TUNED | {"models": models, "fusions": fusions, "reference": "bad", "seeds": [0]}, tmp_path, data=data
    )[""]
    assert [run.path.parent.name for run in found.runs] == ["ease"]
    assert [failure.label for failure in found.failures] == ["bad", "sum"]
    assert "could not be tuned" in found.failures[0].reason
    assert "bad could not be tuned" in found.failures[1].reason
    with pytest.raises(TuningError, match="unknown modality 'smell'"):
        run_suite(TUNED | {"models": {"bad": models["bad"]}}, tmp_path / "alone", data=data)


def test_a_model_with_an_empty_range_is_named_and_the_others_are_tuned(data, tmp_path):
    models = {
        "empty": MODELS["ease"] | {"search": {"model.regularization": {"low": 9.0, "high": 1.0}}},
        "typo": {"model": {"name": "lightgnc"}},
        "ease": MODELS["ease"],
    }
    found = run_suite(TUNED | {"models": models, "seeds": [0]}, tmp_path, data=data)[""]
    assert [run.path.parent.name for run in found.runs] == ["ease"]
    empty, typo = found.failures
    assert (empty.label, empty.seed, typo.label) == ("empty", None, "typo")
    assert "models.empty.search.model.regularization: expected low <= high, got low 9.0 and high 1.0" in empty.reason
    assert "did you mean 'lightgcn'" in typo.reason
    assert not (tmp_path / "empty").exists()
    written = json.loads((tmp_path / "failures.json").read_text())["failures"]
    assert [entry["label"] for entry in written] == ["empty", "typo"]


def test_a_data_set_with_wrong_settings_stops_no_other(tmp_path):
    datasets = {
        "good": {"data": {"name": "synthetic:300"}},
        "bad": {"data": {"name": "synthetic:300"}, "evaluation": {"metrics": ["recal"]}},
        "shape": None,
    }
    config = SMALL | {"seeds": [0], "models": {"popularity": MODELS["popularity"]}, "datasets": datasets}
    found = run_suite(config, tmp_path)
    assert [run.path.parent.name for run in found["good"].runs][:1] == ["popularity"]
    assert not found["good"].failures
    assert "datasets.bad.evaluation.metrics: unknown metric 'recal'" in found["bad"].failures[0].reason
    assert "datasets.shape: expected what it is" in found["shape"].failures[0].reason
    assert {path.name: failures for path, failures in read_failures(tmp_path).items()} == {
        "bad": found["bad"].failures,
        "shape": found["shape"].failures,
    }
    with pytest.raises(ConfigError, match=r"datasets\.bad\.evaluation"):
        read_suite(config)


def test_a_label_that_only_a_data_set_has_must_say_what_it_is():
    small = {"name": "synthetic:300"}
    for models, message in (
        ({"mff": {"training": {"max_epochs": 2}}}, r"datasets\.b\.models: unknown label 'mff'"),
        ({"eas": None}, r"datasets\.b\.models: unknown label 'eas': did you mean 'ease'"),
    ):
        datasets = {"a": {"data": small}, "b": {"data": small, "models": models}}
        with pytest.raises(ConfigError, match=message):
            read_suite(SMALL | {"models": MODELS | {}, "tuning": {"trials": 1}, "datasets": datasets})
    own = {"a": {"data": small, "models": {"own": {"model": {"name": "mf"}}}}}
    parts = read_suite(SMALL | {"models": MODELS, "tuning": {"trials": 1}, "datasets": own})
    assert [*parts["a"].values["models"]] == [*MODELS, "own"]


def test_labels_that_look_like_numbers_are_texts(tmp_path):
    datasets = {5: {"data": {"name": "synthetic:300"}}}
    models = {1: {"model": {"name": "popularity"}}, 2: {"model": {"name": "eas"}}}
    config = SMALL | {"seeds": [0], "models": models, "datasets": datasets}
    found = run_suite(only_datasets(config, ["5"]), tmp_path)["5"]
    assert found.runs[0].metrics()["label"] == "1"
    assert [failure.label for failure in found.failures] == ["2"]
    fusions = {"sum": {"first": [1], "second": [1], "weights": [0.5]}}
    alone = {name: value for name, value in config.items() if name != "datasets"}
    fused = benchmark(alone | {"fusions": fusions, "reference": 1}, tmp_path / "alone", data=block_data())
    assert [run.metrics()["label"] for run in fused.runs] == ["1", "sum"]
    assert fused.reference == "1"
    with pytest.raises(ConfigError, match=r"models: expected different labels, got \[1, 2, '1'\]"):
        read_suite(alone | {"models": models | {"1": models[1]}})
    with pytest.raises(ConfigError, match="unknown data set 'nope'"):
        only_datasets(config, ["nope"])
    with pytest.raises(ConfigError, match="datasets: expected what is different by data set"):
        only_datasets({"datasets": ["a"]}, ["a"])


def test_a_model_left_empty_is_no_model_where_there_are_no_data_sets(data, tmp_path):
    models = {"popularity": MODELS["popularity"], "mf": None}
    found = run_suite(SMALL | {"seeds": [0], "models": models}, tmp_path, data=data)[""]
    assert [failure.label for failure in found.failures] == ["mf"]


def test_all_that_failed_is_kept_where_nothing_of_a_data_set_could_be_run(tmp_path):
    broken = {"model": {"name": "mf"}, "training": {"learning_rate": 1e30, "max_epochs": 1}}
    datasets = {"good": {"data": {"name": "synthetic:300"}, "models": {"mf": None, "typo": None}},
                "bad": {"data": {"name": "synthetic:300"}, "models": {"popularity": None}}}  # fmt: skip
    models = {"popularity": MODELS["popularity"], "mf": broken, "typo": {"model": {"name": "lightgnc"}}}
    found = run_suite(SMALL | {"seeds": [0], "models": models, "datasets": datasets}, tmp_path)
    assert not found["good"].failures
    assert [failure.label for failure in found["bad"].failures] == ["typo", "mf"]
    assert read_failures(tmp_path / "bad") == {tmp_path / "bad": found["bad"].failures}


def test_failures_are_not_written_into_folders_of_something_else(data, tmp_path):
    bad = {"model": {"name": "freedom", "weights": {"smell": 1.0}}, "search": {}}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    config = TUNED | {"models": {"bad": bad}, "seeds": [0]}
    for folder in (tmp_path / "mine", tmp_path / "new"):
        with pytest.raises(TuningError):
            run_suite(config, folder, data=data)
        assert not (folder / "failures.json").exists()
    run_suite(config | {"models": {"bad": bad, "ease": MODELS["ease"]}}, tmp_path / "new", data=data)
    (tmp_path / "new" / "failures.json").write_text("{}")
    with pytest.raises(TuningError):
        run_suite(config, tmp_path / "new", data=data)
    assert [failure.label for failure in read_failures(tmp_path / "new")[tmp_path / "new"]] == ["bad"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tuning": None}, "expected a budget"),
        ({"tuning": {"trails": 3}}, r"tuning: unknown key 'trails': did you mean 'trials'"),
        ({"models": {"e": {"model": {"name": "eas"}}}}, "did you mean 'ease'"),
        ({"models": MODELS | {"ease": MODELS["ease"] | {"search": 3}}}, r"models\.ease\.search: expected ranges"),
        (
            {"models": MODELS | {"ease": MODELS["ease"] | {"search": {"model.regularization": []}}}},
            r"models\.ease\.search\.model\.regularization: expected choices",
        ),
        ({"datasets": {}}, r"datasets: expected"),
        ({"datasets": {"a": None}}, r"datasets\.a: expected"),
        ({"datasets": {"a": {"seeds": [0]}}}, r"datasets\.a: expected what it is, as in {data: {name: a}}"),
        ({"datasets": {"..": {"data": {"name": "synthetic"}}}}, r"datasets: expected a label"),
        ({"tuning": {"timeout": 60}}, r"tuning\.timeout: expected none"),
        ({"evaluation": {"metrics": ["recal"]}}, "did you mean 'recall'"),
        ({"seeds": [1, 1]}, "different seeds"),
    ],
)
def test_wrong_files_name_their_place(change, message):
    with pytest.raises(ConfigError, match=message):
        read_suite({key: value for key, value in {**TUNED, **change}.items() if value is not None})
