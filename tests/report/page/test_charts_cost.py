"""Accuracy against cost: the area is the memory, the place the time and the metric."""

from __future__ import annotations

import json
import re

import pytest

from graphrec.report.page.charts_cost import LARGEST, accuracy_against_cost
from graphrec.report.page.study import make_study


def traces_of(body: str) -> list[dict]:
    return json.loads(re.search(r'json">(.*?)</script>', body)[1])["data"]


def test_four_times_the_memory_is_twice_as_wide(write):
    runs = [
        write("a", seconds={"model": 0.5, "training": 1.5}, peak_memory_mib=400),
        write("b", seconds={"training": 8.0}),
    ]
    runs.append(write("c", seconds={"training": 8.0}, peak_memory_mib=100))
    bubbles = {
        trace["name"]: trace for trace in traces_of(accuracy_against_cost(make_study(runs, runs[0].path)).body)[::2]
    }
    assert bubbles["a"]["marker"]["size"] == LARGEST == 2 * bubbles["c"]["marker"]["size"]
    assert bubbles["b"]["marker"]["size"] < bubbles["c"]["marker"]["size"]  # memory not known
    assert bubbles["a"]["x"] == [2.0]
    assert bubbles["a"]["y"] == pytest.approx([runs[0].metrics()["test"]["Recall@20"]], abs=1e-6)


def test_runs_that_noted_no_time_are_left_out(write):
    run = write("a")
    assert accuracy_against_cost(make_study([run], run.path)) is None
