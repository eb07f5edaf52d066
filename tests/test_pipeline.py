"""The pipeline: one run, refit, recommending, errors before training, and resuming."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import graphrec
from graphrec.config import ConfigError
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Split
from graphrec.data.interactions import Ids, Interactions
from graphrec.evaluation.ranking import evaluate
from graphrec.graph.build import GraphConfig
from graphrec.models.base import frozen
from graphrec.models.lightgcn import LightGCN
from graphrec.pipeline import RunConfig, benchmark, fit, load, run
from graphrec.pipeline.prepare import identity, prepare
from graphrec.runs import RunFolder, RunFolderError, open_run
from graphrec.testing import block_data
from graphrec.training.checkpoint import CheckpointError
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
        "history.jsonl", "tensorboard", "model.safetensors", "dataset", "graph.safetensors", "graph.json",
        "evaluations.jsonl",
    }  # fmt: skip
    metrics = folder.metrics()
    assert metrics["test"] == finished.evaluate().mean()
    assert folder.users("test").mean().to_dict() == pytest.approx(metrics["test"], abs=1e-15)
    assert metrics["epochs"] == 3
    assert 1 <= metrics["best_epoch"] <= 3
    assert metrics["peak_memory_mib"] > 0
    assert set(metrics["seconds"]) == {"features", "graph", "training", "validation"}
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
    scores = evaluate(frozen(model.eval()), seen=data.split.train, truth=data.test, metrics=("recall", "ndcg"), ks=(5,))
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
        frozen(model.eval()), seen=merged.split.train, truth=data.test, metrics=("recall", "ndcg"), ks=(5,)
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


@pytest.fixture
def untrained(monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("training began"))


@pytest.mark.usefixtures("untrained")
def test_errors_come_before_training(data, tmp_path):
    def expect(message, values=None, change=None, error=ValueError):
        with pytest.raises(error, match=message):
            run(settings() | (values or {}), data=replace(data, **(change or {})), folder=tmp_path / "run")

    expect("size of the catalogue", {"evaluation": {"ks": [5000]}})
    expect("size of the catalogue", {"training": {"metric": "recall@5000"}})
    expect("empty split", change={"test": data.test.take(np.zeros(0, int))})
    expect("unknown modality 'smell'", {"features": {"modalities": ["smell"]}}, error=ConfigError)
    expect("unknown modality 'smell'", {"graph": {"modalities": ["smell"], "neighbors": 4}})
    expect("nodes of modality", {"graph": {"neighbors": 33}})
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("untrained")
def test_a_user_with_every_item_is_named_before_training(data):
    train, valid = data.split.train, data.split.valid
    others = train.take(train.user != 42)
    full = replace(
        others,
        user=np.concatenate([others.user, np.full(data.num_items, 42)]),
        item=np.concatenate([others.item, np.arange(data.num_items)]),
    )
    with pytest.raises(ValueError, match="user 'u42'"):
        run(settings(), data=replace(data, split=Split(full, valid)))


@pytest.mark.usefixtures("untrained")
def test_a_user_without_negatives_is_named_before_training(data):
    train, valid = data.split.train, data.split.valid
    seen = np.unique(train.item)
    others = train.take(train.user != 42)

    def with_items(items):
        user, item = np.full(len(items), 42), np.asarray(items)
        return replace(others, user=np.concatenate([others.user, user]), item=np.concatenate([others.item, item]))

    everything_seen = replace(data, split=Split(with_items(seen), valid))
    with pytest.raises(ValueError, match="user 'u42'"):
        run(settings(training={"seen_negatives": True}), data=everything_seen)
    known = np.arange(data.num_items)
    rest = replace(valid.take([0]), user=np.array([42]), item=known[-1:])
    after_refit = replace(data, split=Split(with_items(known[:-1]), rest))
    with pytest.raises(ValueError, match="user 'u42'"):
        run(settings(training={"refit": True}), data=after_refit)
    models = {"ease": {"model": {"name": "ease"}}, "mf": {"model": {"name": "mf"}, "training": {"refit": True}}}
    with pytest.raises(ValueError, match="user 'u42'"):
        benchmark(SMALL | {"seeds": [0], "models": models}, "nowhere", data=after_refit)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("device", ["gpu", "cuda:0", "cuda:x"])
def test_a_device_that_is_not_there_is_named_before_training(device, data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"training\.device: expected 'auto', 'cpu' or"):
        run(settings(training={"device": device}), data=data)


def test_other_pictures_of_the_same_names_are_other_data(data, tmp_path):
    def pictured(shade):
        folder = tmp_path / str(shade)
        folder.mkdir()
        paths = [folder / f"{row}.png" for row in range(data.num_items)]
        for row, path in enumerate(paths):
            Image.new("RGB", (8, 8), (shade, 5 * row % 256, 9)).save(path)
        items = Catalog(data.split.items, pd.DataFrame({"image": paths}))
        return prepare(replace(data, items=items, vectors={}), graph=GraphConfig(neighbors=4))

    first, second = pictured(1), pictured(200)
    assert first.tables["image"].source != "given"
    assert first.data.fingerprint() == second.data.fingerprint()
    assert first.identity != second.identity
    assert prepare(data, graph=GraphConfig(neighbors=4)).identity == identity(data)


@pytest.mark.usefixtures("untrained")
def test_a_benchmark_builds_every_model_before_it_trains_one(data, tmp_path):
    models = {"mf": {"model": {"name": "mf"}}, "bad": {"model": {"name": "freedom", "weights": {"smell": 1.0}}}}
    with pytest.raises(ConfigError, match="unknown modality 'smell'"):
        benchmark(SMALL | {"seeds": [0], "models": models}, tmp_path, data=data)


class StopError(RuntimeError):
    """Stands for a power cut."""


def stop_after(epochs: int, monkeypatch):
    """Makes training fail once that many epochs are finished."""
    original = Trainer._epoch

    def limited(self, *arguments):
        if arguments[-1] >= epochs:
            raise StopError
        return original(self, *arguments)

    monkeypatch.setattr(Trainer, "_epoch", limited)


def test_a_resumed_run_equals_an_uninterrupted_one(data, tmp_path, monkeypatch):
    values = settings("hetero-lightgcn", training={"max_epochs": 4}, edge_keep=0.5)
    whole = run(values, folder=tmp_path / "whole", data=data)
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(StopError):
            run(values, folder=tmp_path / "run", data=data)
    assert RunFolder(tmp_path / "run").checkpoints.is_dir()
    with pytest.raises(RunFolderError, match="not finished"):
        load(tmp_path / "run")
    resumed = run(values, folder=tmp_path / "run", data=data, resume=True)
    weights, expected = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert resumed.evaluate().mean() == whole.evaluate().mean()
    assert [row["epoch"] for row in resumed.folder.history()] == [1, 2, 3, 4]
    assert not resumed.folder.checkpoints.exists()


def test_a_checkpoint_of_other_settings_or_data_is_refused(data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        with pytest.raises(StopError):
            run(settings(), folder=tmp_path / "run", data=data)
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.*")}
    with pytest.raises(CheckpointError, match="was written with config"):
        run(settings(num_layers=1), folder=tmp_path / "run", data=data, resume=True)
    with pytest.raises(CheckpointError, match="was written with data"):
        run(settings(), folder=tmp_path / "run", data=block_data(seed=9), resume=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").glob("*.*")} == before


def test_without_checkpoints_an_unfinished_run_begins_anew(data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(0, patch)
        with pytest.raises(StopError):
            run(settings(), folder=tmp_path / "run", data=data)
    assert run(settings(num_layers=1), folder=tmp_path / "run", data=data).folder.is_complete()


@pytest.mark.usefixtures("untrained")
def test_a_folder_with_other_files_is_refused_before_training(data, tmp_path):
    (tmp_path / "mf" / "seed-0").mkdir(parents=True)
    (tmp_path / "mf" / "seed-0" / "thesis.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(RunFolderError, match="with other files"):
            run(settings(), folder=tmp_path / "mf" / "seed-0", data=data, resume=resume)
    models = {"ease": {"model": {"name": "ease"}}, "mf": {"model": {"name": "mf"}}}
    with pytest.raises(RunFolderError, match="with other files"):
        benchmark(SMALL | {"seeds": [0], "models": models}, tmp_path, data=data)
    assert [path.name for path in tmp_path.rglob("*")] == ["mf", "seed-0", "thesis.txt"]


@pytest.mark.usefixtures("untrained")
def test_ids_that_cannot_be_written_are_named_before_training(data, tmp_path):
    users = Ids([frozenset([row]) for row in range(data.num_users)], name="user")
    split = Split(replace(data.split.train, users=users), replace(data.split.valid, users=users))
    people, test = replace(data.people, ids=users), replace(data.test, users=users)
    with pytest.raises(ValueError, match="turn the ids into texts"):
        run(settings(), folder=tmp_path / "run", data=replace(data, split=split, test=test, people=people))
    assert not (tmp_path / "run").exists()


def test_fit_takes_the_cutoffs(data):
    found = fit("popularity", data, evaluation={"ks": [5], "metrics": ["recall"]}, **FIT)
    assert list(found.evaluate().mean()) == ["Recall@5"]


def test_save_knows_its_own_folder_by_a_relative_path(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted = fit("popularity", data, folder="run", **FIT)
    assert fitted.save("run").path == tmp_path / "run"
    assert load("run").save(tmp_path / "run").path == tmp_path / "run"
    fresh = fit("popularity", data, **FIT)
    fresh.save("other")
    assert fresh.save(tmp_path / "other").path == tmp_path / "other"


def test_without_resume_unfinished_and_finished_runs_are_kept(data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(StopError):
            run(settings(num_layers=1), folder=tmp_path / "run", data=data)
    with pytest.raises(RunFolderError, match="holds an unfinished run at epoch 2; resume it, or delete it"):
        run(settings(num_layers=1), folder=tmp_path / "run", data=data)
    finished = run(settings(num_layers=1), folder=tmp_path / "run", data=data, resume=True)
    assert [row["epoch"] for row in finished.folder.history()] == [1, 2, 3]
    with pytest.raises(RunFolderError, match="already holds a finished run"):
        run(settings(num_layers=1), folder=tmp_path / "run", data=data)
    again = run(settings(num_layers=1), folder=tmp_path / "run", data=data, resume=True)
    assert again.metrics == finished.metrics
    with pytest.raises(RunFolderError, match="other settings or data"):
        run(settings(num_layers=2), folder=tmp_path / "run", data=data, resume=True)


def test_damaged_weights_and_data_are_named_on_load(data, tmp_path):
    run(settings(), folder=tmp_path / "a", data=data)
    run(settings(embedding_dim=8), folder=tmp_path / "b", data=data)
    (tmp_path / "a" / "model.safetensors").write_bytes((tmp_path / "b" / "model.safetensors").read_bytes())
    with pytest.raises(RunFolderError, match="do not fit 'lightgcn'"):
        load(tmp_path / "a")
    run(settings("ease"), folder=tmp_path / "c", data=data)
    (tmp_path / "c" / "closed_form.json").write_text('{"train": "0"}')
    with pytest.raises(RunFolderError, match="expected training data 0"):
        load(tmp_path / "c")
