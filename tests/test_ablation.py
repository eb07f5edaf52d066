"""Ablations and grids become benchmarks that hold what was asked, or an error that says what is wrong."""

from __future__ import annotations

import pytest

from graphrec.config import ConfigError
from graphrec.pipeline.ablation import ablation_config, axis_paths, grid_config
from graphrec.pipeline.benchmark import benchmark
from graphrec.pipeline.config import BenchmarkConfig, RunConfig
from graphrec.report.ablation import ablation_table
from graphrec.report.heat_map import heat_map
from graphrec.testing import block_data

CONFIG = {
    "label": "mine",
    "seed": 7,
    "graph": {"neighbors": 4},
    "model": {"name": "hetero-lightgcn", "embedding_dim": 8, "alignment": {"weight": 0.1, "sample": 64}},
    "training": {"max_epochs": 2, "batch_size": 64, "metric": "Recall@5", "device": "cpu", "trackers": []},
    "evaluation": {"metrics": ["recall", "ndcg"], "ks": [5]},
}


def plan(values):
    return {run.label: run for run in BenchmarkConfig.parse(values).plan()}


def test_a_switch_changes_what_it_says_and_nothing_else():
    switches = [
        "no alignment: model.alignment.weight=0",
        "model.num_layers=2 graph.neighbors=8",
        "texts alone: model.relations=[text] features.modalities=[text] training.negatives=4",
    ]
    values = ablation_config(CONFIG, switches, seeds=(3,))
    assert values["reference"] == "base"
    assert values["seeds"] == [3]
    runs = plan(values)
    assert list(runs) == ["base", "no alignment", "model.num_layers=2 graph.neighbors=8", "texts alone"]
    base = RunConfig.parse({**CONFIG, "seed": 3}).to_mapping()
    for run, path_values in zip(
        runs.values(),
        [
            {},
            {("model", "alignment", "weight"): 0.0},
            {("model", "num_layers"): 2, ("graph", "neighbors"): 8},
            {("model", "relations"): ["text"], ("features", "modalities"): ["text"], ("training", "negatives"): 4},
        ],
        strict=True,
    ):
        assert changed(base, run.to_mapping()) == path_values


def changed(base, other, path=()):
    """Returns the values that differ by path, the label left out."""
    found = {}
    for key, value in other.items():
        if isinstance(value, dict):
            found |= changed(base.get(key) or {}, value, (*path, key))
        elif base.get(key) != value and key != "label":
            found[(*path, key)] = value
    return found


def test_a_model_named_by_a_string_and_default_seeds():
    values = ablation_config({"model": "lightgcn"}, ["one layer: model.num_layers=1"])
    runs = BenchmarkConfig.parse(values).plan()
    assert [(run.label, run.seed, run.model.options.num_layers) for run in runs] == [
        *(("base", seed, 2) for seed in (0, 1, 2)),
        *(("one layer", seed, 1) for seed in (0, 1, 2)),
    ]


def test_values_of_yaml_are_neither_labels_nor_overrides():
    values = ablation_config(CONFIG, ["model.coupling={image: 0.5, text: 0.2}", "a b: model.l2=0  training.patience=3"])
    runs = plan(values)
    assert runs["model.coupling={image- 0.5, text- 0.2}"].model.options.coupling == {"image": 0.5, "text": 0.2}
    assert (runs["a b"].model.options.l2, runs["a b"].training.patience) == (0.0, 3)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ([], "expected at least one switch"),
        (["no alignment"], "expected a switch like"),
        (["other data: data.name=tiktok"], "'other data' changes 'data', but all rows"),
        (["evaluation.ks=[1]"], "changes 'evaluation', but all rows of an ablation are measured alike"),
        (["seed=4"], "changes 'seed', but every row is run for the same seeds"),
        (["label=x"], "changes 'label'"),
        (["modle.l2=0"], "unknown section 'modle': did you mean 'model'"),
        (["model=mf"], "expected a setting in 'model'"),
        (["model.l3=0"], "unknown key 'l3'"),
        (["a: model.l2=-1"], r"a.model.l2: .*greater than or equal to 0"),
        (["weak: model.alignment.weight=0.1"], "'weak' changes nothing"),
        (["a: model.l2=0", "b: model.l2=0.0"], "'b' is the same as 'a'"),
        (["a: model.l2=0", "a: model.l2=0.5"], "got 'a' twice"),
        (["base: model.l2=0"], "got 'base' twice"),
    ],
)
def test_bad_switches_are_refused(switches, message):
    with pytest.raises(ConfigError, match=message):
        ablation_config(CONFIG, switches)


