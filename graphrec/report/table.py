"""Run folders as a table: a row per model, means over seeds, the best in bold, a paired test against a reference."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from graphrec.config import ConfigError, unknown_name
from graphrec.evaluation.metrics import MetricAt
from graphrec.evaluation.significance import Comparison, compare, holm
from graphrec.runs import ORACLE, RunFolder, write_text

if TYPE_CHECKING:
    from rich.table import Table as RichTable

SHOWN = ("recall", "ndcg")
MAIN = "Recall@20"
CEILING = "known ceiling"
SMALLEST = 0.0001


@dataclass(frozen=True)
class Row:
    """One model.

    Args:
        label: Its name.
        runs: Its runs, one per seed.
        mean: The mean over seeds of every metric.
        deviation: The standard deviation over seeds; NaN for one seed.
        is_ceiling: Whether this is the known ceiling, which takes no part in the comparison.
        is_refit: Whether the model was trained once more on train and valid together.
        comparison: The paired comparison with the reference, if there is one.
        p_value: Its p-value, corrected by Holm for the number of rows.
    """

    label: str
    runs: tuple[RunFolder, ...] = field(repr=False)
    mean: dict[str, float]
    deviation: dict[str, float]
    is_ceiling: bool = False
    is_refit: bool = False
    comparison: Comparison | None = None
    p_value: float = math.nan

    @property
    def name(self) -> str:
        """The name as shown."""
        return CEILING if self.is_ceiling else f"{self.label} (refit)" if self.is_refit else self.label


@dataclass(frozen=True)
class Report:
    """A benchmark table.

    Args:
        title: What it is about.
        metrics: The columns.
        rows: The models, in the order of the runs; the known ceiling last.
        reference: The label the others are tested against, if any.
        tested: The metric of that test.
        footnotes: What a reader must know.
    """

    title: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    reference: str | None
    tested: str
    footnotes: tuple[str, ...]

    def best(self, metric: str) -> float:
        """Returns the best mean of a metric, the ceiling left out."""
        return max((row.mean[metric] for row in self.rows if not row.is_ceiling), default=math.nan)

    def to_frame(self) -> pd.DataFrame:
        """Returns every value in full precision, a row per model."""
        return pd.DataFrame([self._values(row) for row in self.rows])

    def to_csv(self) -> str:
        """Returns the table as CSV, in full precision."""
        text = io.StringIO()
        self.to_frame().to_csv(text, index=False)
        return text.getvalue()

    def to_markdown(self) -> str:
        """Returns the table as Markdown, four digits, the best of every column in bold."""
        header = self._header()
        lines = [f"| {' | '.join(header)} |", "|---" + "|---:" * (len(header) - 1) + "|"]
        lines += [f"| {' | '.join(self._cells(row, '**', '**'))} |" for row in self.rows]
        return "\n".join([f"**{self.title}**", "", *lines, "", *(f"- {note}" for note in self.footnotes)]) + "\n"

    def to_rich(self) -> RichTable:
        """Returns the table for a terminal, the best of every column in bold; the footnotes are not in it."""
        from rich.table import Table

        table = Table(title=self.title, title_justify="left")
        for number, name in enumerate(self._header()):
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*self._cells(row, "[bold]", "[/bold]"), style="dim" if row.is_ceiling else None)
        return table

    def write(self, folder: Path, name: str = "table") -> tuple[Path, Path]:
        """Writes ``<name>.md`` and ``<name>.csv`` into a folder and returns their paths."""
        markdown, csv = folder / f"{name}.md", folder / f"{name}.csv"
        write_text(markdown, self.to_markdown())
        write_text(csv, self.to_csv())
        return markdown, csv

    def _header(self) -> list[str]:
        tested = [] if self.reference is None else [f"p ({self.tested})"]
        return ["model", *self.metrics, *tested]

    def _cells(self, row: Row, start: str, end: str) -> list[str]:
        cells = [row.name]
        for metric in self.metrics:
            text = _number(row.mean[metric], row.deviation[metric])
            bold = not row.is_ceiling and f"{row.mean[metric]:.4f}" == f"{self.best(metric):.4f}"
            cells.append(f"{start}{text}{end}" if bold else text)
        return cells if self.reference is None else [*cells, _p_text(row.p_value)]

    def _values(self, row: Row) -> dict[str, Any]:
        values: dict[str, Any] = {"model": row.label, "seeds": len(row.runs), "refit": row.is_refit}
        for metric in self.metrics:
            values |= {metric: row.mean[metric], f"{metric} std": row.deviation[metric]}
        if self.reference is not None:
            found = row.comparison
            ends = ("difference", "low", "high")
            values |= {f"{self.tested} {end}": math.nan if found is None else getattr(found, end) for end in ends}
            values |= {f"{self.tested} p": row.p_value}
        return values


def report(runs: Sequence[RunFolder], *, reference: str | None = None, metrics: Sequence[str] | None = None) -> Report:
    """Makes a table of finished runs.

    Every row is the mean over the seeds of a label. Against the reference, Student's paired t-test takes the users as
    the sample, each averaged over seeds; p-values are corrected by Holm for the number of rows.

    Args:
        runs: Run folders whose test set was scored; runs with the same label are seeds of one model.
        reference: The label the others are tested against.
        metrics: The columns, such as ``"Recall@20"``; Recall and NDCG at every cut-off by default.

    Raises:
        ConfigError: If the reference or a metric is unknown.
        ValueError: If there are no runs, one has no test scores, or they are of different data sets.
    """
    groups = _groups(runs)
    if reference is not None and reference not in groups:
        raise ConfigError(unknown_name(reference, groups, kind="label"))
    columns = _columns(groups, metrics)
    tested = MAIN if MAIN in columns else columns[0]
    rows = [_row(label, found, columns) for label, found in groups.items()]
    rows = _tested(rows, reference, tested)
    rows.sort(key=lambda row: row.is_ceiling)
    first = runs[0].data()
    return Report(
        title=f"{first['name']}, test set, full ranking",
        metrics=columns,
        rows=tuple(rows),
        reference=reference,
        tested=tested,
        footnotes=_footnotes(rows, runs, reference, tested),
    )


def _groups(runs: Sequence[RunFolder]) -> dict[str, list[RunFolder]]:
    if not runs:
        raise ValueError("expected at least one finished run, got none")
    identities = {run.data()["identity"] for run in runs}
    if len(identities) > 1:
        names = sorted({run.data()["name"] for run in runs})
        raise ValueError(f"expected runs on the same data and split, got {len(identities)} different ones of {names}")
    groups: dict[str, list[RunFolder]] = {}
    for run in runs:
        metrics = run.metrics()
        if metrics["test"] is None:
            raise ValueError(
                f"expected test scores in {run.path}, got none; score them with: graphrec evaluate {run.path}"
            )
        groups.setdefault(metrics["label"], []).append(run)
    return groups


def _columns(groups: dict[str, list[RunFolder]], metrics: Sequence[str] | None) -> tuple[str, ...]:
    tables = [set(run.metrics()["test"]) for runs in groups.values() for run in runs]
    known = [
        name for name in next(iter(groups.values()))[0].metrics()["test"] if all(name in table for table in tables)
    ]
    if metrics is None:
        shown = [name for name in known if MetricAt.parse(name).name in SHOWN]
        return tuple(shown or known)
    columns = tuple(MetricAt.parse(name).label for name in metrics)
    for name in columns:
        if name not in known:
            raise ConfigError(unknown_name(name, known, kind="metric"))
    return columns


def _row(label: str, runs: list[RunFolder], columns: tuple[str, ...]) -> Row:
    found = [run.metrics() for run in runs]
    values = {name: np.array([metrics["test"][name] for metrics in found]) for name in columns}
    several = len(runs) > 1
    return Row(
        label,
        tuple(runs),
        mean={name: float(value.mean()) for name, value in values.items()},
        deviation={name: float(value.std(ddof=1)) if several else math.nan for name, value in values.items()},
        is_ceiling=found[0]["kind"] == ORACLE,
        is_refit=found[0]["refit"],
    )


def _tested(rows: list[Row], reference: str | None, metric: str) -> list[Row]:
    if reference is None:
        return rows
    base = next(row for row in rows if row.label == reference)
    others = [row for row in rows if row is not base and not row.is_ceiling]
    found = {row.label: compare(_users(row, metric), _users(base, metric), metric) for row in others}
    corrected = dict(zip(found, holm([one.p_value for one in found.values()]), strict=True))
    return [
        Row(**{**vars(row), "comparison": found[row.label], "p_value": float(corrected[row.label])})
        if row.label in found
        else row
        for row in rows
    ]


def _users(row: Row, metric: str) -> list[pd.Series]:
    return [run.users("test")[metric] for run in row.runs]


def _footnotes(rows: list[Row], runs: Sequence[RunFolder], reference: str | None, tested: str) -> tuple[str, ...]:
    first = runs[0].data()
    users = runs[0].metrics()["test_users"]
    seeds = max(len(row.runs) for row in rows)
    spread = "; mean ± standard deviation over seeds" if seeds > 1 else ""
    notes = [f"{users} test users, {seeds} seed{'s' if seeds > 1 else ''}{spread}; best in bold"]
    once = [row.label for row in rows if len(row.runs) < seeds and not row.is_ceiling]
    notes += [f"one run, no seed: {', '.join(once)}"] if once and seeds > 1 else []
    if reference is not None:
        notes.append(f"p: paired t-test of {tested} per user against {reference}, corrected by Holm")
    if any(row.is_ceiling for row in rows):
        notes.append(f"{CEILING}: the true preference behind the data; no model can do better in expectation")
    if any(row.is_refit for row in rows):
        notes.append("refit: trained once more on train and valid together for the chosen epochs")
    return (*notes, *first["notes"])


def _number(mean: float, deviation: float) -> str:
    return f"{mean:.4f}" if math.isnan(deviation) else f"{mean:.4f} ± {deviation:.4f}"


def _p_text(value: float) -> str:
    return "–" if math.isnan(value) else f"<{SMALLEST:.4f}" if value < SMALLEST else f"{value:.4f}"
