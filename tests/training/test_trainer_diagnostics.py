"""What a model says of itself is in the history of validation epochs, and is no loss."""

import math

import pytest
import torch

from graphrec.models.hetero_lightgcn import HeteroLightGCN
from graphrec.report.curves import loss_terms
from graphrec.training.trainer import Trainer, TrainingConfig, TrainingResult
from tests.reference.models import DATA, build


def trained(model, **settings):
    config = {"max_epochs": 4, "evaluate_every": 2, "metric": "Recall@5", "device": "cpu", "batch_size": 64}
    return Trainer(TrainingConfig(**(config | settings))).fit(model, DATA.split)


def test_diagnostics_are_in_the_history_of_validation_epochs():
    model = build(HeteroLightGCN, learn_coupling=True)
    result = trained(model)
    history, best = result.history, result.history[result.best_epoch - 1]  # the model has the weights of that epoch
    with_slash = [{name for name in row if "/" in name} for row in history]
    assert with_slash[0] == with_slash[2] == set()
    assert with_slash[1] == with_slash[3] == set(model.diagnostics())
    assert best["coupling/image"] == pytest.approx(model.coupling["image"].item())
    assert history[1]["coupling/image"] != history[3]["coupling/image"]


def test_diagnostics_are_no_loss_terms():
    row = trained(build(HeteroLightGCN)).history[-1]
    names = {"bpr", "l2", "alignment_behavior_image", "alignment_behavior_text", "alignment_image_text"}
    assert set(loss_terms({"epoch": 4, **row}, "Recall@5")) == names


def test_watching_changes_no_weight(monkeypatch):
    watched, blind = build(HeteroLightGCN), build(HeteroLightGCN)
    trained(watched)
    monkeypatch.setattr(HeteroLightGCN, "diagnostics", lambda self: {})
    trained(blind)
    assert all(torch.equal(own, other) for own, other in zip(watched.parameters(), blind.parameters(), strict=True))


def test_values_that_are_not_finite_are_left_out(monkeypatch):
    found = {"a/nan": math.nan, "a/inf": math.inf, "a/one": 1}
    monkeypatch.setattr(HeteroLightGCN, "diagnostics", lambda self: found)
    row = trained(build(HeteroLightGCN)).history[-1]
    assert {name: value for name, value in row.items() if "/" in name} == {"a/one": 1.0}


def test_a_name_that_would_be_taken_for_a_loss_is_refused(monkeypatch):
    monkeypatch.setattr(HeteroLightGCN, "diagnostics", lambda self: {"Recall@5": 1.0})
    message = r"expected names like 'coupling/text' from HeteroLightGCN.diagnostics, got 'Recall@5'"
    with pytest.raises(ValueError, match=message):
        trained(build(HeteroLightGCN))


def test_the_summary_of_a_training():
    history = ({"bpr": 0.5}, {"bpr": 0.4})
    assert TrainingResult(1, 0.25, 2, history).summary("Recall@20") == {"epochs": 2, "best_epoch": 1, "Recall@20": 0.25}
    assert TrainingResult(2, math.nan, 2, history).summary("Recall@20") == {"epochs": 2, "best_epoch": 2}


def test_trackers_are_named_in_the_config():
    assert TrainingConfig().trackers == ("tensorboard",)
    assert TrainingConfig.parse({"trackers": ["mlflow", "wandb"]}).trackers == ("mlflow", "wandb")
    with pytest.raises(ValueError, match="'tensorboard', 'mlflow' or 'wandb'"):
        TrainingConfig.parse({"trackers": ["neptune"]})
