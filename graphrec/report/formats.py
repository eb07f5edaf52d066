"""A table as Markdown, for a terminal, and as plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from graphrec.evaluation.significance import Comparison
    from graphrec.report.table import Report, Row

SMALLEST = 0.0001
NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """What stands in a table.

    Args:
        text: A name or a number.
        is_bold: Whether it is better than all others.
        mark: ``▲``, ``▼`` or nothing.
    """

    text: str
    is_bold: bool = False
    mark: str = ""


def header(table: Report) -> list[str]:
    """Returns the names of the columns."""
    tested = [] if table.reference is None else [f"difference ({table.tested})", f"p ({table.tested})"]
    return ["model", *table.metrics, *tested]


def cells(table: Report, row: Row) -> list[Cell]:
    """Returns the cells of a row, as many as there are names."""
    found = [Cell(row.name)]
    for metric in table.metrics:
        text = number(row.mean[metric], row.deviation[metric])
        found.append(Cell(text, table.is_bold(row, metric), row.mark(metric)))
    if table.reference is None:
        return found
    return [*found, Cell(difference(row.comparison)), Cell(p_text(row.p_value))]


def to_markdown(table: Report) -> str:
    """Returns the table as Markdown with its footnotes."""
    names = header(table)
    lines = [f"| {' | '.join(names)} |", "|---" + "|---:" * (len(names) - 1) + "|"]
    lines += [f"| {' | '.join(map(_markdown, cells(table, row)))} |" for row in table.rows]
    return "\n".join([f"**{table.title}**", "", *lines, "", *(f"- {note}" for note in table.footnotes)]) + "\n"


def to_rich(table: Report) -> RichTable:
    """Returns the table for a terminal, without its footnotes."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(table.title), title_justify="left")
    for place, name in enumerate(header(table)):
        drawn.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in table.rows:
        texts = [
            Text(_marked(cell.text, cell.mark), style="bold" if cell.is_bold else "") for cell in cells(table, row)
        ]
        drawn.add_row(*texts, style="dim" if row.is_ceiling else None)
    return drawn


def values(table: Report, row: Row) -> dict[str, Any]:
    """Returns everything that is known of a row, unrounded."""
    found: dict[str, Any] = {"model": row.label, "seeds": len(row.runs), "refit": row.is_refit}
    for metric in table.metrics:
        low, high = row.intervals.get(metric, (math.nan, math.nan))
        found |= {metric: row.mean[metric], f"{metric} std": row.deviation[metric]}
        found |= {f"{metric} low": low, f"{metric} high": high, f"{metric} best": table.is_bold(row, metric)}
        if table.reference is not None:
            found |= _tested(metric, row)
    return found


def number(mean: float, deviation: float = math.nan) -> str:
    """Returns a mean with its standard deviation, if there is one.

    >>> number(0.09774, 0.00041)
    '0.0977 ± 0.0004'
    """
    return f"{mean:.4f}" if math.isnan(deviation) else f"{mean:.4f} ± {deviation:.4f}"


def difference(found: Comparison | None) -> str:
    """Returns a difference with its interval, such as ``+0.0135 [+0.0110, +0.0160]``."""
    if found is None:
        return NOTHING
    middle, low, high = (f"{round(value, 4) + 0.0:+.4f}" for value in (found.difference, found.low, found.high))
    return f"{middle} [{low}, {high}]"


def p_text(value: float) -> str:
    """Returns a p-value with four digits.

    >>> p_text(0.03), p_text(1e-9), p_text(float("nan"))
    ('0.0300', '<0.0001', '–')
    """
    return NOTHING if math.isnan(value) else f"<{SMALLEST:.4f}" if value < SMALLEST else f"{value:.4f}"


def _tested(metric: str, row: Row) -> dict[str, float]:
    found = row.comparisons.get(metric)
    names = {"difference": "difference", "difference low": "low", "difference high": "high"}
    names |= {"effect": "effect", "detectable": "detectable"}
    shown = {
        f"{metric} {name}": math.nan if found is None else getattr(found, attribute)
        for name, attribute in names.items()
    }
    return shown | {f"{metric} p": row.p_values.get(metric, math.nan)}


def _markdown(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|")
    return _marked(f"**{text}**" if cell.is_bold else text, cell.mark)


def _marked(text: str, mark: str) -> str:
    return f"{text} {mark}" if mark else text
