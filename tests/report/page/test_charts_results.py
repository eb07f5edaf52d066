"""The main table of the page: the numbers of the report with their marks and intervals."""

from __future__ import annotations

import pytest

from graphrec.report.page.charts_results import main_table
from graphrec.report.page.study import make_study


@pytest.fixture
def runs(write):
    return [write(label, mean, seed) for label, mean in (("a", 0.3), ("b", 0.6)) for seed in (0, 1, 2)]


def test_means_intervals_and_marks_are_those_of_the_report(runs):
    study = make_study(runs, runs[0].path, reference="a")
    body = main_table(study).body
    row = next(row for row in study.table.rows if row.label == "b")
    low, high = row.intervals["Recall@20"]
    mean, spread = row.mean["Recall@20"], row.deviation["Recall@20"]
    assert f"<strong>{mean:.4f} ± {spread:.4f}</strong>" in body
    assert f'<span class="interval">{low:.4f} to {high:.4f}</span>' in body
    assert 'aria-label="significantly better than the reference">▲</span>' in body
    assert f"{row.comparison.difference:+.4f}" in body


def test_nothing_is_bold_without_a_significant_winner(write):
    alike = [write(label, 0.3, seed, noise=n) for n, label in enumerate("ab") for seed in (0, 1, 2)]
    assert "<strong>" not in main_table(make_study(alike, alike[0].path)).body


def test_footnotes_come_along(runs):
    study = make_study(runs, runs[0].path)
    assert main_table(study).body.count("<li>") == len(study.table.footnotes) + 1


def test_marks_and_bold_numbers_are_told_apart_where_their_corrections_differ(runs, write):
    more = [*runs, *(write("c", 0.3, seed, noise=1) for seed in (0, 1, 2))]
    said = "marks and p-values are of every model against a, bold is of the best"
    assert said in main_table(make_study(more, more[0].path, reference="a")).body
    assert said not in main_table(make_study(more, more[0].path)).body
    assert said not in main_table(make_study(runs, runs[0].path, reference="a")).body  # one comparison is all there is
