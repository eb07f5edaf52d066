"""A table for LaTeX, with booktabs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from graphrec.report.formats import Cell, cells, header

if TYPE_CHECKING:
    from graphrec.report.table import Report

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "[": "{[}",  # not the option of a line break
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "△": r"$\vartriangle$",
    "▽": r"$\triangledown$",
}


def to_latex(table: Report) -> str:
    r"""Returns a ``table`` environment; the document needs ``\usepackage{booktabs,amssymb}``."""
    names = header(table)
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escape(table.title)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}",
        r"\toprule",
        _line([escape(name) for name in names]),
        r"\midrule",
    ]
    for place, row in enumerate(table.rows):
        lines += [r"\midrule"] if row.is_ceiling and place else []
        lines.append(_line([_cell(cell) for cell in cells(table, row)]))
    notes = r" \\ ".join(escape(note) for note in table.footnotes)
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\medskip", rf"\parbox{{\linewidth}}{{\footnotesize {notes}}}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def escape(text: str) -> str:
    r"""Returns text in which nothing is a command.

    >>> escape("a_b & 5 %")
    'a\\_b \\& 5 \\%'
    """
    return re.sub("|".join(map(re.escape, SPECIAL)), lambda found: SPECIAL[found.group()], text)


def _line(texts: list[str]) -> str:
    return " & ".join(texts) + r" \\"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    shown = rf"\textbf{{{text}}}" if cell.is_bold else text
    return f"{shown} {escape(cell.mark)}" if cell.mark else shown
