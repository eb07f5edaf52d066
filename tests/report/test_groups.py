"""Runs that must not stand in one table, and those that may."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphrec.report import report
from graphrec.report.groups import group_runs
from graphrec.runs import save_dataset
from graphrec.testing import block_data


def test_runs_are_grouped_by_label_in_their_order(runs):
    found = group_runs(runs)
    assert {label: len(group) for label, group in found.items()} == {
        "oracle": 1,
        "base": 3,
        "good": 3,
        "ease": 1,
        "final": 3,
    }


def test_no_runs_and_runs_without_test_scores_are_refused(write):
    with pytest.raises(ValueError, match="at least one finished run"):
        group_runs([])
    with pytest.raises(ValueError, match=r"expected test scores in .*graphrec evaluate"):
        group_runs([write("unscored", test=None)])


def test_a_seed_that_comes_twice_is_refused_and_labels_help(write):
    twice = [write("base", name="a"), write("base", name="b")]
    with pytest.raises(ValueError, match=r"one run of 'base' per seed, got seed 0 in .*a and in .*b; leave one out"):
        report(twice)
    assert [row.label for row in report(twice, labels=["old", "new"]).rows] == ["old", "new"]
    with pytest.raises(ValueError, match="one label per run, got 1 for 2 runs"):
        report(twice, labels=["old"])


def test_other_settings_under_one_label_are_refused(write):
    with pytest.raises(ValueError, match="the runs of 'base' to differ in their seed only"):
        group_runs([write("base", 0), write("base", 1, model={"num_layers": 3})])
    with pytest.raises(ValueError, match="the runs of 'base' to differ in their seed only"):
        group_runs([write("base", 2), write("base", 3, refit=True)])


def test_other_data_is_refused(runs, write):
    with pytest.raises(ValueError, match=r"same data and split, got others: .* in "):
        group_runs([*runs, write("other", identity="b")])


def test_other_features_of_the_same_interactions_are_compared_and_said(write):
    data = block_data()
    first, second, third = write("image"), write("text", identity="b"), write("cut", identity="c")
    for run in (first, second):
        save_dataset(run.dataset, data)
    save_dataset(third.dataset, replace(data, test=data.test.take(np.arange(len(data.test)) > 0)))
    assert any("not all given the same features" in note for note in report([first, second]).footnotes)
    assert not any("features" in note for note in report([first]).footnotes)
    with pytest.raises(ValueError, match="same data and split"):
        report([first, second, third])
