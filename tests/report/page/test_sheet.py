"""Tables beside the page: readable in Markdown, safe in LaTeX, whole in CSV."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from graphrec.report.page.charts_slices import slices
from graphrec.report.page.sheet import Sheet
from graphrec.report.page.study import make_study
from graphrec.runs import scan_runs


@pytest.fixture
def sheet():
    frame = pd.DataFrame({"slice": ["a|b"], "m_1": [0.123456789]})
    return Sheet("slices", "50 %", ("slice", "m_1"), [("a|b", "0.1235")], frame)


def test_markdown_keeps_its_columns(sheet):
    assert sheet.to_markdown() == "**50 %**\n\n| slice | m_1 |\n|---|---:|\n| a\\|b | 0.1235 |\n"


def test_latex_has_the_rules_of_booktabs_and_no_stray_command(sheet):
    lines = sheet.to_latex().splitlines()
    assert lines[1:4] == [r"\begin{tabular}{lr}", r"\toprule", r"slice & m\_1 \\"]
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]


def test_csv_has_every_digit(sheet, tmp_path):
    *_, csv = sheet.write(tmp_path, "-x")
    assert csv.name == "slices-x.csv"
    pd.testing.assert_frame_equal(pd.read_csv(csv), sheet.frame)


def test_slices_are_written_with_their_intervals(made):
    by_popularity = slices(make_study(scan_runs(made)[0], made)).sheets[0]
    frame = pd.read_csv(io.StringIO(by_popularity.frame.to_csv()))
    assert by_popularity.name == "slices-popularity"
    assert set(frame["slice"]) == {"cold", "tail", "mid", "head"}
    known = frame.dropna()
    assert (known["low"] <= known["mean"]).all()
    assert (known["mean"] <= known["high"]).all()
