"""Settings, data and environment: what differs comes first, and everything is there."""

from __future__ import annotations

import json

import pytest
from markupsafe import Markup

from graphrec.config import load_yaml
from graphrec.report.page.charts_about import configs, data, environments, flatten
from graphrec.report.page.study import make_study
from graphrec.runs import scan_runs


@pytest.fixture
def study(made):
    return make_study(scan_runs(made)[0], made)


def test_settings_by_dotted_path():
    assert flatten({"a": {"b": [1], "c": {}}, "d": None}) == {"a.b": "[1]", "a.c": "{}", "d": "null"}


def test_what_differs_is_listed_and_what_does_not_is_not(study):
    body = configs(study).body
    listed = body.split("Every config")[0]
    assert "model.name" in listed
    assert "training.max_epochs" not in listed  # the same in all
    assert "model.learn_coupling" in listed.split("Settings of one model alone")[1]
    assert "training.seed" not in listed


def test_every_config_is_there_whole(study):
    body = configs(study).body
    assert body.count("data-copy") == 3
    for runs in study.groups.values():
        assert load_yaml(runs[0].path / "config.yaml")["model"]["name"] in body


def test_what_open_options_became_stands_beside_the_config(study):
    folded = {part.split(" ")[0]: part for part in configs(study).body.split("<summary>")}
    for label, runs in study.groups.items():
        resolved = runs[0].metrics()["resolved"]
        assert ("that look at the data" in folded[label]) == bool(resolved)
        for name, value in flatten(resolved).items():
            others = [flatten(run.metrics()["resolved"])[name] for run in runs]
            shown = Markup.escape("; ".join(dict.fromkeys([value, *others])))
            assert f"model.{name}</th><td>{shown}</td>" in folded[label]
    assert any(runs[0].metrics()["resolved"] for runs in study.groups.values())


def test_statistics_and_nodes_of_the_graph(study):
    body = data(study).body
    for value in ("43", "34", study.identity):
        assert value in body
    assert "user → interacts → item" in body


def test_one_environment_is_one_column_and_two_are_two(study, write):
    assert "the same environment" in environments(study).lead
    one, other = write("a"), write("b")
    values = json.loads((other.path / "environment.json").read_text()) | {"device": "another"}
    (other.path / "environment.json").write_text(json.dumps(values))
    found = environments(make_study([one, other], one.path))
    assert "different environments" in found.lead
    assert "another" in found.body


def test_a_fusion_has_other_settings_and_numbers_are_short(write):
    runs = [write("a"), write("b"), write("mix", kind="fusion")]
    for run, text in zip(runs, ("model: {l2: 0.0123456789}", "model: {l2: 1.0e-05}", "weight: 0.3"), strict=True):
        (run.path / "config.yaml").unlink()
        (run.path / "config.yaml").write_text(text)
    body = configs(make_study(runs, runs[0].path)).body
    listed = body.split("Every config")[0]
    assert "<td>0.01235</td><td>1e-05</td></tr>" in listed
    assert "mix" not in listed
    assert "weight: 0.3" in body
