"""The pipeline: one run, refit, recommending."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import graphrec
from graphrec.config import ConfigError
from graphrec.data.dataset import Split
from graphrec.data.interactions import Ids, Interactions
from graphrec.evaluation.ranking import evaluate
from graphrec.models import channel_choice, hetero_lightgcn, linear_channel
from graphrec.models.lightgcn import LightGCN
from graphrec.pipeline import RunConfig, fit, load, run
from graphrec.runs import RunFolderError, open_run
from graphrec.testing import block_data
from graphrec.training.trainer import Trainer

FAST = {"max_epochs": 3, "batch_size": 64, "learning_rate": 0.01, "metric": "Recall@5"}
SMALL = {"training": FAST, "graph": {"neighbors": 4}, "evaluation": {"ks": [5], "metrics": ["recall", "ndcg"]}}


@pytest.fixture(scope="module")
def data():
    return block_data()


def settings(name: str = "lightgcn", seed: int = 0, training: dict | None = None, **options) -> dict:
    return SMALL | {"model": {"name": name, **options}, "seed": seed, "training": FAST | (training or {})}


def test_run_leaves_a_complete_folder(data, tmp_path):
    finished = run(settings("hetero-lightgcn"), folder=tmp_path / "run", data=data)
    folder = open_run(tmp_path / "run")
    names = {path.name for path in folder.path.iterdir()}
    assert names == {
        "config.yaml", "environment.json", "data.json", "metrics.json", "users-valid.parquet", "users-test.parquet",
        "lists-valid.parquet", "lists-test.parquet",
        "history.jsonl", "tensorboard", "model.safetensors", "dataset", "graph.safetensors", "graph.json",
        "evaluations.jsonl",
    }  # fmt: skip
    metrics = folder.metrics()
    assert metrics["test"] == finished.evaluate().mean()
    assert folder.users("test").mean().to_dict() == pytest.approx(metrics["test"], abs=1e-15)
    assert metrics["epochs"] == 3
    assert 1 <= metrics["best_epoch"] <= 3
    assert metrics["peak_memory_mib"] > 0
    assert set(metrics["seconds"]) == {"features", "graph", "model", "training", "validation"}
    assert [row["epoch"] for row in folder.history()] == [1, 2, 3]
    assert max(row["Recall@5"] for row in folder.history()) == metrics["valid"]["Recall@5"]
    assert folder.data()["statistics"]["train"] == len(data.split.train)
    assert any((folder.path / "tensorboard").iterdir())
    assert RunConfig.parse(folder.config()) == finished.config


def test_run_equals_the_steps_by_hand(data):
    config = RunConfig.parse(settings(seed=3))
    finished = run(config, data=data)
    graph = graphrec.build_graph(data, config.graph)
    torch.manual_seed(3)
    model = LightGCN(graph, config.model.options)
    result = Trainer(config.training, seed=3).fit(model, data.split)
    scores = evaluate(
        model.eval().frozen(), seen=data.split.train, truth=data.test, metrics=("recall", "ndcg"), ks=(5,)
    )
    assert finished.result.best_epoch == result.best_epoch
    pd.testing.assert_frame_equal(finished.evaluate().frame, scores.frame)


@pytest.mark.parametrize("name", ["hetero-lightgcn", "freedom", "lightgcn", "ease", "popularity", "item-knn"])
def test_a_loaded_run_recommends_the_same_bit_for_bit(name, data, tmp_path):
    finished = run(settings(name), folder=tmp_path / "run", data=data)
    users = list(data.split.users.index)
    found = load(tmp_path / "run")
    pd.testing.assert_frame_equal(found.recommend(users), finished.recommend(users), check_exact=True)
    pd.testing.assert_frame_equal(found.evaluate().frame, finished.evaluate().frame, check_exact=True)
    assert found.metrics == finished.metrics
    assert found.folder.evaluations() == open_run(tmp_path / "run").evaluations()


def test_a_loaded_run_keeps_what_its_options_became(data, tmp_path, monkeypatch):
    finished = run(settings("hetero-lightgcn"), folder=tmp_path / "run", data=data)
    kept = open_run(tmp_path / "run").metrics()["resolved"]
    assert kept == finished.model.resolved()
    assert kept["relations"]
    assert min(kept["l2"], kept["linear"]["regularization"]) > 0
    path = tmp_path / "run" / "metrics.json"
    older = json.loads(path.read_text())
    del older["resolved"]
    users = list(data.split.users.index)
    with monkeypatch.context() as patch:
        for name in ("HeldOutUsers", "FIRST_REGULARIZATION"):
            patch.setattr(channel_choice, name, None)  # nothing is chosen again
        patch.setattr(hetero_lightgcn, "NEAR_BEST", 1e9)  # a later version has another rule
        found = load(tmp_path / "run")
    assert found.config == finished.config
    pd.testing.assert_frame_equal(found.recommend(users), finished.recommend(users), check_exact=True)
    path.write_text(json.dumps(older))
    pd.testing.assert_frame_equal(load(tmp_path / "run").recommend(users), finished.recommend(users), check_exact=True)


@pytest.mark.parametrize("weight", [0.0, 1.4])
@pytest.mark.parametrize("refit", [False, True])
def test_a_weight_settled_on_validation_is_part_of_the_run(refit, weight, data, tmp_path, monkeypatch):
    asked = []

    def chosen(at):
        asked.extend(at(other) for other in (0.14, 1.4))
        return weight

    monkeypatch.setattr(linear_channel, "choose_weight", chosen)
    finished = run(settings("hetero-lightgcn", training={"refit": refit}), folder=tmp_path / "run", data=data)
    best = max(row["Recall@5"] for row in finished.result.history if "Recall@5" in row)
    assert asked[0].mean().item() == pytest.approx(best)  # with the weights of the best epoch
    assert finished.result.best_value == open_run(tmp_path / "run").metrics()["valid"]["Recall@5"]
    assert len(asked) == 2
    assert len(asked[1]) == len(np.unique(data.split.valid.user))
    assert finished.model.resolved()["linear"]["weight"] == weight
    users = list(data.split.users.index)
    for _ in range(2):
        found = load(tmp_path / "run")
        assert found.model.resolved() == finished.model.resolved()
        assert found.model.parts().keys() == finished.model.parts().keys()
        assert found.result.best_value == finished.result.best_value
        pd.testing.assert_frame_equal(found.recommend(users), finished.recommend(users), check_exact=True)
        found.folder.write_metrics(found.metrics)  # as after scoring the test set


@pytest.mark.parametrize("kind", [int, str, lambda row: ("user", row)])
def test_ids_of_any_type_survive_saving(kind, data, tmp_path):
    def renamed(part: Interactions) -> Interactions:
        return replace(part, users=users)

    users = Ids([kind(row) for row in range(data.num_users)], name="user")
    split = Split(renamed(data.split.train), renamed(data.split.valid))
    people = replace(data.people, ids=users)
    other = replace(data, split=split, test=renamed(data.test), people=people)
    finished = run(settings("ease"), folder=tmp_path / "run", data=other)
    wanted = [kind(3), kind(0)]
    found = load(tmp_path / "run").recommend(wanted)
    assert found["user"].unique().tolist() == wanted
    pd.testing.assert_frame_equal(found, finished.recommend(wanted), check_exact=True)


def test_same_seed_same_run_and_other_seed_another(data):
    first, second, other = (fit("lightgcn", data, epochs=2, seed=seed, **FIT) for seed in (1, 1, 2))
    weights = [entry.model.state_dict() for entry in (first, second, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


FIT = {"graph": {"neighbors": 4}, "training": {"batch_size": 64, "metric": "recall@5"}}


def test_the_test_set_is_scored_once(data, tmp_path, monkeypatch):
    fitted = fit("lightgcn", data, epochs=1, folder=tmp_path / "run", **FIT)
    assert open_run(tmp_path / "run").metrics()["test"] is None
    assert fitted.folder.evaluations() == []
    first = fitted.evaluate()
    monkeypatch.setattr("graphrec.pipeline.result.measure", lambda *_, **__: pytest.fail("scored a second time"))
    assert fitted.evaluate() is first
    assert load(tmp_path / "run").evaluate().mean() == first.mean()
    assert [entry["again"] for entry in fitted.folder.evaluations()] == [False]


def test_scoring_again_is_logged_and_changes_nothing_stored(data, tmp_path):
    run(settings(), folder=tmp_path / "run", data=data)
    folder = open_run(tmp_path / "run")
    before = folder.metrics()
    again = load(tmp_path / "run").evaluate(again=True)
    assert [entry["again"] for entry in folder.evaluations()] == [False, True]
    assert folder.evaluations()[1]["test"] == again.mean() == before["test"]
    assert folder.metrics() == before


def test_fit_never_sees_the_test_set(data):
    first = fit("lightgcn", data, epochs=2, **FIT)
    second = fit("lightgcn", replace(data, test=data.test.take([0])), epochs=2, **FIT)
    assert torch.equal(first.model.user_embedding, second.model.user_embedding)


def test_fit_takes_options_and_classes(data):
    assert fit(LightGCN, data, epochs=1, config={"num_layers": 3}, **FIT).model.config.num_layers == 3
    with pytest.raises(ConfigError, match="config: unknown key 'num_layer': did you mean"):
        fit("lightgcn", data, config={"num_layer": 3})
    with pytest.raises(ConfigError, match="expected no epochs for 'ease'"):
        fit("ease", data, epochs=3)


def test_save_writes_what_was_only_in_memory(data, tmp_path):
    fitted = fit("lightgcn", data, epochs=1, **FIT)
    scores = fitted.evaluate().mean()
    fitted.save(tmp_path / "run")
    assert open_run(tmp_path / "run").metrics()["test"] == scores
    assert len(open_run(tmp_path / "run").evaluations()) == 1
    fitted.save(tmp_path / "run")
    with pytest.raises(RunFolderError, match="already holds a finished run"):
        fit("lightgcn", data, epochs=1, **FIT).save(tmp_path / "run")


def test_refit_trains_a_new_model_on_train_and_valid_for_the_best_epoch(data, tmp_path):
    config = RunConfig.parse(settings(seed=2, training={"refit": True}))
    finished = run(config, folder=tmp_path / "run", data=data)
    plain = run(settings(seed=2), data=data)
    best = plain.result.best_epoch
    merged = replace(data, split=data.split.merged())
    graph = graphrec.build_graph(merged, config.graph)
    torch.manual_seed(2)
    model = LightGCN(graph, config.model.options)
    training = config.training.model_copy(update={"max_epochs": best})
    Trainer(training, seed=2).fit(model, merged.split)
    expected = evaluate(
        model.eval().frozen(), seen=merged.split.train, truth=data.test, metrics=("recall", "ndcg"), ks=(5,)
    )
    pd.testing.assert_frame_equal(finished.evaluate().frame, expected.frame)
    metrics = open_run(tmp_path / "run").metrics()
    assert metrics["refit"]
    assert metrics["best_epoch"] == best
    assert metrics["valid"] == plain.metrics["valid"]
    users = list(data.split.users.index)
    pd.testing.assert_frame_equal(load(tmp_path / "run").recommend(users), finished.recommend(users), check_exact=True)


def test_refit_of_a_closed_form(data, tmp_path):
    finished = run(settings("ease", training={"refit": True}), folder=tmp_path / "run", data=data)
    edges = finished.graph["user", "interacts", "item"].edge_index.shape[1]
    assert edges == len(data.split.train) + len(data.split.valid)
    found = load(tmp_path / "run")
    assert found.evaluate(again=True).mean() == finished.evaluate().mean()


@pytest.fixture(scope="module")
def fitted(data):
    return fit("popularity", data, graph={"neighbors": 4}, training={"metric": "recall@5"})


def test_recommend_leaves_out_everything_known(fitted, data):
    found = fitted.recommend(["u0", "u5"], k=data.num_items)
    for user in ("u0", "u5"):
        row = data.split.users.rows([user])[0]
        known = {
            *data.split.train.item[data.split.train.user == row],
            *data.split.valid.item[data.split.valid.user == row],
        }
        items = found.loc[found["user"] == user, "item"]
        assert set(data.split.items.rows(items)) == set(range(data.num_items)) - known
    assert found.columns.tolist() == ["user", "rank", "item", "score"]
    best = found[found["user"] == "u0"]
    assert best["rank"].tolist() == list(range(1, len(best) + 1))
    assert best["score"].is_monotonic_decreasing


def test_recommend_filters(fitted):
    everything = fitted.recommend(["u0"], k=30)["item"].tolist()
    some = [everything[7], everything[2], everything[4]]
    assert fitted.recommend(["u0"], k=5, candidates=some)["item"].tolist() == [
        everything[2],
        everything[4],
        everything[7],
    ]
    assert fitted.recommend(["u0"], k=2, exclude=everything[:3])["item"].tolist() == everything[3:5]
    assert fitted.recommend([], k=2).empty


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"user_ids": ["nobody"]}, KeyError, "1 unknown .*nobody"),
        ({"user_ids": ["u0"], "candidates": ["i0", "nothing"]}, KeyError, "nothing"),
        ({"user_ids": ["u0"], "exclude": ["nothing"]}, KeyError, "nothing"),
        ({"user_ids": ["u0"], "k": 1000}, ValueError, "size of the catalogue"),
        ({"user_ids": "u0"}, ValueError, "expected a list of user ids, got 'u0'"),
    ],
)
def test_recommend_refuses_bad_input(fitted, arguments, error, message):
    with pytest.raises(error, match=message):
        fitted.recommend(**arguments)
