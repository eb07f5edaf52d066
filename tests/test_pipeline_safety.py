"""The pipeline: errors before training, folders that are kept, and resuming."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from graphrec.config import ConfigError
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Split
from graphrec.data.interactions import Ids
from graphrec.graph.build import GraphConfig
from graphrec.pipeline import benchmark, fit, load, run
from graphrec.pipeline.prepare import identity, prepare
from graphrec.runs import RunFolder, RunFolderError
from graphrec.testing import block_data
from graphrec.training.checkpoint import CheckpointError
from graphrec.training.trainer import Trainer

FAST = {"max_epochs": 3, "batch_size": 64, "learning_rate": 0.01, "metric": "Recall@5"}
SMALL = {"training": FAST, "graph": {"neighbors": 4}, "evaluation": {"ks": [5], "metrics": ["recall", "ndcg"]}}

FIT = {"graph": {"neighbors": 4}, "training": {"batch_size": 64, "metric": "recall@5"}}


@pytest.fixture(scope="module")
def data():
    return block_data()


def settings(name: str = "lightgcn", seed: int = 0, training: dict | None = None, **options) -> dict:
    return SMALL | {"model": {"name": name, **options}, "seed": seed, "training": FAST | (training or {})}


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
    models = {"mf": {"model": {"name": "mf"}, "training": {"refit": True}}}
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
    models = {"bad": {"model": {"name": "freedom", "weights": {"smell": 1.0}}}}
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
    models = {"mf": {"model": {"name": "mf"}}}
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
