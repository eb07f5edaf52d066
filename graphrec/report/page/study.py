"""One data set of a page: its runs by label, its table, and what the sections share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from torch_geometric.data import HeteroData

from graphrec.config import load_yaml
from graphrec.data.dataset import Dataset
from graphrec.features.table import FeatureTable
from graphrec.graph.modalities import feature_tables, modality_masks
from graphrec.pipeline.benchmark import SETTINGS
from graphrec.report.groups import columns_of, group_runs, same_data
from graphrec.report.page.theme import Style, style, swatch
from graphrec.report.table import MAIN, Report, report
from graphrec.runs import ORACLE, RunFolder, RunFolderError, load_dataset, load_graph
from graphrec.runs.graph import TYPES

T = TypeVar("T")


@dataclass(frozen=True)
class Study:
    """The scored runs on one data set and split.

    Args:
        name: The name of the data set.
        identity: The fingerprint of its data and split.
        runs: Its runs, those of a label together, in the order of the table.
        reference: The label the others are tested against, if any.
        table: The main table.
        folder: The folder that the page is about.
        columns: What items and users are sliced by; none for what looks like categories.
    """

    name: str
    identity: str
    runs: tuple[RunFolder, ...] = field(repr=False)
    reference: str | None
    table: Report = field(repr=False)
    folder: Path
    columns: tuple[str, ...] = ()

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

    @cached_property
    def graph(self) -> HeteroData | None:
        """The training graph, which has the vectors; ``None`` where no run kept a readable one, as fusions do not."""
        return _first(load_graph, [run.path for run in self.models if (run.path / TYPES).is_file()])

    @cached_property
    def modality_masks(self) -> dict[str, NDArray[np.bool_]]:
        """Which items have a modality ``(num_items,)``; what was imputed counts as missing."""
        return {} if self.graph is None else modality_masks(self.graph)

    @cached_property
    def features(self) -> dict[str, FeatureTable]:
        """The vectors of every modality that has some, imputed ones left out."""
        return {} if self.graph is None else feature_tables(self.graph, self.dataset.split.items)

    @property
    def models(self) -> list[RunFolder]:
        """The runs without the known ceiling."""
        return [run for runs in self.groups.values() for run in runs]

    @property
    def first(self) -> RunFolder:
        """A run of a model, one with the data set and the graph if any has them."""
        models = self.models
        return next((run for run in models if run.dataset.is_dir() and (run.path / TYPES).is_file()), models[0])

    @cached_property
    def kept(self) -> Dataset | None:
        """The data set, without feature vectors; ``None`` where no run kept a readable one."""
        return _first(load_dataset, [run.dataset for run in self.models if run.dataset.is_dir()])

    @property
    def dataset(self) -> Dataset:
        """The data set, for sections that need it.

        Raises:
            RunFolderError: If no run kept a readable one.
        """
        if self.kept is None:
            raise RunFolderError(f"expected a data set in a run of {self.name!r}, got none that can be read")
        return self.kept


def _first(load: Callable[[Path], T], paths: Iterable[Path]) -> T | None:
    """Returns what can be loaded first."""
    for path in paths:
        try:
            return load(path)
        except RunFolderError:
            continue
    return None


def by_data(runs: Sequence[RunFolder]) -> list[list[RunFolder]]:
    """Groups runs by the interactions they were trained and tested on; features may differ, as in a knock-out study.

    Where a label has a seed twice, the benchmarks in which they lie are groups of their own.
    """
    return [sorted(part, key=lambda run: run.path) for found in same_data(runs) for part in _apart(found)]


def benchmark_folder(run: RunFolder) -> Path:
    """Returns where the benchmark of a run is: it lies in ``<label>/seed-<n>``, the known ceiling in ``oracle``."""
    return run.path.parent if run.path.name == ORACLE else run.path.parent.parent


def _apart(runs: list[RunFolder]) -> list[list[RunFolder]]:
    """Returns the runs by the folder of their benchmark where they would clash otherwise, else together."""
    by_folder: dict[Path, list[RunFolder]] = {}
    cells: dict[Path, set[tuple[str, int | None]]] = {}
    for run in runs:
        place, about = benchmark_folder(run), run.metrics()
        by_folder.setdefault(place, []).append(run)
        if about["kind"] != ORACLE:
            cells.setdefault(place, set()).add((about["label"], about["seed"]))
    clash = sum(map(len, cells.values())) > len(set().union(*cells.values()))
    return [*by_folder.values()] if clash else [runs]


def make_study(
    runs: Sequence[RunFolder], folder: Path, *, reference: str | None = None, metrics: Sequence[str] | None = None
) -> Study:
    """Returns the study of scored runs on one data set.

    Models stand in the order of the benchmark file that was left beside the runs, without one by the tested metric, the
    best first.

    Args:
        runs: Runs whose test set was scored, sorted by path.
        folder: Where they were found.
        reference: The label the others are tested against, left out where no run has it; that of the benchmark file by
            default.
        metrics: The columns of the main table.

    Raises:
        ConfigError: If a metric is unknown.
        ValueError: If there is no run of a model, or the runs are of different data.
    """
    known = {run.metrics()["label"] for run in runs if run.metrics()["kind"] != ORACLE}
    if not known:
        raise ValueError("expected the run of a model, got the known ceiling alone")
    settings = _benchmark(runs)
    wanted = settings.get("reference") if reference is None else reference
    base = wanted if wanted in known else None
    ordered = _ordered(runs, settings, metrics)
    about = runs[0].data()
    table = report(ordered, reference=base, metrics=metrics)
    return Study(about["name"], about["identity"], tuple(ordered), base, table, folder)


def _benchmark(runs: Sequence[RunFolder]) -> Mapping[str, Any]:
    """Returns the settings of the benchmark that made the runs, ``<label>/seed-<n>`` beside its file; else nothing."""
    for place in dict.fromkeys(map(benchmark_folder, runs)):
        try:
            return load_yaml(place / SETTINGS)
        except (ValueError, OSError):
            continue
    return {}


def _ordered(runs: Sequence[RunFolder], settings: Mapping[str, Any], metrics: Sequence[str] | None) -> list[RunFolder]:
    groups = group_runs(runs)
    columns = columns_of(groups, metrics)
    tested = MAIN if MAIN in columns else columns[0]
    named = [*(settings.get("models") or ()), *(settings.get("fusions") or ())]
    place = {label: number for number, label in enumerate(named)}
    mean = {label: np.mean([run.metrics()["test"][tested] for run in found]) for label, found in groups.items()}
    order = sorted(groups, key=lambda label: (place.get(label, len(named)), -mean[label]))
    return [run for label in order for run in groups[label]]


def legend(study: Study, labels: Iterable[str]) -> Markup:
    """Returns buttons with the look of the labels, which show and hide them in all charts of the section."""
    buttons = [
        Markup('<button type="button" aria-pressed="true" data-series="{0}">{1}{0}</button>').format(
            label, swatch(study.look(label))
        )
        for label in labels
    ]
    return Markup('<div class="legend" role="group" aria-label="Shown models">{}</div>').format(
        Markup("").join(buttons)
    )
