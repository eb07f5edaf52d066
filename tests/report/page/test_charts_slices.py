"""Slices: means by hand, intervals by Student, and a slice of everything is the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from graphrec.data.catalog import Catalog
from graphrec.report.page.charts_slices import estimate, slices
from graphrec.report.page.study import make_study
from graphrec.runs import scan_runs


def test_the_interval_of_one_run_is_students():
    values = np.random.default_rng(0).random((1, 30))
    found = estimate(values, 7)
    low, high = stats.t.interval(0.95, 29, loc=values.mean(), scale=stats.sem(values[0]))
    assert found == (pytest.approx(values.mean()), pytest.approx(low), pytest.approx(high), 30, 7)


def test_an_interval_stays_within_what_a_metric_can_be():
    found = estimate(np.array([[0.0, 0.0, 0.0, 1.0]]), 4)
    assert (found.mean, found.low, found.high) == (0.25, 0.0, 1.0)  # Student's would be -0.55 to 1.05


def test_few_users_have_no_interval():
    assert np.isnan(estimate(np.array([[0.5]]), 1).low)
    assert np.isnan(estimate(np.zeros((2, 0)), 1).mean)


def test_slices_by_popularity_modality_and_activity(made):
    study = make_study(scan_runs(made)[0], made)
    body = slices(study).body
    assert body.count('class="chart"') >= 2
    assert "Items by popularity" in body
    assert "Items by the modalities they have" in body
    assert "image + text" in body
    for run in study.groups["popularity"]:  # all users are in one step of activity
        assert f"5–9 interactions<br>{run.metrics()['test_users']} users" in str(body).replace("\\u003c", "<")
        assert f"{run.metrics()['test']['Recall@5']:.4f}" in body


def with_columns(study, *columns):
    """Returns the study, sliced by these columns, with a genre for all items but one and a year for every user."""
    data = study.dataset
    items, users = data.split.items, data.split.users
    genres = {item: ("jazz", "rock|jazz")[place % 2] for place, item in enumerate(items.index[1:])}
    years = {user: 1960 + place for place, user in enumerate(users.index)}
    kept = replace(
        data,
        items=Catalog.from_columns(items, {"genre": genres}),
        people=Catalog.from_columns(users, {"year": years}),
    )
    changed = replace(study, columns=columns)
    changed.__dict__["kept"] = kept
    return changed


def test_what_looks_like_categories_is_sliced_by(made):
    study = with_columns(make_study(scan_runs(made)[0], made))
    sheets = {sheet.name: sheet for sheet in slices(study).sheets}
    by_genre = sheets["slices-items-by-genre"]
    sizes = {row[0]: row[1] for row in by_genre.rows}
    count = len(study.dataset.split.items)
    assert sizes == {"jazz": str(count // 2), "rock": str((count - 1) // 2), "not given": "1"}  # the rarer counts
    assert not [name for name in sheets if "year" in name]  # as many values as users are no categories


def test_named_columns_are_sliced_by_whatever_they_hold(made):
    study = with_columns(make_study(scan_runs(made)[0], made), "year")
    sheets = {sheet.name: sheet for sheet in slices(study).sheets}
    assert "slices-items-by-genre" not in sheets
    sizes = [int(row[1]) for row in sheets["slices-users-by-year"].rows]
    assert len(sizes) == 4  # quarters of the numbers
    assert sum(sizes) == len(study.dataset.split.users)
    assert max(sizes) - min(sizes) <= 1