def test_bad_settings_of_the_run_are_told():
    with pytest.raises(ConfigError, match="unknown model 'lightgnc'"):
        ablation_config({"model": "lightgnc"}, ["model.l2=0"])


def test_a_grid_has_every_point():
    axes = ["model.num_layers=1,2", "training.learning_rate=1e-3,0.003,1e-2"]
    values = grid_config(CONFIG, axes, seeds=(0,))
    assert "reference" not in values
    found = {(run.model.options.num_layers, run.training.learning_rate) for run in plan(values).values()}
    assert found == {(layers, rate) for layers in (1, 2) for rate in (0.001, 0.003, 0.01)}
    assert next(iter(values["models"])) == "model.num_layers=1 training.learning_rate=1e-3"
    assert axis_paths(axes) == ("model.num_layers", "training.learning_rate")


def test_both_axes_may_lie_in_one_section():
    runs = plan(grid_config(CONFIG, ["model.alignment.weight=0,0.1", "model.alignment.temperature=0.2,0.5"], (0,)))
    found = [(run.model.options.alignment.weight, run.model.options.alignment.temperature) for run in runs.values()]
    assert found == [(0.0, 0.2), (0.0, 0.5), (0.1, 0.2), (0.1, 0.5)]
    assert {run.model.options.alignment.sample for run in runs.values()} == {64}


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([], "expected one or two axes"),
        (["model.l2=0,1", "model.num_layers=1", "graph.neighbors=1"], "expected one or two axes"),
        (["model.l2"], "expected an axis like"),
        (["model.l2="], "expected an axis like"),
        (["model.l2=[1"], "expected an axis like"),
        (["data.drop_unseen=true,false"], "changes 'data', but all rows"),
        (["model.l2=0,0.0"], "is the same as 'model.l2=0'"),
        (["model.l2=0,1", "model.l2=2"], "two different settings as axes, got 'model.l2' twice"),
    ],
)
def test_bad_axes_are_refused(axes, message):
    with pytest.raises(ConfigError, match=message):
        grid_config(CONFIG, axes)


def test_an_ablation_on_validation_leaves_the_test_set_alone(tmp_path):
    values = ablation_config(CONFIG, ["no alignment: model.alignment.weight=0", "graph.neighbors=2"], seeds=(0, 1))
    done = benchmark(values, tmp_path, data=block_data(), score_test=False)
    assert not done.failures
    assert all(run.metrics()["test"] is None and run.evaluations() == [] for run in done.runs)
    table = ablation_table(done.runs, metric="Recall@5")
    assert [row.label for row in table.rows] == ["base", "no alignment", "graph.neighbors=2"]
    expected = [run.metrics()["valid"]["Recall@5"] for run in done.runs[2:4]]
    assert table.rows[1].mean == pytest.approx(sum(expected) / 2)
    assert "validation" in table.title


def test_a_grid_becomes_a_heat_map(tmp_path):
    axes = ["model.num_layers=1,2", "graph.neighbors=2,4"]
    done = benchmark(grid_config(CONFIG, axes, (0,)), tmp_path, data=block_data(), score_test=False)
    path = heat_map(done.runs, axis_paths(axes), None, "valid", tmp_path / "map.png")
    assert path.read_bytes().startswith(b"\x89PNG")
