"""One data set of a page: its runs by label, its table, and what the sections share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from graphrec.data.dataset import Dataset
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


def studies(
    runs: Sequence[RunFolder], folder: Path, *, reference: str | None = None, metrics: Sequence[str] | None = None
) -> list[Study]:
    """Groups scored runs by data set, in the order in which the data sets appear.

    Args:
        runs: Runs whose test set was scored.
        folder: Where they were found.
        reference: The label the others are tested against; left out for a data set without it.
        metrics: The columns of the main table.

    Raises:
        ConfigError: If no data set has the reference, or a metric is unknown.
    """
    by_identity: dict[str, list[RunFolder]] = {}
    for run in runs:
        by_identity.setdefault(run.data()["identity"], []).append(run)
    return [_study(identity, found, folder, reference, metrics) for identity, found in by_identity.items()]


def _study(
    identity: str, runs: list[RunFolder], folder: Path, reference: str | None, metrics: Sequence[str] | None
) -> Study:
    known = {run.metrics()["label"] for run in runs}
    base = reference if reference in known else None
    table = report(runs, reference=base, metrics=metrics)
    return Study(runs[0].data()["name"], identity, tuple(runs), base, table, folder)
