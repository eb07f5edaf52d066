"""Ablations as a table of differences with intervals, and grids as a heat map."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from graphrec.config import ConfigError, unknown_name
from graphrec.evaluation.significance import LEVEL, Comparison, Scores
from graphrec.report.formats import difference, number, p_text
from graphrec.report.heat_map import heat_map
from graphrec.report.latex import escape
from graphrec.report.marking import MARKS, RUN_MARKS, mark_of
from graphrec.report.paired import PARTS, best_of, comparable, compare_with, grid_scores, grouped, scores_of
from graphrec.runs import RunFolder, write_text

if TYPE_CHECKING:
    from rich.table import Table as RichTable

__all__ = ["AblationRow", "AblationTable", "ablation_table", "grid_table", "heat_map"]

HEADER = ("setting", "mean", "difference [95 %]", "p", "")


@dataclass(frozen=True)
class AblationRow:
    """One setting.

    Args:
        label: Its name.
        num_runs: How many runs it has.
        mean: The mean over users and seeds.
        deviation: The standard deviation over seeds; NaN for one run.
        comparison: Its difference to the reference; None for the reference, and where they cannot be compared.
        p_value: The p-value of that difference, corrected by Holm for the number of rows.
    """

    label: str
    num_runs: int
    mean: float
    deviation: float
    comparison: Comparison | None = field(default=None, repr=False)
    p_value: float = math.nan

    @property
    def mark(self) -> str:
        """The mark of the difference, see ``mark_of``; nothing where it is not significant."""
        return mark_of(self.comparison, self.p_value)

    @property
    def is_bold(self) -> bool:
        """Whether the difference is significant over users and seeds, so that it is one of the settings."""
        return self.mark in MARKS


@dataclass(frozen=True)
class AblationTable:
    """A table of differences to a reference.

    Args:
        title: What it is about.
        metric: What was measured.
        part: ``"valid"`` or ``"test"``.
        rows: The reference, then the settings in the order of the runs.
        footnotes: What a reader must know.
    """

    title: str
    metric: str
    part: str
    rows: tuple[AblationRow, ...]
    footnotes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Returns every value in full precision, a row per setting."""
        return pd.DataFrame([_values(row, self.metric, self.part) for row in self.rows])

    def to_csv(self) -> str:
        """Returns the table as CSV, in full precision."""
        text = io.StringIO()
        self.to_frame().to_csv(text, index=False)
        return text.getvalue()

    def to_markdown(self) -> str:
        """Returns the table as Markdown; only differences that are significant over users and seeds are bold."""
        lines = [f"| {' | '.join(self._header())} |", "|---" + "|---:" * (len(HEADER) - 2) + "|---|"]
        lines += [f"| {' | '.join(_cells(row, '**', '**'))} |" for row in self.rows]
        return "\n".join([f"**{self.title}**", "", *lines, "", *(f"- {note}" for note in self.footnotes)]) + "\n"

    def to_latex(self) -> str:
        """Returns the table as LaTeX for the packages ``booktabs`` and ``amssymb``, the footnotes as comments."""
        head, *body = [
            " & ".join(map(escape, cells)) + r" \\" for cells in (self._header(), *(_cells(row) for row in self.rows))
        ]
        notes = [f"% {note}" for note in (self.title, *self.footnotes)]
        rules = [r"\begin{tabular}{lrrrl}", r"\toprule", head, r"\midrule"]
        return "\n".join([*notes, *rules, *body, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def to_rich(self) -> RichTable:
        """Returns the table for a terminal; the footnotes are not in it."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.title, title_justify="left")
        for place, name in enumerate(self._header()):
            table.add_column(name, justify="right" if 0 < place < len(HEADER) - 1 else "left", no_wrap=place > 0)
        for row in self.rows:
            table.add_row(*map(Text, _cells(row)), style="bold" if row.is_bold else None)
        return table

    def write(self, folder: Path, name: str = "ablation") -> tuple[Path, ...]:
        """Writes ``<name>.md``, ``<name>.csv`` and ``<name>.tex`` into a folder and returns their paths."""
        texts = {"md": self.to_markdown(), "csv": self.to_csv(), "tex": self.to_latex()}
        for suffix, text in texts.items():
            write_text(folder / f"{name}.{suffix}", text)
        return tuple(folder / f"{name}.{suffix}" for suffix in texts)

    def _header(self) -> tuple[str, ...]:
        return (HEADER[0], self.metric, *HEADER[2:])


def ablation_table(
    runs: Sequence[RunFolder], *, reference: str = "base", metric: str | None = None, part: str = "valid"
) -> AblationTable:
    """Compares settings with a reference: differences with intervals over users and seeds, p-values by Holm.

    Args:
        runs: Finished runs; those with the same label are seeds of one setting.
        reference: The label that the others are compared with.
        metric: Such as ``"Recall@20"``; the one that chose the epoch by default.
        part: ``"valid"``, where choices belong, or ``"test"``.

    Raises:
        ConfigError: If the reference, the metric or the part is unknown.
        ValueError: If there are no runs, or they are of different data sets.
    """
    metric = comparable(runs, metric, part)
    groups, missing = grouped(runs, part, metric)
    if reference not in groups:
        raise ConfigError(unknown_name(reference, groups, kind="label") + "".join(f"; {note}" for note in missing))
    scores = {label: scores_of(found, part, metric) for label, found in groups.items()}
    table = _against(reference, scores, metric, part, groups[reference][0].data()["name"])
    return replace(table, footnotes=(*table.footnotes, *missing))


def grid_table(runs: Sequence[RunFolder], *, metric: str | None = None, part: str = "valid") -> AblationTable:
    """Compares every point of a grid with the best one, which stands first.

    Args:
        runs: The runs of a grid; those with the same label are seeds of one point.
        metric: Such as ``"Recall@20"``; the one that chose the epoch by default.
        part: ``"valid"``, where choices belong, or ``"test"``.

    Raises:
        ConfigError: If the metric or the part is unknown.
        ValueError: If there are no finished runs, or they are of different data sets.
    """
    metric = comparable(runs, metric, part)
    groups, scores, missing = grid_scores(runs, part, metric)
    best, name = best_of(scores), next(iter(groups.values()))[0].data()["name"]
    note = f"first row: the best of {len(scores)} points, found by looking, so its own mean flatters it"
    table = _against(best, scores, metric, part, name)
    return replace(table, footnotes=(note, *table.footnotes, *missing))


def _against(reference: str, scores: Mapping[str, Scores], metric: str, part: str, name: str) -> AblationTable:
    """Returns the table of a reference, which stands first, and the others in their order."""
    ordered = {reference: scores[reference], **scores}
    found, notes = compare_with(ordered, reference, metric)
    rows = tuple(_row(label, own, *found.get(label, (None, math.nan))) for label, own in ordered.items())
    return AblationTable(
        title=f"{name}, {PARTS[part]}: {metric} against {reference}",
        metric=metric,
        part=part,
        rows=rows,
        footnotes=(*_footnotes(rows, part, len(scores[reference].users)), *notes),
    )


def _row(label: str, scores: Scores, comparison: Comparison | None, p_value: float) -> AblationRow:
    means = np.nanmean(scores.values, axis=1)  # users without a value count in no metric
    deviation = float(means.std(ddof=1)) if len(means) > 1 else math.nan
    return AblationRow(label, len(means), float(means.mean()), deviation, comparison, p_value)


def _footnotes(rows: tuple[AblationRow, ...], part: str, num_users: int) -> list[str]:
    notes = [
        f"{num_users} users; on validation, where choices belong: the test set is not in this table"
        if part == "valid"
        else f"{num_users} users; on the test set: a final table, not to choose by"
    ]
    counts = {row.num_runs for row in rows}
    notes.append(f"runs per row: {', '.join(map(str, sorted(counts)))}; ± standard deviation over them")
    found = [row.comparison for row in rows if row.comparison is not None]
    if not found:
        return notes
    notes.append(
        f"p: paired t-test over users and seeds, corrected by Holm for {len(found)}; interval: both resampled; "
        f"{' '.join(MARKS)} higher, lower than the first row at {LEVEL:.0%}, anything else is no finding"
    )
    if not all(one.covers_training for one in found):
        notes.append(f"{' '.join(RUN_MARKS)}: of single training runs, which may be luck; run several seeds to know")
    low, high = (f"{pick(one.detectable for one in found):.4f}" for pick in (min, max))
    span = low if low == high else f"{low} to {high}"
    return [*notes, f"no mark does not mean no effect: below {span} one in five would be missed, or more"]


def _values(row: AblationRow, metric: str, part: str) -> dict[str, Any]:
    found = row.comparison
    names = ("difference", "low", "high", "effect", "detectable")
    about = {name: math.nan if found is None else getattr(found, name) for name in names}
    own = {"setting": row.label, "runs": row.num_runs, "part": part, metric: row.mean, f"{metric} std": row.deviation}
    uncorrected = math.nan if found is None else found.p_value
    return {**own, **about, "p": uncorrected, "p holm": row.p_value, "mark": row.mark}


def _cells(row: AblationRow, start: str = "", end: str = "") -> tuple[str, ...]:
    text = difference(row.comparison)
    shown = f"{start}{text}{end}" if row.is_bold else text
    return row.label, number(row.mean, row.deviation), shown, p_text(row.p_value), row.mark
