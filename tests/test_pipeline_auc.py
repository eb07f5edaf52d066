"""AUC, the metric without a cut-off, through a whole run: config, choice of the epoch, run folder, table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from graphrec.config import ConfigError
from graphrec.evaluation.beyond import beyond_accuracy
from graphrec.evaluation.lists import Lists
from graphrec.evaluation.slices import item_slices, slice_items
from graphrec.pipeline import RunConfig, run
from graphrec.report import report
from graphrec.runs import open_run
from graphrec.testing import block_data

SETTINGS = {
    "model": {"name": "lightgcn"},
    "training": {"max_epochs": 3, "batch_size": 64, "learning_rate": 0.01, "metric": "AUC"},
    "evaluation": {"ks": [5], "metrics": ["recall", "auc"]},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auc") / "run"
    return run(SETTINGS, folder=folder, data=block_data()), open_run(folder)


def test_auc_chooses_the_epoch_and_is_kept_per_user(finished):
    done, folder = finished
    assert max(row["AUC"] for row in folder.history()) == folder.metrics()["valid"]["AUC"]
    assert list(folder.users("test")) == ["Recall@5", "AUC"]
    user = int(done.evaluate().frame.index[0])
    train, test = (part.csr().toarray()[user] for part in (done.data.split.train, done.data.test))
    scores = done.scorer.score(torch.tensor([user]))[0]
    expected = roc_auc_score(test[train == 0], scores.numpy()[train == 0])
    assert folder.users("test")["AUC"].iloc[0] == pytest.approx(expected, rel=1e-12)


def test_a_table_shows_auc_where_it_is_asked_for(finished):
    _, folder = finished
    assert report([folder]).metrics == ("Recall@5",)
    assert report([folder], metrics=["auc", "recall@5"]).metrics == ("AUC", "Recall@5")


def test_lists_of_a_run_folder_give_slices_and_measures_without_the_model(finished):
    done, folder = finished
    train, test = done.data.split.train, done.data.test
    lists = Lists.by_id(folder.users("test").index, folder.lists("test"), train.users)
    stored = lists.accuracy(test, ("recall",), (5,))["Recall@5"]
    np.testing.assert_array_equal(stored.to_numpy(), folder.users("test")["Recall@5"].to_numpy())
    assert beyond_accuracy(lists, train, (5,), truth=test).users.equals(
        beyond_accuracy(done.evaluate(), train, (5,), truth=test).users
    )
    assert slice_items(lists, test, item_slices(train), ks=(5,)).counts["num_held_out"].sum() == len(test)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("training", {"metric": "auc@20"}, "training.metric.*without a cut-off"),
        ("evaluation", {"metrics": ["acu"]}, "unknown metric 'acu': did you mean 'auc'"),
    ],
)
def test_a_wrong_metric_is_refused_by_its_path(section, values, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.parse({"model": "lightgcn", section: values})
    assert "auc" not in RunConfig.parse({"model": "lightgcn"}).evaluation.metrics
