"""The commands that settle a question, as a user types them."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from graphrec.cli import app
from graphrec.config import dump_yaml, load_yaml

FAST = {"max_epochs": 2, "batch_size": 256, "metric": "Recall@5"}
SMALL = {"graph": {"neighbors": 3}, "evaluation": {"ks": [5], "metrics": ["recall", "ndcg"]}, "training": FAST}
MODELS = {
    "popularity": {"model": {"name": "popularity"}},
    "ease": {"model": {"name": "ease"}},
    "mf": {"model": {"name": "mf", "embedding_dim": 8}, "training": {"learning_rate": 0.01}},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    pairs = [(user, item) for user in range(40) for item in range(30) if (user + item) % 2 == 0 and (user * item) % 3]
    path = tmp_path_factory.mktemp("data") / "table.csv"
    pd.DataFrame(pairs, columns=["user", "item"]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def config(table):
    path = table.parent / "suite.yaml"
    path.write_text(dump_yaml(SMALL | {"data": {"name": str(table)}, "seeds": [0, 1], "models": MODELS}))
    return path


@pytest.fixture(scope="module")
def runs(config):
    out = config.parent / "runs"
    result = CliRunner().invoke(app, ["benchmark", str(config), "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    return out


def test_tune_writes_a_config_that_train_takes(call, table, tmp_path):
    out = tmp_path / "study"
    settings = [f"training.{key}={value}" for key, value in FAST.items()]
    settings += ["evaluation.ks=[5]", "model.embedding_dim=8", "model.num_layers=1"]
    result = call("tune", "lightgcn", *settings, "--data", table, "--trials", 2, "--out", out, "--export")
    assert result.exit_code == 0, result.stderr
    assert "2 complete" in result.stdout
    assert "training.learning_rate" in result.stdout
    assert (out / "trials.parquet").is_file()
    assert not list(out.rglob("users-test.parquet"))
    trained = call("train", out / "best.yaml", "--out", tmp_path / "run")
    assert trained.exit_code == 0, trained.stderr
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["valid"]["Recall@5"]
    assert found == json.loads((out / "study.json").read_text())["best"]["values"]["Recall@5"]
    assert "2 complete" in call("tune", out).stdout
    only = call("tune", out, "--export")
    assert only.exit_code == 0
    assert "trials.parquet" in only.stdout


def test_tune_with_nothing_to_tune_is_a_clear_error(call, table):
    result = call("tune", "popularity", "--data", table, "--trials", 2)
    assert result.exit_code == 2
    assert "tune" in result.stderr


def test_benchmark_tunes_where_the_file_gives_a_budget(call, config, table, tmp_path):
    values = load_yaml(config)
    data = values.pop("data")
    values |= {"tuning": {"trials": 2}, "seeds": [0], "datasets": {"one": {"data": data}, "two": {"data": data}}}
    values["models"] = {"popularity": MODELS["popularity"], "ease": MODELS["ease"]}
    (tmp_path / "suite.yaml").write_text(dump_yaml(values))
    result = call("benchmark", tmp_path / "suite.yaml", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    for name in ("one", "two"):
        assert (tmp_path / "out" / name / "table.tex").is_file()
        assert load_yaml(tmp_path / "out" / name / "ease" / "tuning" / "best.yaml")["model"]["name"] == "ease"
    assert (
        "tuning: settings as given (popularity); 2 trials on validation (ease)"
        in (tmp_path / "out" / "one" / "table.md").read_text()
    )


def test_one_data_set_of_a_file_can_be_chosen_and_overrides_hold_in_each(call, config, tmp_path):
    values = load_yaml(config)
    data = {"data": values.pop("data")}
    datasets = {"one": data | {"training": {"max_epochs": 3}}, "two": data, "three": data}
    values |= {"seeds": [0], "models": {"mf": MODELS["mf"]}, "datasets": datasets}
    (tmp_path / "suite.yaml").write_text(dump_yaml(values))
    out, chosen = tmp_path / "out", ["--only", "one", "--only", "two"]
    result = call("benchmark", tmp_path / "suite.yaml", "training.max_epochs=1", *chosen, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in out.iterdir()} == {"one", "two"}
    assert [load_yaml(path)["training"]["max_epochs"] for path in sorted(out.rglob("config.yaml"))] == [1, 1]
    again = call("benchmark", out / "one" / "benchmark.yaml", "--out", out / "one")
    assert "mf, seed 0: already finished" in again.stderr
    assert "did you mean 'three'" in call("benchmark", tmp_path / "suite.yaml", "--only", "thre").stderr
    assert "datasets.thre: unknown data set 'thre': did you mean 'three'" in call(
        "benchmark", tmp_path / "suite.yaml", "datasets.thre.training.max_epochs=1"
    ).stderr.replace("\n", " ")


def test_an_override_that_makes_a_row_wrong_stops_and_the_file_s_own_mistakes_do_not(call, config, tmp_path):
    values = load_yaml(config)
    values["models"]["typo"] = {"model": {"name": "lightgnc"}}
    (tmp_path / "mine.yaml").write_text(dump_yaml(values))
    stopped = call("benchmark", tmp_path / "mine.yaml", "models.mf.model.embeding_dim=8", "--out", tmp_path / "out")
    assert stopped.exit_code == 2
    assert "did you mean 'embedding_dim'" in stopped.stderr
    assert not (tmp_path / "out").exists()
    result = call("benchmark", tmp_path / "mine.yaml", "models.mf.model.embedding_dim=8", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "- could not be run: typo; see failures.json" in result.stdout
    assert "failed: typo: mine.yaml.models.typo.model.name: unknown model 'lightgnc'" in result.stdout.replace(
        "\n", " "
    )
    assert (tmp_path / "out" / "mf" / "seed-0" / "metrics.json").is_file()
    both = ["models.mf.model.embedding_dim=8", "models.typo.model.name=popularity"]
    mended = call("benchmark", tmp_path / "mine.yaml", *both, "--out", tmp_path / "out")
    assert mended.exit_code == 0
    assert "mf, seed 0: already finished" in mended.stderr
    assert not (tmp_path / "out" / "failures.json").exists()


def test_an_override_may_mend_a_data_set_whose_rows_are_wrong_too(call, config, tmp_path):
    values = load_yaml(config)
    values["models"]["typo"] = {"model": {"name": "lightgnc"}}
    data = {"data": values.pop("data")}
    values["datasets"] = {"a": data, "b": data | {"seeds": 3}}
    (tmp_path / "mine.yaml").write_text(dump_yaml(values))
    result = call("benchmark", tmp_path / "mine.yaml", "datasets.b.seeds=[0]", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert (tmp_path / "out" / "b" / "mf" / "seed-0" / "metrics.json").is_file()
    assert result.stdout.count("failed: typo") == 2


def test_benchmark_says_what_failed_and_shows_the_rest(call, config, tmp_path):
    result = call("benchmark", config, "models.mf.training.learning_rate=1e30", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "failed: mf, seed 0: loss term 'bpr' became" in result.stdout
    assert "popularity" in (tmp_path / "out" / "table.md").read_text()


def test_compare_answers_in_a_sentence(call, runs):
    result = call("compare", runs / "popularity", runs / "ease" / "seed-0")
    assert result.exit_code == 0, result.stderr
    assert "ease" in result.stdout.splitlines()[0]
    assert "Recall@5" in result.stdout.splitlines()[0]
    named = call("compare", runs / "mf" / "seed-0", runs / "mf" / "seed-1", "--label", "old", "--label", "new")
    assert named.exit_code == 0, named.stderr
    assert "new" in named.stdout.splitlines()[0]
    ranks = call("compare", runs / "popularity", runs / "ease" / "seed-0", "--test", "wilcoxon")
    assert "Wilcoxon's signed-rank test over users" in ranks.stdout
    assert "did you mean 'wilcoxon'" in call("compare", runs, "--test", "wilcoxn").stderr
    assert "expected a --label for each" in call("compare", runs, "--label", "a", "--label", "b").stderr
    alone = call("compare", runs / "popularity")
    assert alone.exit_code == 2
    assert "at least two models" in alone.stderr


def test_compare_goes_on_past_a_damaged_folder(call, runs, tmp_path):
    for name in ("popularity", "ease"):
        shutil.copytree(runs / name, tmp_path / name)
    shutil.copytree(runs / "mf" / "seed-0", tmp_path / "bad")
    (tmp_path / "bad" / "data.json").write_text("{")
    result = call("compare", tmp_path)
    assert result.exit_code == 0
    assert "left out" in result.stderr
    assert "data.json" in result.stderr
    assert "popularity" in result.stdout.splitlines()[0]
    damaged = call("compare", tmp_path / "popularity", tmp_path / "bad", tmp_path / "ease")
    assert damaged.exit_code == 0
    assert "left out" in damaged.stderr
    assert damaged.stdout.startswith("ease is better than popularity")
    for first in ("bad", "nowhere"):  # the reference
        assert call("compare", tmp_path / first, tmp_path / "popularity", tmp_path / "ease").exit_code == 2
    assert call("compare", tmp_path / "popularity", tmp_path / "ease", tmp_path / "nowhere").exit_code == 2
    (tmp_path / "bad" / "users-test.parquet").write_bytes(b"PAR1")
    shutil.copy(runs / "mf" / "seed-0" / "data.json", tmp_path / "bad" / "data.json")
    assert "users-test.parquet" in call("compare", tmp_path).stderr.replace("\n", "")


def test_compare_leaves_out_runs_of_other_data_and_names_them(call, runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs / "mf", other)
    for path in other.rglob("data.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"identity": "other"}))
        shutil.rmtree(path.parent / "dataset")  # what is left cannot be shown to be the same interactions
    result = call("compare", runs / "popularity", other, runs / "ease")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("ease is better than popularity")
    assert "│ mf" not in result.stdout
    assert "expected runs on the same data and split" in " ".join(result.stderr.split())
    assert str(other) in result.stderr.replace("\n", "")
    alone = call("compare", runs / "popularity", other)
    assert alone.exit_code == 2
    assert "at least two models" in alone.stderr


def test_ablate_stops_before_anything_is_trained_where_a_row_is_wrong_or_not_measured(call, table, tmp_path):
    common = ["--data", table, "--seeds", "0", "--out", tmp_path / "out"]
    slash = call("ablate", "mf", "--switch", "no image/text: model.embedding_dim=4", *common)
    assert slash.exit_code == 2
    assert "expected a label that can name a folder" in slash.stderr
    unmeasured = call("ablate", "mf", "evaluation.ks=[5]", "--switch", "model.embedding_dim=4", *common)
    assert unmeasured.exit_code == 2
    assert "unknown metric 'Recall@20': did you mean" in unmeasured.stderr
    twice = call("ablate", "mf", "--grid", "model.embedding_dim=4,4", *common)
    assert twice.exit_code == 2
    assert "expected different values on an axis" in twice.stderr
    assert not (tmp_path / "out").exists()


def test_ablate_asks_for_a_known_metric_before_anything_is_trained(call, table, tmp_path):
    result = call("ablate", "mf", "--switch", "model.l2=0", "--data", table, "--metric", "foo@5", "--out", tmp_path)
    assert result.exit_code == 2
    assert "unknown metric 'foo'" in result.stderr
    assert not list(tmp_path.iterdir())


def test_ablate_shows_differences_on_validation(call, table, tmp_path):
    settings = [f"training.{key}={value}" for key, value in FAST.items()]
    switches = ["--switch", "wide: model.embedding_dim=16", "--switch", "model.l2=0"]
    out = tmp_path / "out"
    result = call(
        "ablate", "mf", *settings, "evaluation.ks=[5]", *switches,
        "--data", table, "--seeds", "0,1", "--metric", "recall@5", "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    text = (out / "ablation.md").read_text()
    assert "wide" in text
    assert "validation" in text
    assert not list(out.rglob("users-test.parquet"))


def test_ablate_without_its_base_says_what_failed(call, table, tmp_path):
    settings = [f"training.{key}={value}" for key, value in {**FAST, "learning_rate": 1e30}.items()]
    switch = ["--switch", "slow: training.learning_rate=0.01"]
    result = call("ablate", "mf", *settings, "evaluation.ks=[5]", *switch, "--data", table, "--seeds", "0",
                  "--metric", "recall@5", "--out", tmp_path)  # fmt: skip
    assert result.exit_code == 1
    assert "failed: base, seed 0: loss term 'bpr' became" in result.stdout


def test_a_grid_becomes_a_heat_map(call, table, tmp_path):
    settings = [f"training.{key}={value}" for key, value in FAST.items()]
    axes = ["--grid", "model.embedding_dim=4,8", "--grid", "training.learning_rate=0.01,0.1"]
    out = tmp_path / "out"
    result = call(
        "ablate", "mf", *settings, "evaluation.ks=[5]", *axes,
        "--data", table, "--seeds", "0", "--metric", "Recall@5", "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert (out / "heat-map.png").stat().st_size > 1000
    assert "first row: the best of 4 points" in result.stdout
    assert len((out / "grid.csv").read_text().splitlines()) == 5
    assert (out / "grid.md").is_file()
    assert (out / "grid.tex").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ablate", "mf"], "either --switch or --grid"),
        (["ablate", "mf", "--switch", "model.l2=0", "--seeds", "0,0"], "--seeds: expected different numbers"),
        (["ablate", "mf", "--switch", "data.name=x"], "data"),
        (["ablate", "quickstart", "--switch", "model.l2=0"], "quickstart.yaml has several models"),
        (["report", "nowhere"], "expected finished runs"),
        (["compare", "nowhere"], "expected finished runs"),
    ],
)
def test_bad_input_is_one_line(call, arguments, message):
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_report_makes_a_page_and_its_tables(call, runs):
    result = call("report", runs, "--reference", "popularity")
    assert result.exit_code == 0, result.stderr
    page = (runs / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "ease" in page
