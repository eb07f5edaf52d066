"""Exposure: the Lorenz curve encloses what the Gini coefficient says."""

from __future__ import annotations

import numpy as np
import pytest

from graphrec.evaluation.exposure import gini
from graphrec.report.page.charts_items import REFERENCE, _line, cutoff, head_and_tail, kept_lists
from graphrec.report.page.study import make_study
from graphrec.runs import scan_runs


@pytest.fixture
def study(made):
    return make_study(scan_runs(made)[0], made)


def test_a_curve_accumulates_shares_in_percent():
    found = _line("a", np.array([0.0, 0.0, 1.0, 3.0]), REFERENCE)
    assert [found["y"][at] for at in (0, 50, 75, 100)] == [0, 0, 25, 100]


def test_the_area_below_the_lorenz_curve_is_the_gini_coefficient():
    counts = np.random.default_rng(0).integers(0, 50, 100).astype(float)
    found = _line("a", np.sort(counts), REFERENCE)
    area = np.trapezoid(found["y"] / 100, found["x"] / 100)
    assert 1 - 2 * area == pytest.approx(gini(counts), abs=1e-9)


def test_lists_are_cut_where_the_tested_metric_is(study):
    runs = [run for runs in kept_lists(study).values() for run in runs]
    assert study.table.tested == "Recall@5"
    assert cutoff(study, runs) == 5


def test_popularity_shows_fewer_items_than_the_graph_model(study):
    body = head_and_tail(study).body
    assert body.count('class="chart"') == 2
    rows = {label: body.split(f'<th scope="row">{label}</th>')[1].split("</tr>")[0] for label in ("popularity", "gcn")}
    ginis = {label: float(row.split("<td>")[1].split("<")[0]) for label, row in rows.items()}
    assert ginis["popularity"] > ginis["gcn"]
