"""One data set of a page: its runs by label, its table, and what the sections share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from graphrec.data.dataset import Dataset
from graphrec.report.page.theme import Style, style
from graphrec.report.table import Report, report
from graphrec.runs import ORACLE, RunFolder, load_dataset


@dataclass(frozen=True)
class Study:
    """The scored runs on one data set and split.

    Args:
        name: The name of the data set.
        identity: The fingerprint of its data and split.
        runs: Its runs, sorted by path.
        reference: The label the others are tested against, if any.
        table: The main table.
        folder: The folder that the page is about.
    """

    name: str
    identity: str
    runs: tuple[RunFolder, ...] = field(repr=False)
    reference: str | None
    table: Report = field(repr=False)
    folder: Path

    @cached_property
    def groups(self) -> Mapping[str, tuple[RunFolder, ...]]:
        """The runs of every label, one per seed, in the order of the table; the known ceiling left out."""
        return {row.label: row.runs for row in self.table.rows if not row.is_ceiling}

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the table."""
        return tuple(self.groups)

    def look(self, label: str) -> Style:
        """Returns colour, marker and dash of a label, the same in every chart."""
        return style(self.labels.index(label))

    @property
    def first(self) -> RunFolder:
        """A run that has the data set and the graph; all runs of a study share them."""
        return next(run for run in self.runs if run.metrics()["kind"] != ORACLE)

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, without feature vectors.

        Raises:
            RunFolderError: If a file is missing or damaged.
        """
        return load_dataset(self.first.dataset)


def make_study(
    runs: Sequence[RunFolder], folder: Path, *, reference: str | None = None, metrics: Sequence[str] | None = None
) -> Study:
    """Returns the study of scored runs on one data set.

    Args:
        runs: Runs whose test set was scored, sorted by path.
        folder: Where they were found.
        reference: The label the others are tested against; left out where no run has it.
        metrics: The columns of the main table.

    Raises:
        ConfigError: If a metric is unknown.
        ValueError: If there is no run of a model, or the runs are of different data.
    """
    known = {run.metrics()["label"] for run in runs if run.metrics()["kind"] != ORACLE}
    if not known:
        raise ValueError("expected the run of a model, got the known ceiling alone")
    base = reference if reference in known else None
    table = report(runs, reference=base, metrics=metrics)
    about = runs[0].data()
    return Study(about["name"], about["identity"], tuple(runs), base, table, folder)
