"""What a page is made of: sections whose body is HTML, with charts, tables and parts that fold away.

Text is escaped unless it is ``Markup``. A chart is a plotly figure as JSON inside its ``div``; the script of the page
draws it when it comes into view and again when the theme changes. Fonts, background, grid and hover box come from the
page. A colour in a chart may be a token that the page replaces by one that is readable in the theme at hand: ``@0`` to
``@7`` (the palette of Okabe and Ito), ``@ink``, ``@muted``, ``@grid``, ``@paper``; with an alpha as ``@3/0.2``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from graphrec.report.page.sheet import Sheet

DENSE = 9  # columns, above which a table is set in smaller print
DIGITS = 6  # of a number in a chart: more than a screen can show


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading of its own.

    Args:
        name: Its anchor, unique within a study: letters, digits and dashes.
        title: The heading.
        lead: One sentence that says what to see.
        body: HTML.
        sheets: Tables that are written beside the page too.
    """

    name: str
    title: str
    lead: str
    body: Markup
    sheets: tuple[Sheet, ...] = ()


def chart(figure: Any, *, label: str, height: int = 420) -> Markup:
    """Returns a plotly figure as HTML, to be drawn by the page.

    Args:
        figure: A plotly figure, or a mapping with ``data`` and ``layout`` in which NumPy arrays may stand for lists.
        label: What the chart shows, for those who cannot see it.
        height: In CSS pixels; a phone may show it lower.
    """
    plain = figure if isinstance(figure, Mapping) else figure.to_plotly_json()
    parts = {name: _plain(plain.get(name) or empty) for name, empty in (("data", []), ("layout", {}))}
    parts["layout"].pop("template", None)  # the page has its own
    text = json.dumps(parts, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Markup(
        '<div class="chart" role="img" tabindex="0" aria-label="{}" style="--height:{}px">'
        '<script type="application/json">{}</script></div>'
    ).format(label, height, Markup(text.replace("<", "\\u003c").replace("&", "\\u0026")))


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], *, caption: str, numbers: bool = True) -> Markup:
    """Returns an HTML table that scrolls in a box of its own; the first cell of a row is its heading.

    Args:
        header: The names of the columns.
        rows: The cells; text is escaped, ``Markup`` is taken as it is.
        caption: What the table holds.
        numbers: Whether all columns but the first are aligned like numbers.
    """
    kind = ("numbers" if numbers else "texts") + (" dense" if len(header) > DENSE else "")
    head = _join('<th scope="col">{}</th>', header)
    body = Markup("").join(Markup("<tr>{}</tr>").format(_row(row)) for row in rows)
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{0}"><table class="{1}"><caption>{0}</caption>'
        "<thead><tr>{2}</tr></thead><tbody>{3}</tbody></table></div>"
    ).format(caption, kind, head, body)


def folded(title: str, body: Markup, *, is_open: bool = False) -> Markup:
    """Returns a part that the reader opens and closes."""
    state = Markup(" open") if is_open else ""
    return Markup('<details{}><summary>{}</summary><div class="folded">{}</div></details>').format(state, title, body)


def note(text: Any) -> Markup:
    """Returns a remark in small print."""
    return Markup('<p class="note">{}</p>').format(text)


def notes(texts: Iterable[Any]) -> Markup:
    """Returns remarks in small print as a list."""
    return Markup('<ul class="notes">{}</ul>').format(_join("<li>{}</li>", texts))


def heading(text: str) -> Markup:
    """Returns a heading within a section."""
    return Markup("<h4>{}</h4>").format(text)


def side_by_side(*parts: Markup) -> Markup:
    """Returns parts beside each other where the screen is wide enough."""
    return Markup('<div class="pair">{}</div>').format(_join("<div>{}</div>", parts))


def number(value: float, digits: int = 4) -> str:
    """Returns a number for a table, a dash for none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def slug(text: str, default: str = "data") -> str:
    """Returns a text as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or default


def _row(row: Sequence[Any]) -> Markup:
    first = Markup('<th scope="row">{}</th>').format(row[0])
    return first + _join("<td>{}</td>", row[1:])


def _join(pattern: str, values: Iterable[Any]) -> Markup:
    return Markup("").join(Markup(pattern).format(value) for value in values)


def _plain(value: Any) -> Any:
    """Returns what JSON can hold: lists for arrays, ``None`` for NaN, numbers of a few digits."""
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(escape(value))
