"""Everything before the model: the data set, its features and the graph, made once and shared by runs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch_geometric.data import HeteroData

from graphrec.data.dataset import Dataset, Split, concatenate
from graphrec.data.interactions import Interactions
from graphrec.data.sources import load_dataset
from graphrec.evaluation.metrics import MetricAt
from graphrec.features.choice import check_device
from graphrec.features.table import FeatureTable
from graphrec.features.tables import FeatureConfig
from graphrec.graph.build import GraphConfig, build_graph, drop_incomplete
from graphrec.pipeline.config import DataConfig, EvaluationConfig, RunConfig
from graphrec.runs import RunFolder, save_dataset, save_graph, share_dataset, share_graph
from graphrec.runtime import logger, working
from graphrec.training.sampling import NegativeSampler
from graphrec.training.tracking import require_trackers

log = logger(__name__)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set with its features and graph.

    Args:
        data: The data set; its training interactions are what is masked.
        trained: What models are trained on: ``data``, without the items that a ``drop`` policy leaves out.
        identity: What valid, test and everything a model depends on hash to.
        tables: Feature tables of items by modality.
        people: Feature tables of users by modality.
        config: How graphs are built.
        graph: The graph of the training interactions.
        seconds: How long each phase took.
    """

    data: Dataset
    trained: Dataset
    identity: str
    tables: Mapping[str, FeatureTable]
    people: Mapping[str, FeatureTable]
    config: GraphConfig
    graph: HeteroData
    seconds: Mapping[str, float]
    _written: dict[str, Path] = field(default_factory=dict)

    @cached_property
    def merged_data(self) -> Dataset:
        """The data set with train and valid together, for a refit."""
        return drop_incomplete(replace(self.data, split=self.data.split.merged()), self.config, self.tables)

    @cached_property
    def merged(self) -> HeteroData:
        """The graph of train and valid together, for a refit."""
        return build_graph(self.merged_data, self.config, self.tables, self.people)

    def split(self, *, refit: bool) -> Split:
        """Returns the split that a model is trained on."""
        return self.merged_data.split if refit else self.trained.split

    def graph_of(self, *, refit: bool) -> HeteroData:
        """Returns the graph that a model is trained on."""
        return self.merged if refit else self.graph

    def write(self, folder: RunFolder, *, refit: bool) -> None:
        """Writes data set and graph into a run folder; runs that share them share the files on disk."""
        self._once("dataset", folder.path, lambda path: save_dataset(path / "dataset", self.data), _share_data)
        graph = self.graph_of(refit=refit)
        self._once(f"graph-{refit}", folder.path, lambda path: save_graph(path, graph), share_graph)

    def written(self, folder: RunFolder, *, refit: bool) -> None:
        """Notes that a finished run folder holds this data set and graph."""
        self._written.setdefault("dataset", folder.path)
        self._written.setdefault(f"graph-{refit}", folder.path)

    def about(self) -> dict[str, Any]:
        """Returns what ``data.json`` says."""
        return {
            "name": self.data.name,
            "identity": self.identity,
            "fingerprint": self.data.fingerprint(),
            "statistics": self.data.statistics(),
            "notes": list(self.data.notes),
            "unreadable": {
                name: {str(table.ids.ids([row])[0]): reason for row, reason in table.unreadable.items()}
                for name, table in {**self.tables, **self.people}.items()
                if table.unreadable
            },
        }

    def _once(self, key: str, folder: Path, save: Any, share: Any) -> None:
        source = self._written.get(key)
        if source is None or not source.is_dir():
            save(folder)
            self._written[key] = folder
        elif source != folder:
            share(source, folder)


def load_data(config: DataConfig, data: Dataset | None = None) -> Dataset:
    """Loads the data set that a config names, or takes a given one, and splits it anew where that is asked for.

    Raises:
        ConfigError: If the name is unknown.
        FileNotFoundError: If the data is missing.
        ValueError: If the data is not what was expected.
    """
    if data is None:
        log.info("loading %s", config.name)
        data = load_dataset(config.name, root=config.root, features=config.features)
    data = data if config.split is None else _resplit(data, config)
    dropped = any(note.startswith("unseen ids dropped") for note in data.notes)
    return data.drop_unseen() if config.drop_unseen and not dropped else data


