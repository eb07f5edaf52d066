"""Colours, markers and dashes of the page, for the light and the dark theme.

The eight colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), told apart with any colour vision;
those too pale for a white ground, or too dark for a black one, keep their hue and are moved until they stand out from
it by 3 to 1 (WCAG 2.2, 1.4.11). Markers and dashes repeat what the colours say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from markupsafe import Markup

COLOURS = 8
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
OUTLINES = {  # of the markers, around (15, 6)
    "circle": "M11 6a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "square": "M11.5 2.5h7v7h-7z",
    "diamond": "M15 1l5 5-5 5-5-5z",
    "triangle-up": "M15 1.5l4.6 8h-9.2z",
    "cross": "M13.6 1.5h2.8v3.1h3.1v2.8h-3.1v3.1h-2.8v-3.1h-3.1v-2.8h3.1z",
    "triangle-down": "M15 10.5l4.6-8h-9.2z",
    "star": "M15 .8l1.4 3.4 3.7.3-2.8 2.4.9 3.6-3.2-1.9-3.2 1.9.9-3.6-2.8-2.4 3.7-.3z",
}

LIGHT = {
    "@0": "#0072B2",
    "@1": "#D55E00",
    "@2": "#008A65",
    "@3": "#B8578F",
    "@4": "#A87200",
    "@5": "#2B8CC4",
    "@6": "#24231F",
    "@7": "#7C7A1A",
    "@ink": "#24231F",
    "@muted": "#5F5C55",
    "@grid": "#E4E1D9",
    "@paper": "#FFFFFF",
    "@accent": "#005A8E",
}
DARK = {
    "@0": "#4A9FD8",
    "@1": "#F0803C",
    "@2": "#26B98C",
    "@3": "#DE92BF",
    "@4": "#E69F00",
    "@5": "#8CCBF2",
    "@6": "#EAE7DF",
    "@7": "#F0E442",
    "@ink": "#EAE7DF",
    "@muted": "#A8A49A",
    "@grid": "#35342F",
    "@paper": "#191917",
    "@accent": "#86C5F0",
}


class Style(NamedTuple):
    """How one series looks: no two of 56 look the same without their colour and marker together."""

    colour: str
    symbol: str
    dash: str


def style(number: int) -> Style:
    """Returns the look of the series of that number, counted from 0."""
    return Style(f"@{number % COLOURS}", SYMBOLS[number % len(SYMBOLS)], DASHES[number % len(DASHES)])


def line(name: str, x: Any, y: Any, look: Style, **more: Any) -> dict[str, Any]:
    """Returns a line with markers as a plotly trace; ``more`` is laid over it."""
    few = len(x) <= 24
    trace = {
        "type": "scatter",
        "mode": "lines+markers" if few else "lines",
        "name": name,
        "legendgroup": name,
        "x": x,
        "y": y,
        "line": {"color": look.colour, "dash": look.dash, "width": 2},
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 7},
    }
    return trace | more


def band(name: str, x: Any, low: Any, high: Any, look: Style) -> dict[str, Any]:
    """Returns the area between two lines as a plotly trace, without an entry in the legend."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "legendgroup": name,
        "x": [*x, *reversed(list(x))],
        "y": [*high, *reversed(list(low))],
        "fill": "toself",
        "fillcolor": f"{look.colour}/0.16",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def axes(x: str, y: str, **more: Any) -> dict[str, Any]:
    """Returns a layout with titles of the axes; ``more`` is laid over it."""
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}, "showlegend": False} | more


def log_ticks(values: Iterable[float]) -> str | int | None:
    """Returns the ``dtick`` of a log axis whose labels do not overlap: powers of ten, also 2 and 5 of each, or any."""
    known = [value for value in values if value > 0]
    ratio = max(known) / min(known) if known else 1.0
    return 1 if ratio > 1e3 else "D2" if ratio > 8 else None


def swatch(look: Style) -> Markup:
    """Returns the line and marker of a series as a small picture, for legends and tables."""
    dashes = {"solid": "none", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3", "longdash": "11 4"}
    return Markup(
        '<svg class="swatch" viewBox="0 0 30 12" width="30" height="12" aria-hidden="true" style="color:var(--{})">'
        '<path d="M1 6h28" stroke="currentColor" stroke-width="2" stroke-dasharray="{}"/>'
        '<path d="{}" fill="currentColor"/></svg>'
    ).format(look.colour[1:], dashes[look.dash], OUTLINES[look.symbol])
