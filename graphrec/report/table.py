"""Run folders as a table: a row per model, means over seeds, and marks that only significant differences get."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from graphrec.config import ConfigError, unknown_name
from graphrec.evaluation.significance import Comparison, check_test
from graphrec.report import formats
from graphrec.report.footnotes import footnotes_of
from graphrec.report.groups import columns_of, group_runs
from graphrec.report.latex import to_latex
from graphrec.report.marking import ByMetric, Contest, against, contest, interval, is_accuracy, mark_of, read_scores
from graphrec.runs import ORACLE, RunFolder, write_text

if TYPE_CHECKING:
    from rich.table import Table as RichTable

MAIN = "Recall@20"
CEILING = "known ceiling"


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
        comparison: The comparison with the reference on the tested metric, if there is one.
        p_value: Its p-value, corrected for the number of rows.
        intervals: The 95 % interval of every mean over users and seeds, of metrics that were kept per user.
        comparisons: The comparison with the reference on every metric that was kept per user.
        p_values: Their p-values, each corrected for the number of rows.
    """

    label: str
    runs: tuple[RunFolder, ...] = field(repr=False)
    mean: dict[str, float]
    deviation: dict[str, float]
    is_ceiling: bool = False
    is_refit: bool = False
    comparison: Comparison | None = None
    p_value: float = math.nan
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = field(default_factory=dict, repr=False)
    p_values: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name as shown."""
        return CEILING if self.is_ceiling else f"{self.label} (refit)" if self.is_refit else self.label

    def mark(self, metric: str) -> str:
        """Returns the mark of the difference from the reference, see ``mark_of``; nothing where none is significant."""
        return mark_of(self.comparisons.get(metric), self.p_values.get(metric, math.nan)) if is_accuracy(metric) else ""


@dataclass(frozen=True)
class Report:
    """A benchmark table.

    Args:
        title: What it is about.
        metrics: The columns.
        rows: The models, in the order of the runs; the known ceiling last.
        reference: The label the others are tested against, if any.
        tested: The metric whose difference from the reference is shown with its interval.
        footnotes: What a reader must know.
        correction: How p-values are corrected: ``"holm"`` or ``"bh"``.
        test: What they come from: ``"t"``, ``"wilcoxon"`` or ``"permutation"``.
        contests: Per metric, whether its best model is better than every other; only then it is bold.
    """

    title: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    reference: str | None
    tested: str
    footnotes: tuple[str, ...]
    correction: str = "holm"
    test: str = "t"
    contests: Mapping[str, Contest] = field(default_factory=dict, repr=False)

    def best(self, metric: str) -> float:
        """Returns the best mean of a metric, the ceiling left out."""
        return max((row.mean[metric] for row in self.rows if not row.is_ceiling), default=math.nan)

    def is_bold(self, row: Row, metric: str) -> bool:
        """Returns whether a model is significantly better than every other model of a column."""
        found = self.contests.get(metric)
        return found is not None and found.winner == row.label

    def to_frame(self) -> pd.DataFrame:
        """Returns every value in full precision, a row per model."""
        return pd.DataFrame([formats.values(self, row) for row in self.rows])

    def to_csv(self) -> str:
        """Returns the table as CSV, in full precision."""
        return self.to_frame().to_csv(index=False, lineterminator="\n")

    def to_markdown(self) -> str:
        """Returns the table as Markdown with its footnotes, four digits."""
        return formats.to_markdown(self)

    def to_latex(self) -> str:
        """Returns the table for LaTeX with its footnotes; needs the packages ``booktabs`` and ``amssymb``."""
        return to_latex(self)

    def to_rich(self) -> RichTable:
        """Returns the table for a terminal; the footnotes are not in it."""
        return formats.to_rich(self)

    def write(self, folder: Path, name: str = "table") -> tuple[Path, ...]:
        """Writes ``<name>.md``, ``<name>.csv`` and ``<name>.tex`` into a folder and returns their paths."""
        texts = {"md": self.to_markdown(), "csv": self.to_csv(), "tex": self.to_latex()}
        for ending, text in texts.items():
            write_text(folder / f"{name}.{ending}", text)
        return tuple(folder / f"{name}.{ending}" for ending in texts)


def report(
    runs: Sequence[RunFolder],
    *,
    reference: str | None = None,
    metrics: Sequence[str] | None = None,
    correction: str = "holm",
    test: str = "t",
    footnotes: Sequence[str] = (),
    labels: Sequence[str] | None = None,
) -> Report:
    """Makes a table of finished runs.

    Every row is the mean over the seeds of a label. All tests are over users and seeds, both being samples
    (``graphrec.evaluation.significance``), and corrected within a column. A model is marked where it differs from the
    reference, and bold where it is better than every other model; if none is, nothing in that column is bold. Of a
    single training run nothing is claimed: its marks are hollow, and no column with it has a bold number.

    Args:
        runs: Run folders whose test set was scored; runs with the same label are seeds of one model.
        reference: The label the others are tested against.
        metrics: The columns, such as ``"Recall@20"``; Recall and NDCG at every cut-off by default.
        correction: ``"holm"``, or ``"bh"`` for Benjamini–Hochberg.
        test: ``"t"``, ``"wilcoxon"``, or ``"permutation"`` for Fisher's randomisation.
        footnotes: More of what a reader must know, such as the tuning budget.
        labels: One per run, instead of those they were made with.

    Raises:
        ConfigError: If the reference, a metric, the correction or the test is unknown.
        ValueError: If there are no runs, one has no test scores, they are of different data sets, or the runs of a
            label have a seed twice or different settings.
    """
    check_test(test)
    groups = group_runs(runs, labels)
    if reference is not None and reference not in groups:
        raise ConfigError(unknown_name(reference, groups, kind="label"))
    columns = columns_of(groups, metrics)
    tested = MAIN if MAIN in columns else columns[0]
    scores: dict[str, ByMetric] = {label: read_scores(found, columns) for label, found in groups.items()}
    rows = [_row(label, found, columns, scores[label]) for label, found in groups.items()]
    rows.sort(key=lambda row: row.is_ceiling)
    made = Report(
        title=f"{runs[0].data()['name']}, test set, full ranking",
        metrics=columns,
        rows=_tested(rows, reference, tested, scores, (correction, test)),
        reference=reference,
        tested=tested,
        footnotes=(),
        correction=correction,
        test=test,
        contests=_contests(rows, columns, scores, (correction, test)),
    )
    return replace(made, footnotes=footnotes_of(made, footnotes))


def _row(label: str, runs: list[RunFolder], columns: tuple[str, ...], scores: ByMetric) -> Row:
    found = [run.metrics() for run in runs]
    values = {name: np.array([metrics["test"][name] for metrics in found]) for name in columns}
    several = len(runs) > 1
    return Row(
        label,
        tuple(runs),
        mean={name: float(value.mean()) for name, value in values.items()},
        deviation={name: float(value.std(ddof=1)) if several else math.nan for name, value in values.items()},
        is_ceiling=found[0]["kind"] == ORACLE,
        is_refit=bool(found[0].get("refit")),
        intervals=MappingProxyType({name: interval(one) for name, one in scores.items()}),
    )


def _tested(
    rows: list[Row], reference: str | None, tested: str, scores: Mapping[str, ByMetric], how: tuple[str, str]
) -> tuple[Row, ...]:
    if reference is None:
        return tuple(rows)
    others = {row.label: scores[row.label] for row in rows if row.label != reference and not row.is_ceiling}
    correction, test = how
    found = against(scores[reference], others, correction=correction, test=test)
    return tuple(_with_tests(row, found.get(row.label, {}), tested) for row in rows)


def _with_tests(row: Row, found: Mapping[str, tuple[Comparison, float]], tested: str) -> Row:
    comparison, p_value = found.get(tested, (None, math.nan))
    return replace(
        row,
        comparison=comparison,
        p_value=p_value,
        comparisons={name: one for name, (one, _) in found.items()},
        p_values={name: p for name, (_, p) in found.items()},
    )


def _contests(
    rows: list[Row], columns: tuple[str, ...], scores: Mapping[str, ByMetric], how: tuple[str, str]
) -> dict[str, Contest]:
    correction, test = how
    found: dict[str, Contest] = {}
    for metric in columns:
        means = {row.label: row.mean[metric] for row in rows if not row.is_ceiling}
        one = contest(metric, means, scores, correction=correction, test=test)
        found |= {} if one is None else {metric: one}
    return found
