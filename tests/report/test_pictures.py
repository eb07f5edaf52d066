"""Pictures of reports hold what they should."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import graphrec
from graphrec.pipeline import fit
from graphrec.report import contact_sheet, learning_curves, typical_users
from graphrec.report.sheet import HIT, MARGIN
from graphrec.testing import block_data


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_learning_curves_draw_every_run(runs, tmp_path):
    trained = [run for run in runs if run.metrics()["label"] in ("base", "good")]
    for run in trained:
        run.write_history([{"epoch": epoch, "bpr": 1 / epoch, "Recall@20": 0.1 * epoch} for epoch in (1, 2, 3)])
    path = learning_curves(runs, tmp_path / "curves.png")
    image = pixels(path)
    assert image.shape[1] > 1000
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50
    with pytest.raises(ValueError, match="expected runs with validation scores"):
        learning_curves([], path)


def test_drawing_leaves_pyplot_alone(runs, tmp_path):
    sys.modules.pop("matplotlib.pyplot", None)
    learning_curves(runs, tmp_path / "curves.png")
    assert "matplotlib.pyplot" not in sys.modules


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    data = graphrec.generate(600, folder=tmp_path_factory.mktemp("pictures"))
    return fit("popularity", data)


def test_contact_sheet_shows_pictures_and_marks_hits(pictured, tmp_path):
    users = typical_users(pictured, 3)
    assert 1 <= len(users) <= 3
    image = pixels(contact_sheet(pictured, users, tmp_path / "sheet.png"))
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100
    row = pictured.data.split.users.rows(users[:1])[0]
    first = pictured.recommend(users[:1])["item"].iloc[[0]]
    hit = replace(pictured.data.test, user=np.array([row]), item=pictured.data.split.items.rows(first))
    pictured_hit = fit("popularity", replace(pictured.data, test=hit))
    missed = fit("popularity", replace(pictured.data, test=hit.take(np.zeros(0, int))))

    def green(run) -> int:
        sheet = pixels(contact_sheet(run, users[:1], tmp_path / "one.png"))[60 + MARGIN :]
        return int((sheet == HIT).all(axis=-1).sum())

    assert green(pictured_hit) - green(missed) > 4 * 96


def test_contact_sheet_without_pictures_shows_ids(tmp_path):
    run = fit("popularity", block_data(), graph={"neighbors": 4}, training={"metric": "recall@5"})
    image = pixels(contact_sheet(run, ["u0", "u1"], tmp_path / "sheet.png", k=5))
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20
    with pytest.raises(ValueError, match="at least one user"):
        contact_sheet(run, [], tmp_path / "none.png")
    with pytest.raises(KeyError, match="nobody"):
        contact_sheet(run, ["nobody"], tmp_path / "none.png")


def test_unreadable_pictures_become_text(pictured, tmp_path):
    data = pictured.data
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    frame = data.items.frame.assign(image=[str(broken)] * data.num_items)
    run = fit("popularity", replace(data, items=replace(data.items, frame=frame)), features={"modalities": ["text"]})
    assert contact_sheet(run, typical_users(run, 1), tmp_path / "sheet.png").is_file()
