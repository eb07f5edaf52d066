"""The configurations of a run and of a benchmark: dotted paths, round trips, fingerprints."""

from __future__ import annotations

import pytest

from graphrec.config import ConfigError
from graphrec.pipeline import BenchmarkConfig, RunConfig

FAST = {"max_epochs": 3, "batch_size": 64, "learning_rate": 0.01, "metric": "Recall@5"}
SMALL = {"training": FAST, "graph": {"neighbors": 4}, "evaluation": {"ks": [5], "metrics": ["recall", "ndcg"]}}


def settings(name: str = "lightgcn", seed: int = 0, training: dict | None = None, **options) -> dict:
    return SMALL | {"model": {"name": name, **options}, "seed": seed, "training": FAST | (training or {})}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"model": {"name": "lightgcn", "num_layer": 3}},
            r"config\.model: unknown key 'num_layer': did you mean 'num_layers'",
        ),
        ({"model": {"name": "lightgnc"}}, r"config\.model\.name: unknown model 'lightgnc': did you mean 'lightgcn'"),
        ({"model": {"num_layers": 3}}, r"config\.model\.name: expected the name of a model"),
        ({}, r"config\.model: expected a mapping with the name of a model"),
        ({"model": "mf", "trainin": {}}, r"config: unknown key 'trainin': did you mean 'training'"),
        ({"model": "mf", "training": {"max_epoch": 3}}, r"config\.training: unknown key 'max_epoch': did you mean"),
        ({"model": "mf", "training": {"max_epochs": 0}}, r"config\.training\.max_epochs: .*greater than or equal to 1"),
        (
            {"model": "mf", "training": {"metric": "recal@20"}},
            r"training\.metric: unknown metric 'recal'.*did you mean",
        ),
        ({"model": "mf", "evaluation": {"metrics": ["recal"]}}, r"config\.evaluation\.metrics: unknown metric 'recal'"),
        ({"model": "mf", "evaluation": {"ks": []}}, r"config\.evaluation\.ks"),
        ({"model": "pathlib:Path"}, r"config\.model\.name: expected a subclass"),
        ({"model": "no.such:Thing"}, r"config\.model\.name: cannot import"),
    ],
)
def test_wrong_settings_name_their_place(values, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.parse(values)


@pytest.mark.parametrize("name", ["lightgcn", "hetero-lightgcn", "ease", "freedom"])
def test_config_round_trip(name):
    config = RunConfig.parse(settings(name, seed=5))
    again = RunConfig.parse(config.to_mapping())
    assert again == config
    assert again.fingerprint() == config.fingerprint()
    assert type(again.model.options) is type(config.model.options)


def test_config_is_complete_and_defaults_the_label():
    values = RunConfig.parse({"model": "lightgcn"}).to_mapping()
    assert values["label"] == "lightgcn"
    assert values["model"]["num_layers"] == 2
    assert values["training"]["batch_size"] == 2048


def test_models_that_sample_take_the_seed_of_the_run():
    assert RunConfig.parse(settings("freedom", seed=7)).model.options.seed == 7
    assert (
        RunConfig.parse(settings("freedom", seed=7) | {"model": {"name": "freedom", "seed": 2}}).model.options.seed == 2
    )


def test_fingerprint_knows_settings_but_not_places():
    base = RunConfig.parse(settings())
    assert RunConfig.parse(settings() | {"label": "mine", "data": {"root": "/x"}}).fingerprint() == base.fingerprint()
    assert RunConfig.parse(settings(num_layers=3)).fingerprint() != base.fingerprint()
    assert RunConfig.parse(settings(seed=1)).fingerprint() != base.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {"a": {"model": {"name": "mf", "dim": 3}}}}, r"benchmark\.models\.a\.model: unknown key 'dim'"),
        ({"models": {"a": {"model": "mf"}}}, r"benchmark\.models\.a\.model"),
        (
            {"models": {"a": {"model": {"name": "mf"}, "training": {"lr": 1}}}},
            r"benchmark\.models\.a\.training: unknown key",
        ),
        ({"models": {}}, r"benchmark\.models"),
        ({"models": {"a/b": {"model": {"name": "mf"}}}}, "label that can name a folder"),
        ({"models": {"oracle": {"model": {"name": "mf"}}}}, "is not 'oracle'"),
        ({"models": {"a": {"model": {"name": "mf"}}}, "reference": "b"}, r"benchmark\.reference: unknown label 'b'"),
        ({"models": {"a": {"model": {"name": "mf"}}}, "seeds": [1, 1]}, "different seeds"),
    ],
)
def test_wrong_benchmarks_name_their_place(change, message):
    with pytest.raises(ConfigError, match=message):
        BenchmarkConfig.parse(change)


def test_plan_merges_training_and_runs_closed_forms_once():
    models = {"e": {"model": {"name": "ease"}}, "m": {"model": {"name": "mf"}, "training": {"negatives": 4}}}
    config = BenchmarkConfig.parse({"seeds": [3, 4], "training": {"batch_size": 7}, "models": models})
    plan = config.plan()
    assert [(entry.label, entry.seed) for entry in plan] == [("e", 3), ("m", 3), ("m", 4)]
    assert plan[1].training.negatives == 4
    assert plan[1].training.batch_size == 7
    assert plan[0].training.negatives == 1
