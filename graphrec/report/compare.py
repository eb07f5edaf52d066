"""The short answer: is one model better than another, by how much, and could the test have seen it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphrec.evaluation.significance import LEVEL, Comparison
from graphrec.report.footnotes import bold_rule
from graphrec.report.formats import NOTHING, SMALLEST, difference, number, p_text
from graphrec.report.groups import columns_of, group_runs
from graphrec.report.marking import mark_of
from graphrec.report.table import Report, Row, report
from graphrec.runs import RunFolder

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table as RichTable

COLUMNS = ("model", "metric", "its mean", "reference", "difference [95 %]", "p", "effect", "detectable")


@dataclass(frozen=True)
class RunComparison:
    """Models against the first of them.

    Args:
        reference: The label of the first.
        answers: One sentence per other model.
        table: Everything behind them.
    """

    reference: str
    answers: tuple[str, ...]
    table: Report = field(repr=False)

    @property
    def compared(self) -> tuple[Row, ...]:
        """The models that are compared with the reference."""
        return tuple(row for row in self.table.rows if row.label != self.reference and not row.is_ceiling)

    @property
    def footnotes(self) -> tuple[str, ...]:
        """What a reader must know."""
        return tuple(note for note in self.table.footnotes if note != bold_rule(self.table))

    def to_rich(self) -> Group:
        """Returns the answers, then a table of all metrics, then the footnotes."""
        from rich.console import Group
        from rich.text import Text

        notes = [Text(f"- {note}", style="dim") for note in self.footnotes]
        return Group(*(Text(answer, style="bold") for answer in self.answers), self._metrics(), *notes)

    def _metrics(self) -> RichTable:
        from rich.table import Table
        from rich.text import Text

        drawn = Table(title=Text(f"{self.table.title}, against {self.reference}"), title_justify="left")
        for place, name in enumerate(COLUMNS):
            drawn.add_column(name, justify="left" if place < 2 else "right", no_wrap=True)
        base = next(row for row in self.table.rows if row.label == self.reference)
        for row in self.compared:
            for metric in self.table.metrics:
                drawn.add_row(*map(Text, _cells(row, base, metric)))
        return drawn


def compare_runs(
    runs: Sequence[RunFolder],
    *,
    metrics: Sequence[str] | None = None,
    correction: str = "holm",
    test: str = "t",
    labels: Sequence[str] | None = None,
) -> RunComparison:
    """Compares models with the first of them: one sentence on Recall@20, or else the first metric, then a table.

    Args:
        runs: Run folders whose test set was scored; runs with the same label are seeds of one model.
        metrics: The metrics, such as ``"Recall@20"``; Recall and NDCG at every cut-off by default.
        correction: ``"holm"``, or ``"bh"`` for Benjamini–Hochberg, over the models of each metric.
        test: ``"t"``, ``"wilcoxon"``, or ``"permutation"`` for Fisher's randomisation.
        labels: One per run, instead of those they were made with.

    Raises:
        ConfigError: If a metric, the correction or the test is unknown.
        ValueError: If there are less than two models, a run has no test scores, they are of different data sets, or
            the runs of a label have a seed twice or different settings.
    """
    groups = group_runs(runs, labels)
    if len(groups) < 2:
        raise ValueError(f"expected runs of at least two models, got only {', '.join(groups)}; give them labels")
    reference = next(iter(groups))
    columns = columns_of(groups, metrics)
    table = report(runs, reference=reference, metrics=columns, correction=correction, test=test, labels=labels)
    compared = RunComparison(reference, (), table)
    answers = tuple(answer(row, reference) for row in compared.compared)
    return RunComparison(reference, answers, table)


def answer(row: Row, reference: str) -> str:
    """Returns in one sentence how a model compares with the reference on the tested metric."""
    found = row.comparison
    if found is None:
        return f"{row.label} cannot be compared with {reference}: there are no values per user"
    p = row.p_value
    numbers = (
        f"{found.metric} {found.first:.4f} against {found.second:.4f}, {difference(found)}, "
        f"p {f'< {SMALLEST:.4f}' if p < SMALLEST else f'= {p:.4f}'}"
    )
    if not mark_of(found, p):
        text = f"no significant difference between {row.label} and {reference}: {numbers}"
        test = "the test" if found.test == "t" else "a t-test"
        return f"{text}{_why_not(found, p)}; {test} could have seen {found.detectable:.4f}{_limits(found)}"
    better = "better" if found.difference > 0 else "worse"
    where = "" if found.covers_training else "in these runs "
    return f"{where}{row.label} is {better} than {reference}: {numbers}, effect {found.effect:+.3f}{_limits(found)}"


def _why_not(found: Comparison, p: float) -> str:
    if not p < LEVEL:
        return ""
    return ", but the interval holds 0" if found.agrees else ", but the ranks of the users point the other way"


def _limits(found: Comparison) -> str:
    return "" if found.covers_training else "; over users alone: another training run, with another seed, may differ"


def _cells(row: Row, base: Row, metric: str) -> list[str]:
    found = row.comparisons.get(metric)
    means = [number(one.mean[metric], one.deviation[metric]) for one in (row, base)]
    effect, seen = (NOTHING, NOTHING) if found is None else (f"{found.effect:+.3f}", f"{found.detectable:.4f}")
    p = p_text(row.p_values.get(metric, float("nan")))
    return [row.name, metric, *means, difference(found), f"{p} {row.mark(metric)}".strip(), effect, seen]
