"""Couplings: read from the weights, drawn in proportion."""

from __future__ import annotations

import re

import pytest

from graphrec.report.page.charts_coupling import THICKEST, THINNEST, couplings, diagram, final_couplings
from graphrec.report.page.study import make_study
from graphrec.runs import scan_runs


@pytest.fixture
def study(made):
    return make_study(scan_runs(made)[0], made)


def test_final_couplings_are_those_of_the_weights(study):
    runs = study.groups["hetero"]
    found = final_couplings(runs)
    assert set(found) == {"interacts", "image", "text"}
    assert found["image"] == [float(run.weights()["coupling.image"]) for run in runs]
    assert final_couplings(study.groups["gcn"]) == {}


def test_edges_are_as_wide_as_couplings_are_large():
    html = diagram("a", {"interacts": [1.0], "image": [0.5], "text": [0.0]})
    widths = [float(width) for width in re.findall(r'stroke-width="([\d.]+)"', html)]
    assert widths == pytest.approx([THICKEST, (THICKEST + THINNEST) / 2, THINNEST])
    assert "interacts 1; image 0.5; text 0" in html


def test_the_section_says_whether_couplings_were_learned(study):
    body = couplings(study).body
    assert "hetero, learned" in body
    assert "coupling of image, interacts, text over the epochs of hetero" in body


def test_without_couplings_there_is_nothing_to_show(write):
    run = write("a")
    assert couplings(make_study([run], run.path)) is None
