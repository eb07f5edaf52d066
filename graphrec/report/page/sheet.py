"""A table of the page as files: Markdown and LaTeX with a few digits, CSV with all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from graphrec.report.latex import escape
from graphrec.runs import write_text


@dataclass(frozen=True)
class Sheet:
    """A table to be written beside the page.

    Args:
        name: Of the files, without their ending.
        title: What it holds.
        header: The names of the columns.
        rows: The cells as text.
        frame: The values in full precision.
    """

    name: str
    title: str
    header: Sequence[str] = field(repr=False)
    rows: Sequence[Sequence[str]] = field(repr=False)
    frame: pd.DataFrame = field(repr=False)

    def to_markdown(self) -> str:
        """Returns the table as Markdown under its title."""
        rule = "|---" + "|---:" * (len(self.header) - 1) + "|"
        lines = [_piped(self.header), rule, *map(_piped, self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines]) + "\n"

    def to_latex(self) -> str:
        r"""Returns the table as LaTeX for the package ``booktabs``, its title as a comment."""
        columns = f"l{'r' * (len(self.header) - 1)}"
        top = [f"% {self.title}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _tabbed(self.header), r"\midrule"]
        return "\n".join([*top, *map(_tabbed, self.rows), r"\bottomrule", r"\end{tabular}"]) + "\n"

    def write(self, folder: Path, suffix: str = "") -> tuple[Path, ...]:
        """Writes ``<name><suffix>.md``, ``.tex`` and ``.csv`` into a folder and returns their paths."""
        csv = self.frame.to_csv(index=False, lineterminator="\n")
        texts = {"md": self.to_markdown(), "tex": self.to_latex(), "csv": csv}
        for ending, text in texts.items():
            write_text(folder / f"{self.name}{suffix}.{ending}", text)
        return tuple(folder / f"{self.name}{suffix}.{ending}" for ending in texts)


def _piped(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def _tabbed(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
