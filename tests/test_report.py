"""Reports: the numbers of the table against pandas and SciPy, and pictures that hold what they should."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from scipy import stats

import graphrec
from graphrec.config import ConfigError
from graphrec.data.interactions import Ids
from graphrec.evaluation.ranking import Evaluation
from graphrec.pipeline import fit
from graphrec.report import contact_sheet, learning_curves, report, typical_users
from graphrec.report.sheet import HIT, MARGIN
from graphrec.runs import RunFolder
from graphrec.testing import block_data

NUM_USERS = 50
METRICS = ["Recall@20", "NDCG@20", "MRR@20"]


def scores(seed: int, shift: float) -> Evaluation:
    rng = np.random.default_rng(seed)
    values = np.clip(rng.random((NUM_USERS, 3)) * 0.5 + shift, 0, 1)
    frame = pd.DataFrame(values, columns=METRICS, index=pd.RangeIndex(NUM_USERS, name="user"))
    return Evaluation(frame, Ids([f"u{row}" for row in range(NUM_USERS)]))


@pytest.fixture
def write(tmp_path):
    def written(label: str, seed: int = 0, shift: float = 0.0, kind: str = "model", **changes) -> RunFolder:
        folder = RunFolder(tmp_path / f"{label}-{seed}")
        found = scores(seed, shift)
        about = {"name": "tiny", "identity": "a", "notes": ["unseen ids dropped: 3 valid, 4 test"]}
        folder.begin({}, about | {key: changes.pop(key) for key in ("identity",) if key in changes})
        folder.write_users("test", found)
        metrics = {"label": label, "seed": seed, "kind": kind, "refit": False, "metric": "Recall@20", "best_epoch": 2}
        metrics |= {"test": found.mean(), "test_users": NUM_USERS, "valid": {"Recall@20": 0.3}}
        folder.write_metrics(metrics | changes)
        return folder

    return written


@pytest.fixture
def runs(write):
    return [
        write("oracle", shift=0.5, kind="oracle"),
        *(write("base", seed) for seed in (0, 1, 2)),
        *(write("good", seed, 0.2) for seed in (0, 1, 2)),
        write("ease", 9, 0.05),
        *(write("final", seed, 0.1, refit=True) for seed in (0, 1, 2)),
    ]


def test_means_and_deviations(runs):
    table = report(runs)
    row = next(row for row in table.rows if row.label == "good")
    values = [scores(seed, 0.2).mean()["Recall@20"] for seed in (0, 1, 2)]
    assert row.mean["Recall@20"] == pytest.approx(np.mean(values), abs=1e-15)
    assert row.deviation["Recall@20"] == pytest.approx(np.std(values, ddof=1), abs=1e-15)
    assert table.metrics == ("Recall@20", "NDCG@20")
    assert [row.label for row in table.rows] == ["base", "good", "ease", "final", "oracle"]


def test_paired_test_averages_seeds_and_corrects_by_holm(runs):
    table = report(runs, reference="base")

    def mean(shift, seeds):
        return np.mean([scores(seed, shift).frame["Recall@20"].to_numpy() for seed in seeds], axis=0)

    base = mean(0.0, (0, 1, 2))
    others = {"good": mean(0.2, (0, 1, 2)), "ease": mean(0.05, (9,)), "final": mean(0.1, (0, 1, 2))}
    raw = {label: stats.ttest_rel(values, base).pvalue for label, values in others.items()}
    expected, floor = {}, 0.0
    for place, label in enumerate(sorted(raw, key=raw.get)):
        floor = max(floor, min(1.0, raw[label] * (len(raw) - place)))
        expected[label] = floor
    found = {row.label: row.p_value for row in table.rows}
    assert {label: found[label] for label in expected} == pytest.approx(expected)
    assert np.isnan(found["base"])
    assert np.isnan(found["oracle"])


def test_markdown_marks_the_best_and_explains(runs):
    lines = report(runs, reference="base").to_markdown().splitlines()
    good = next(line for line in lines if line.startswith("| good"))
    assert good.count("**") == 4
    assert " ± " in good
    assert sum("**0." in line for line in lines) == 1
    last = [line for line in lines if line.startswith("|")][-1]
    assert last.startswith("| known ceiling |")
    assert "**" not in last
    text = "\n".join(lines)
    for note in (
        "50 test users, 3 seeds",
        "one run, no seed: ease",
        "unseen ids dropped: 3 valid",
        "refit: trained once",
    ):
        assert note in text
    assert "| final (refit) |" in text
    assert "| <0.0001 |" in text


def test_ties_in_four_digits_are_both_best(write):
    found = report([write("one"), write("two")]).to_markdown()
    assert found.count("**0.") == 4


def test_csv_keeps_full_precision(runs):
    table = report(runs, reference="base", metrics=["recall@20", "MRR@20"])
    found = pd.read_csv(io.StringIO(table.to_csv()), float_precision="round_trip").set_index("model")
    for row in table.rows:
        assert found.loc[row.label, "Recall@20"] == row.mean["Recall@20"]
    assert found.loc["good", "Recall@20 difference"] > 0
    assert found.loc["good", "seeds"] == 3
    assert "MRR@20 std" in found


def test_terminal_table_shows_every_row(runs):
    stream = io.StringIO()
    Console(file=stream, width=120).print(report(runs, reference="base").to_rich())
    for name in ("base", "good", "final (refit)", "known ceiling", "p (Recall@20)"):
        assert name in stream.getvalue()


def test_files_are_written(runs, tmp_path):
    markdown, csv = report(runs).write(tmp_path)
    assert markdown.read_text().startswith("**tiny, test set, full ranking**")
    assert csv.read_text().startswith("model,seeds")


def test_bad_input(runs, write):
    with pytest.raises(ValueError, match="at least one finished run"):
        report([])
    with pytest.raises(ConfigError, match="unknown label 'bass': did you mean 'base'"):
        report(runs, reference="bass")
    with pytest.raises(ConfigError, match="unknown metric 'Recall@7'"):
        report(runs, metrics=["recall@7"])
    with pytest.raises(ValueError, match="expected test scores in"):
        report([write("unscored", test=None)])
    with pytest.raises(ValueError, match="same data and split"):
        report([*runs, write("other", identity="b")])


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
    import sys

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