def prepare(
    data: Dataset,
    features: FeatureConfig | None = None,
    graph: GraphConfig | None = None,
) -> Prepared:
    """Makes features and graph of a data set.

    Raises:
        ConfigError: If a modality or encoder is unknown.
        ValueError: If features do not match the items or are not finite.
    """
    seconds: dict[str, float] = {}
    config = graph or GraphConfig()
    log.info(
        "%s: %d users, %d items, %d training interactions",
        data.name,
        data.num_users,
        data.num_items,
        len(data.split.train),
    )
    chosen = features or FeatureConfig()
    with clock(seconds, "features"):
        tables, people = chosen.tables(data), chosen.user_tables(data)
    trained = drop_incomplete(data, config, tables)
    data = replace(data, notes=trained.notes)
    with clock(seconds, "graph"), working("graph"):
        built = build_graph(trained, config, tables, people)
    return Prepared(data, trained, identity(data, {**tables, **people}), tables, people, config, built, seconds)


def check(config: RunConfig, data: Dataset) -> None:
    """Finds what would fail after training, before it.

    Raises:
        ConfigError: If the device of a trained model is unknown or not there.
        ValueError: If ``k`` is larger than the catalogue, or no negatives are left for a user of a trained model.
    """
    check_cutoffs(config.evaluation, data, MetricAt.parse(config.training.metric).k or 1)
    if config.model.is_closed_form:
        return
    check_device(config.training.device, where="training")
    require_trackers(config.training.trackers)
    parts = [data.split, data.split.merged()] if config.training.refit else [data.split]
    for part in parts:
        _check_negatives(part.train, seen_items=config.training.seen_negatives)


def check_cutoffs(evaluation: EvaluationConfig, data: Dataset, *more: int) -> None:
    """Checks that every cut-off fits the catalogue.

    Raises:
        ValueError: If one does not.
    """
    largest = max(*evaluation.ks, *more)
    if largest > data.num_items:
        raise ValueError(
            f"expected cut-offs up to {data.num_items}, the size of the catalogue of {data.name!r}, got k={largest}; "
            "lower evaluation.ks and training.metric"
        )


def check_test(data: Dataset) -> None:
    """Checks that there is a test set to score.

    Raises:
        ValueError: If it is empty.
    """
    if not len(data.test):
        raise ValueError(f"expected test interactions in {data.name!r}, got an empty split; split it with data.split")


def identity(data: Dataset, tables: Mapping[str, FeatureTable] | None = None) -> str:
    """Returns a hash of everything that training, choices and scores depend on.

    Given vectors are part of the data set; what an encoder made of pictures or texts is taken from ``tables``.
    """
    parts = [data.name, data.fingerprint(), data.split.valid.fingerprint(), data.test.fingerprint(), *data.notes]
    made = {name: table for name, table in (tables or {}).items() if table.source != "given"}
    parts += [f"{name} {made[name].fingerprint()}" for name in sorted(made)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@contextmanager
def clock(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Measures a phase and logs it."""
    log.info("%s …", phase)
    began = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - began


def _check_negatives(train: Interactions, *, seen_items: bool) -> None:
    pool = len(np.unique(train.item)) if seen_items else train.num_items
    if train.user_degree().max() >= pool:
        NegativeSampler(train, seen_items=seen_items)  # says which user


def _resplit(data: Dataset, config: DataConfig) -> Dataset:
    if config.split is None:
        return data
    everything = concatenate(concatenate(data.split.train, data.split.valid), data.test)
    split, test = config.split.apply(everything)
    note = f"split anew: {config.split.name}"
    return replace(data, split=split, test=test, truth=None, notes=(*data.notes, note))


def _share_data(source: Path, target: Path) -> None:
    share_dataset(source / "dataset", target / "dataset")
