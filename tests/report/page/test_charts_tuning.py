"""Tuning: the budget of every study that lies beside the runs, and its best value by trial."""

from __future__ import annotations

import json
import re

import pandas as pd

from graphrec.report.page.charts_tuning import tuning
from graphrec.report.page.study import make_study

SUMMARY = {
    "objectives": ["Recall@20"],
    "budget": {"trials": 4, "timeout": None},
    "trials": {"complete": 3, "pruned": 0, "failed": 1, "lost": 0},
    "seconds": 7200.0,
    "space": {"model.l2": {"low": 1e-06, "high": 0.1, "log": True}, "model.dim": {"choices": [32, 64]}},
    "best": {"trial": 2, "values": {"Recall@20": 0.31}, "params": {"model.l2": 0.02, "model.dim": 64}},
}


def tuned(write, label: str, trials: bool = True):
    run = write(label)
    folder = run.path.parent / "tuning"
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps(SUMMARY))
    if trials:
        states, values = ["complete", "failed", "complete", "complete"], [0.2, None, 0.31, 0.25]
        pd.DataFrame({"number": range(4), "state": states, "value": values}).to_parquet(folder / "trials.parquet")
    return run


def test_the_best_value_so_far_never_falls(write):
    runs = [tuned(write, "a"), write("b")]
    found = tuning(make_study(runs, runs[0].path))
    points, steps = json.loads(re.search(r'json">(.*?)</script>', found.body)[1])["data"]
    assert points["x"] == [0, 2, 3]
    assert steps["x"] == [0, 1, 2, 3]
    assert points["y"] == [0.2, 0.31, 0.25]
    assert steps["y"] == [0.2, 0.2, 0.31, 0.31]
    assert "Not tuned here: b." in found.body


def test_the_budget_is_stated_without_trials_too(write):
    run = tuned(write, "a", trials=False)
    body = tuning(make_study([run], run.path)).body
    row = body.split('<th scope="row">a</th>')[1].split("</tr>")[0]
    assert re.findall("<td>(.*?)</td>", row) == ["4", "3", "0", "1", "2.0 h", "Recall@20", "0.3100"]
    assert 'class="chart"' not in body
    assert "--export" in body
    assert "<td>1e-06 to 0.1, log scale</td><td>0.02</td>" in body
    assert "<td>32, 64</td><td>64</td>" in body


def test_without_a_study_there_is_nothing_to_show(write):
    run = write("a")
    assert tuning(make_study([run], run.path)) is None


def test_a_fusion_is_told_from_a_model_that_was_not_tuned(write):
    runs = [tuned(write, "a"), write("mix", kind="fusion")]
    body = tuning(make_study(runs, runs[0].path)).body
    assert "Fused from models above, the weight chosen on validation: mix." in body
    assert "Not tuned here" not in body
