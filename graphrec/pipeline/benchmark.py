"""Several models on the same data, features and graph, each run in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import graphrec
from graphrec.config import dump_yaml
from graphrec.data.dataset import Dataset
from graphrec.evaluation.ranking import Evaluation
from graphrec.pipeline.config import BenchmarkConfig, RunConfig
from graphrec.pipeline.prepare import Prepared, check, check_test, load_data, prepare
from graphrec.pipeline.result import build_model, measure_scorer
from graphrec.pipeline.train import execute, is_same
from graphrec.runs import ORACLE, RunFolder, RunFolderError, now, peak_memory, write_text
from graphrec.runtime import logger, rank

log = logger(__name__)
SETTINGS = "benchmark.yaml"
Settings = BenchmarkConfig | Mapping[str, Any] | str | Path


@dataclass(frozen=True)
class Oracle:
    """The true preference of synthetic data as a scorer: the known ceiling.

    Args:
        truth: ``Dataset.truth``.
    """

    truth: Any

    def score(self, users: Tensor) -> Tensor:
        """Returns the true preference for all items ``(len(users), num_items)``."""
        return torch.from_numpy(self.truth.score(users.cpu().numpy()))


def benchmark(config: Settings, folder: str | Path, *, data: Dataset | None = None) -> list[RunFolder]:
    """Runs every model for every seed; finished runs are kept, a stopped benchmark goes on where it stopped.

    Data, features and graph are made once. The run of a label and seed is in ``<folder>/<label>/seed-<n>``; where the
    true preference is known, its scores are in ``<folder>/oracle``. Every test set is scored once per run.

    Args:
        config: A ``BenchmarkConfig``, a mapping, or the path of a YAML file.
        folder: Where the runs are written.
        data: A data set to use in place of ``config.data.name``.

    Returns:
        The run folders in the order of the config, the oracle last.

    Raises:
        ConfigError: If a setting is unknown or wrong.
        ValueError: If the data is not what was expected, or a run folder holds another run.
        FileNotFoundError: If the data is missing.
        FloatingPointError: If a loss term stops being finite.
    """
    settings = BenchmarkConfig.read(config)
    plan = settings.plan()
    dataset = load_data(settings.data, data)
    check_test(dataset)
    for entry in plan:
        check(entry, dataset)
    root = Path(folder).resolve()
    prepared = prepare(dataset, settings.features, settings.graph)
    _try_out(plan, prepared, root)
    if rank() == 0:
        write_text(root / SETTINGS, dump_yaml(settings.model_dump(mode="json")))
    places = [_run_one(entry, prepared, root) for entry in plan]
    return places if not hasattr(dataset.truth, "score") else [*places, _run_oracle(settings, prepared, root)]


def _try_out(plan: list[RunConfig], prepared: Prepared, root: Path) -> None:
    """Builds every model once, and looks into every folder, so that nothing fails after hours of training."""
    tried = set()
    for entry in plan:
        _is_finished(_place(root, entry), entry, prepared)
        if entry.label not in tried:
            build_model(entry, prepared.graph)
            tried.add(entry.label)


def _place(root: Path, config: RunConfig) -> RunFolder:
    return RunFolder(root / config.label / f"seed-{config.seed}")


def _is_finished(place: RunFolder, config: RunConfig, prepared: Prepared) -> bool:
    if not place.is_complete():
        place.check_own()
        return False
    place.check()
    if not is_same(place, config, prepared):
        raise RunFolderError(
            f"{str(place.path)!r} holds a run with other settings or data; name another folder, or delete that one"
        )
    return place.metrics()["test"] is not None


def _run_one(config: RunConfig, prepared: Prepared, root: Path) -> RunFolder:
    place = _place(root, config)
    if _is_finished(place, config, prepared):
        log.info("%s, seed %d: already finished", config.label, config.seed)
        prepared.written(place, refit=config.training.refit)
        return place
    log.info("%s, seed %d", config.label, config.seed)
    execute(config, prepared, place.path, resume=True).evaluate()
    return place


def _run_oracle(settings: BenchmarkConfig, prepared: Prepared, root: Path) -> RunFolder:
    place, data = RunFolder(root / ORACLE), prepared.data
    if place.is_complete() and place.data()["identity"] == prepared.identity:
        return place
    mask = data.split.valid if settings.evaluation.also_mask_valid else None
    found = measure_scorer(Oracle(data.truth), settings.evaluation, data.split.train, data.test, also_mask=mask)
    if rank() == 0:
        place.begin({"evaluation": settings.evaluation.model_dump(mode="json")}, prepared.about())
        place.write_users("test", found)
        place.log_evaluation({"time": now(), "graphrec": graphrec.__version__, "again": False, "test": found.mean()})
        place.write_metrics(_oracle_metrics(found))
    return place


def _oracle_metrics(found: Evaluation) -> dict[str, Any]:
    return {
        "label": ORACLE,
        "kind": ORACLE,
        "seed": None,
        "refit": False,
        "closed_form": True,
        "test": found.mean(),
        "test_users": len(found),
        "peak_memory_mib": peak_memory(),
    }
