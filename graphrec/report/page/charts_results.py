"""The main table."""

from __future__ import annotations

from markupsafe import Markup

from graphrec.report.page.section import Section, note, number, table
from graphrec.report.page.study import Study


def main_table(study: Study) -> Section | None:
    """Shows the mean of every metric and model."""
    rows = [(row.name, *(number(row.mean[metric]) for metric in study.table.metrics)) for row in study.table.rows]
    body = table(("model", *study.table.metrics), rows, caption=study.table.title)
    body += Markup("").join(note(text) for text in study.table.footnotes)
    return Section("results", "Results", "", body)
