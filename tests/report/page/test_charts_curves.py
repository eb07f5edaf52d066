"""Learning curves: means over seeds as far as all went, loss terms apart from diagnostics."""

from __future__ import annotations

import pytest

from graphrec.report.page.charts_curves import alignment_and_uniformity, learning_curves, over_seeds
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
