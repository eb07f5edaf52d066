"""The main table, and the tested metric as a picture."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup, escape

from graphrec.report.formats import Cell, cells, header
from graphrec.report.marking import MARKS, RUN_MARKS
from graphrec.report.page.answer import signed
from graphrec.report.page.section import Section, chart, heading, notes, number, table
from graphrec.report.page.study import Study
from graphrec.report.page.theme import axes
from graphrec.report.table import Report, Row

ROW = 34  # CSS pixels per model
MEANINGS = ("significantly better than the reference", "significantly worse than the reference")
WORDS = dict(zip(MARKS, MEANINGS, strict=True))
WORDS |= {mark: f"in single training runs {meaning}" for mark, meaning in zip(RUN_MARKS, MEANINGS, strict=True)}


def main_table(study: Study) -> Section | None:
    """Shows the mean of every metric and model with its interval, marked as in the other forms of the table."""
    shown = study.table
    rows = [_cells(study, row) for row in shown.rows]
    body = table(header(shown), rows, caption=f"{shown.title}; 95 % interval over users and seeds below each mean")
    body += notes([*shown.footnotes, *_families(shown)])
    drawn = [row for row in shown.rows if not row.is_ceiling and shown.tested in row.intervals]
    if len(drawn) > 1:
        body += heading(f"{shown.tested} with its interval") + _picture(study, drawn)
        body += notes(["Whether two models differ is told by their paired test, not by whether intervals overlap."])
    lead = "A number is bold where the model is significantly better than every other; where none is, none is bold."
    return Section("results", "Results", lead, body)


def _families(shown: Report) -> list[str]:
    """Returns why a number can be bold without a mark, and the answer have another p-value than the table."""
    several = any(found.winner and len(found.p_values) > 1 for found in shown.contests.values())
    if shown.reference is None or not several:
        return []
    return [
        f"marks and p-values are of every model against {shown.reference}, bold is of the best in a column against all "
        "others; each is corrected for its own comparisons, so that a number can be bold without a mark"
    ]


def _cells(study: Study, row: Row) -> list[Markup]:
    metrics = study.table.metrics
    first, *found = cells(study.table, row)
    means = [
        _cell(cell, row.intervals.get(metric)) for metric, cell in zip(metrics, found[: len(metrics)], strict=True)
    ]
    if study.table.reference is None:
        return [escape(first.text), *means]
    return [escape(first.text), *means, _difference(row), escape(found[-1].text)]


def _cell(cell: Cell, ends: tuple[float, float] | None) -> Markup:
    text = Markup("<strong>{}</strong>" if cell.is_bold else "{}").format(cell.text)
    if cell.mark:
        words = WORDS[cell.mark]
        text += Markup('&thinsp;<span class="mark" role="img" aria-label="{}">{}</span>').format(words, cell.mark)
    return text if ends is None or math.isnan(ends[0]) else text + _ends(number(ends[0]), number(ends[1]))


def _difference(row: Row) -> Markup:
    found = row.comparison
    if found is None:
        return Markup("–")
    return escape(signed(found.difference)) + _ends(signed(found.low), signed(found.high))


def _ends(low: str, high: str) -> Markup:
    return Markup('<span class="interval">{} to {}</span>').format(low, high)


def _picture(study: Study, rows: list[Row]) -> Markup:
    metric = study.table.tested
    ordered = sorted(rows, key=lambda row: row.mean[metric])
    layout = axes(metric, "")
    layout["yaxis"] |= {"type": "category", "showgrid": False, "categoryarray": [row.name for row in ordered]}
    figure = {"data": [_point(study, row, metric) for row in ordered], "layout": layout}
    return chart(figure, label=f"{metric} of every model with its 95 % interval", height=90 + ROW * len(rows))


def _point(study: Study, row: Row, metric: str) -> dict[str, Any]:
    look, mean = study.look(row.label), row.mean[metric]
    low, high = row.intervals[metric]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": row.name,
        "x": [mean],
        "y": [row.name],
        "error_x": {
            "array": [high - mean],
            "arrayminus": [mean - low],
            "color": look.colour,
            "thickness": 2,
            "width": 5,
        },
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 10},
        "hovertemplate": f"%{{x:.4f}}, 95 % interval {low:.4f} to {high:.4f}",
    }
