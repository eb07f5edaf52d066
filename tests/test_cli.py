"""The command line: what it prints, what it writes, and one line for bad input."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

import graphrec
from graphrec.cli import find_config
from graphrec.config import ConfigError, dump_yaml, load_yaml
from graphrec.runs import open_run

FAST = ["training.max_epochs=1", "training.batch_size=256", "graph.neighbors=3"]


@pytest.fixture
def table(tmp_path):
    """Returns a CSV of 40 users that like the items of their parity."""
    pairs = [(user, item) for user in range(40) for item in range(30) if (user + item) % 2 == 0 and (user * item) % 3]
    path = tmp_path / "table.csv"
    pd.DataFrame(pairs, columns=["user", "item"]).to_csv(path, index=False)
    return path


def test_version(call):
    result = call("--version")
    assert result.exit_code == 0
    assert result.stdout.strip() == f"graphrec {graphrec.__version__}"


def test_quickstart_leaves_everything(call, tmp_path):
    small = load_yaml(find_config("quickstart"))
    assert list(small["models"]) == ["popularity", "ease", "lightgcn", "hetero-lightgcn"]
    out = tmp_path / "out"
    result = call("quickstart", "--out", out, "--size", 400)
    assert result.exit_code == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if line.startswith("│")]
    names = [row.split("│")[1].strip() for row in rows]
    assert names == ["popularity", "ease", "lightgcn", "hetero-lightgcn", "known ceiling"]
    for name in ("table.md", "table.csv", "learning-curves.png", "recommendations.png", "benchmark.yaml"):
        assert (out / name).stat().st_size > 0
        assert str(out / name) in result.stdout or name == "benchmark.yaml"
    assert result.stdout.count("  graphrec ") == 3
    assert graphrec.load(out / "hetero-lightgcn" / "seed-0").config.label == "hetero-lightgcn"
    again = call("quickstart", "--out", out, "--size", 400)
    assert [line for line in again.stdout.splitlines() if line.startswith("│")] == rows
    assert "already finished" in again.stderr
    other = call("quickstart", "--out", out, "--size", 500)
    assert other.exit_code == 2
    assert "other settings or data" in other.stderr


def test_train_evaluate_and_describe(call, table, tmp_path):
    out = tmp_path / "run"
    result = call("train", "mf", *FAST, "model.embedding_dim=8", "--data", table, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "Recall@20" in result.stdout
    folder = open_run(out)
    assert folder.config()["model"]["embedding_dim"] == 8
    shown = call("evaluate", out)
    assert f"{folder.metrics()['test']['Recall@20']:.4f}" in shown.stdout
    assert "scored 1 time(s)" in shown.stdout
    again = call("evaluate", out, "--again")
    assert "scored anew, and noted in" in again.stdout
    assert [entry["again"] for entry in folder.evaluations()] == [False, True]
    described = call("data", "describe", table)
    assert described.exit_code == 0
    users = next(line for line in described.stdout.splitlines() if "num_users" in line)
    assert str(graphrec.load_dataset(table).num_users) in users


def test_evaluate_scores_a_fitted_run_for_the_first_time(call, table, tmp_path):
    graphrec.fit("popularity", graphrec.load_dataset(table), folder=tmp_path / "run")
    result = call("evaluate", tmp_path / "run")
    assert "scored for the first time" in result.stdout
    assert open_run(tmp_path / "run").metrics()["test"] is not None


def test_train_from_a_file_with_overrides_and_resume(call, table, tmp_path):
    values = {"model": {"name": "lightgcn"}, "data": {"name": str(table)}, "training": {"max_epochs": 1}}
    (tmp_path / "mine.yaml").write_text(dump_yaml(values))
    out = tmp_path / "run"
    assert call("train", tmp_path / "mine.yaml", "seed=3", "--out", out).exit_code == 0
    assert open_run(out).config()["seed"] == 3
    assert "already holds a finished run" in call("train", tmp_path / "mine.yaml", "--out", out).stderr
    assert call("train", tmp_path / "mine.yaml", "seed=3", "--out", out, "--resume").exit_code == 0
    assert "expected --out with --resume" in call("train", "mf", "--resume").stderr


def test_benchmark_prints_and_writes_the_table(call, table, tmp_path):
    models = {"popularity": {"model": {"name": "popularity"}}, "mf": {"model": {"name": "mf"}}}
    values = {"data": {"name": table.name}, "models": models, "reference": "popularity", "seeds": [0, 1]}
    (tmp_path / "mine.yaml").write_text(dump_yaml(values))
    config, out = tmp_path / "mine.yaml", tmp_path / "out"
    result = call("benchmark", config, *FAST, f"data.name={table}", "--out", out, "--data-root", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert "±" in result.stdout
    assert "peak memory" in result.stderr
    assert "± " in (out / "table.md").read_text()
    assert open_run(out / "mf" / "seed-1").metrics()["epochs"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "lightgnc"], "unknown model 'lightgnc': did you mean 'lightgcn'"),
        (
            ["train", "mf", "model.embeding_dim=3"],
            "config.model: unknown key 'embeding_dim': did you mean 'embedding_dim'",
        ),
        (["train", "mf", "nonsense"], "expected an override like"),
        (["train", "mf", "--data", "amazon-bayb"], "unknown data set 'amazon-bayb': did you mean 'amazon-baby'"),
        (["train", "mf", "--data", "amazon-baby", "--data-root", "/nowhere"], "no folder '/nowhere/amazon-baby'"),
        (["train", "mf", "--data", "none/table.csv"], "there is no folder 'none'"),
        (
            ["benchmark", "quickstart", "models.lightgnc.model.num_layers=3"],
            "models.lightgnc: unknown label 'lightgnc': did you mean 'lightgcn'",
        ),
        (["benchmark", "quickstrat"], "unknown configuration 'quickstrat': did you mean 'quickstart'"),
        (["evaluate", "/nowhere"], "expected a run folder, got '/nowhere'"),
        (["data", "describe", "ml-100q"], "unknown data set 'ml-100q': did you mean 'ml-100k'"),
        (["quickstart", "--size", "10"], "expected at least 200 interactions, got 10"),
    ],
)
def test_bad_input_is_one_line_and_status_2(call, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert message in lines[-1]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(call):
    result = call("--debug", "train", "lightgnc")
    assert isinstance(result.exception, ConfigError)


def test_as_a_process():
    command = [sys.executable, "-m", "graphrec.cli", "data", "describe", "ml-100q"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: unknown data set 'ml-100q': did you mean 'ml-100k'")
    assert len(result.stderr.strip().splitlines()) == 1


def test_help_needs_no_torch():
    code = "import sys, graphrec.cli; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_configs_are_found_by_path_and_by_name(tmp_path):
    (tmp_path / "x.yaml").write_text("{}")
    assert find_config(str(tmp_path / "x.yaml")) == tmp_path / "x.yaml"
    assert find_config("quickstart").name == "quickstart.yaml"
    assert find_config("configs/quickstart.yaml").name == "quickstart.yaml"
