"""Learning curves: means over seeds as far as all went, loss terms apart from diagnostics."""

from __future__ import annotations

import json
import re

import pytest

from graphrec.report.page.charts_curves import alignment_and_uniformity, diagnostic_charts, learning_curves, over_seeds
from graphrec.report.page.study import make_study
from graphrec.runs import scan_runs


def trained(write, seed: int, values: list[float]):
    run = write("a", seed=seed, best_epoch=1)
    run.write_history([{"epoch": n, "bpr": value, "seconds": 1.0} for n, value in enumerate(values, start=1)])
    return run


def test_the_mean_goes_as_far_as_all_seeds_went(write):
    runs = [trained(write, 0, [0.6, 0.4, 0.2]), trained(write, 1, [0.8, 0.2])]
    assert over_seeds(runs, "bpr") == ([1, 2], pytest.approx([0.7, 0.3]), [0.6, 0.2], [0.8, 0.4])
    assert over_seeds(runs, "l2") is None


def test_terms_are_shown_and_diagnostics_are_not_among_them(made):
    study = make_study(scan_runs(made)[0], made)
    body = learning_curves(study).body
    assert "Loss term: bpr" in body
    assert "Loss term: alignment_behavior_image" in body
    assert "Loss term: coupling" not in body
    assert "Loss term: seconds" not in body
    assert '"name":"popularity"' in body  # a level, since it is not trained
    assert '"name":"gcn, chosen epoch"' in body


def test_alignment_and_uniformity_come_from_the_diagnostics(made):
    body = alignment_and_uniformity(make_study(scan_runs(made)[0], made)).body
    assert "alignment of image, text over the epochs of hetero" in body
    assert "uniformity of" in body
    assert "gcn" not in body


def test_without_training_there_is_nothing_to_show(write):
    run = write("a")
    study = make_study([run], run.path)
    assert learning_curves(study) is None
    assert alignment_and_uniformity(study) is None


def test_seeds_are_thin_lines_to_their_own_ends_and_levels_far_below_are_told(write):
    runs = []
    for seed, values in ((0, [0.3, 0.4, 0.5]), (1, [0.4, 0.5])):
        runs.append(write("a", seed=seed, best_epoch=len(values), valid=None))
        runs[-1].write_history([{"epoch": n, "bpr": 1 / n, "Recall@20": value} for n, value in enumerate(values, 1)])
    runs += [write("low", valid={"Recall@20": 0.1}), write("near", valid={"Recall@20": 0.29})]
    body = learning_curves(make_study(runs, runs[0].path)).body
    figure = json.loads(re.search(r'json">(.*?)</script>', body)[1])
    thin = [trace["x"] for trace in figure["data"] if trace.get("line", {}).get("width") == 1]
    assert thin == [[1, 2, 3], [1, 2]]
    levels = [
        trace["y"] for trace in figure["data"] if trace.get("line", {}).get("dash") == "dot" and trace["x"] == [1, 3]
    ]
    assert sorted(levels) == [[0.1, 0.1], [0.29, 0.29]]
    low, high = figure["layout"]["yaxis"]["range"]
    assert (low, high) == (pytest.approx(0.27), pytest.approx(0.53))
    assert "Below: low at 0.1000." in body


def test_what_never_changes_is_not_drawn(write):
    run = write("a")
    run.write_history([{"epoch": n, "coupling/text": 0.1, "uniformity/text": n / 10} for n in (1, 2)])
    study = make_study([run], run.path)
    assert diagnostic_charts(study, "coupling", "") == []
    assert len(diagnostic_charts(study, "uniformity", "")) == 1
