"""Sections: what is text stays text, and a chart is JSON that a browser can read."""

from __future__ import annotations

import json
import re

import numpy as np
from markupsafe import Markup

from graphrec.report.page.section import chart, folded, number, table


def figure_of(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*)</script>', html)[1])


def test_a_chart_keeps_its_numbers_and_turns_nan_into_null():
    drawn = chart({"data": [{"y": np.array([1.0, np.nan, 0.1234567891])}], "layout": {}}, label="a")
    assert figure_of(drawn) == {"data": [{"y": [1.0, None, 0.123457]}], "layout": {}}


def test_a_chart_takes_a_plotly_figure():
    from plotly.graph_objects import Figure, Scatter

    found = figure_of(chart(Figure(Scatter(x=[1, 2], y=[3, 4], name="a")), label="a"))
    assert found["data"][0]["name"] == "a"
    assert list(found["data"][0]["x"]) == [1, 2]
    assert "template" not in found["layout"]


def test_a_name_cannot_leave_its_chart_or_its_label():
    name = '</script><img src=x onerror=alert(1)> "&'
    drawn = chart({"data": [{"name": name}], "layout": {}}, label=name)
    assert drawn.count("</script>") == 1
    assert "<img" not in drawn
    assert figure_of(drawn)["data"][0]["name"] == name


def test_cells_are_escaped_unless_they_are_markup():
    html = table(("a", "b"), [("<b>", Markup("<b>bold</b>"))], caption="c < d")
    assert '<th scope="row">&lt;b&gt;</th>' in html
    assert "<td><b>bold</b></td>" in html
    assert "<caption>c &lt; d</caption>" in html
    assert "&lt;i&gt;" in folded("<i>", Markup(""))


def test_no_number_is_a_dash():
    assert [number(0.12345), number(float("nan")), number(2, 0)] == ["0.1235", "–", "2"]
