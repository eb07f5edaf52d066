"""Score fusion: the sum of two models' scores, each z-scored per user; what to sum is chosen on validation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import graphrec
from graphrec.data.dataset import Dataset
from graphrec.evaluation.metrics import MetricAt
from graphrec.evaluation.ranking import Evaluation, Scorer
from graphrec.pipeline.cells import held, reason
from graphrec.pipeline.config import BenchmarkConfig, EvaluationConfig, FusionEntry
from graphrec.pipeline.result import Run, load, measure_scorer
from graphrec.runs import RunFolder, RunFolderError, now, peak_memory, share_dataset
from graphrec.runtime import logger, rank

log = logger(__name__)
FUSION = "fusion"


@dataclass(frozen=True)
class Fused:
    """The weighted sum of two scorers: ``(1 - weight) z(first) + weight z(second)``, z-scored per user.

    Args:
        first: The first scorer.
        second: The second scorer.
        weight: The weight of the second, in [0, 1].
    """

    first: Scorer
    second: Scorer
    weight: float

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``."""
        return torch.lerp(z_scores(self.first.score(users)), z_scores(self.second.score(users)), self.weight)


def z_scores(scores: Tensor) -> Tensor:
    """Returns scores with mean 0 and standard deviation 1 per user; 0 for a user whose scores are all alike.

    >>> z_scores(torch.tensor([[1.0, 3.0], [2.0, 2.0]])).tolist()
    [[-1.0, 1.0], [0.0, 0.0]]

    Args:
        scores: Scores of all items ``(num_users, num_items)``.
    """
    centred = scores.float() - scores.float().mean(dim=1, keepdim=True)
    spread = centred.square().mean(dim=1, keepdim=True).sqrt()
    return centred / torch.where(spread > 0, spread, torch.ones_like(spread))


def run_fusions(
    settings: BenchmarkConfig, runs: Sequence[RunFolder], data: Dataset, root: Path
) -> tuple[list[RunFolder], dict[str, Exception]]:
    """Fuses the scores of finished runs of a benchmark, seed by seed.

    Of each list of labels the one with the best mean validation metric is taken, once all runs of all of them are
    finished, and the weight is the best of the config's on validation, for every seed anew. The test set is scored
    once, with that weight.

    Returns:
        The run folders, and what went wrong by label.
    """
    by_label: dict[str, dict[int, RunFolder]] = {}
    for run in runs:
        by_label.setdefault(run.metrics()["label"], {})[run.metrics()["seed"]] = run
    found: list[RunFolder] = []
    errors: dict[str, Exception] = {}
    loaded = lru_cache(maxsize=2)(load)  # a closed form, which meets every seed of the other, is solved once
    for label, entry in settings.fusions.items():
        try:
            _check_finished(entry, settings, by_label)
            for pair in _pairs(*(_best(options, by_label) for options in (entry.first, entry.second))):
                with held(root, label, pair[0], wait=True):
                    found.append(_fuse(label, entry, pair, settings.evaluation, data, root, loaded))
        except Exception as error:  # whatever a part does wrong, the others go on
            log.error("%s failed: %s", label, reason(error))
            errors[label] = error
    return found, errors


def _check_finished(
    entry: FusionEntry, settings: BenchmarkConfig, by_label: Mapping[str, Mapping[int, RunFolder]]
) -> None:
    """Checks that the choice is made among all that it is to be made among, and not among those finished by chance."""
    for run in settings.plan():
        if run.label in {*entry.first, *entry.second} and run.seed not in by_label.get(run.label, {}):
            raise RunFolderError(
                f"expected all runs of {[*entry.first, *entry.second]}, among which its parts are chosen, but "
                f"{run.label!r} with seed {run.seed} is not finished; run it, or leave {run.label!r} out"
            )


def _best(options: Sequence[str], by_label: Mapping[str, Mapping[int, RunFolder]]) -> Mapping[int, RunFolder]:
    """Returns the runs by seed of the label with the best mean validation metric."""
    return by_label[max(options, key=lambda label: np.mean([_valid(run) for run in by_label[label].values()]))]


def _valid(run: RunFolder) -> float:
    metrics = run.metrics()
    name = metrics.get("metric")
    if name not in (metrics.get("valid") or {}):
        raise RunFolderError(f"expected {name!r} on validation in {str(run.path)!r} to choose a fusion by, got none")
    return float(metrics["valid"][name])


def _pairs(first: Mapping[int, RunFolder], second: Mapping[int, RunFolder]) -> list[tuple[int, RunFolder, RunFolder]]:
    """Pairs two models seed by seed; a closed form, which has a single run, goes with every seed of the other."""
    longer = first if len(first) >= len(second) else second
    alone = [next(iter(runs.values())) for runs in (first, second)]
    return [(seed, first.get(seed, alone[0]), second.get(seed, alone[1])) for seed in longer]


def _fuse(
    label: str,
    entry: FusionEntry,
    pair: tuple[int, RunFolder, RunFolder],
    evaluation: EvaluationConfig,
    data: Dataset,
    root: Path,
    loaded: Callable[[Path], Run],
) -> RunFolder:
    seed, *folders = pair
    place = RunFolder(root / label / f"seed-{seed}")
    identity = _identity(entry, folders)
    place.check_own()
    if place.is_complete():
        place.check()
        place.check_readable()
        if place.metrics().get("config") != identity:
            raise RunFolderError(
                f"{str(place.path)!r} holds a fusion of other runs; name another folder, or delete that one"
            )
        return place
    log.info("%s, seed %d: %s", label, seed, " + ".join(folder.metrics()["label"] for folder in folders))
    parts = [loaded(folder.path) for folder in folders]
    first, second = (part.scorer for part in parts)
    metric = parts[0].config.training.metric
    tried = {weight: _validate(Fused(first, second, weight), data, metric) for weight in entry.weights}
    weight = max(tried, key=lambda weight: tried[weight])
    fused = Fused(first, second, weight)
    mask = data.split.valid if evaluation.also_mask_valid else None
    valid = measure_scorer(fused, evaluation, data.split.train, data.split.valid)
    test = measure_scorer(fused, evaluation, data.split.train, data.test, also_mask=mask)
    if rank() == 0:
        about = {"fusion": [str(folder.path.relative_to(root)) for folder in folders], "weight": weight}
        _write(place, about | {"weights": {str(key): value for key, value in tried.items()}}, folders, (valid, test))
        place.write_metrics(_metrics(label, seed, identity, folders, (valid, test), metric) | about)
    return place


def _validate(scorer: Scorer, data: Dataset, metric: str) -> float:
    wanted = MetricAt.parse(metric)
    config = EvaluationConfig(metrics=(wanted.name,), ks=(wanted.k or 1,))
    return measure_scorer(scorer, config, data.split.train, data.split.valid).mean()[wanted.label]


def _write(
    place: RunFolder, config: Mapping[str, Any], folders: Sequence[RunFolder], parts: tuple[Evaluation, Evaluation]
) -> None:
    place.begin(config, folders[0].data())
    share_dataset(folders[0].dataset, place.dataset)
    for name, part in zip(("valid", "test"), parts, strict=True):
        place.write_users(name, part)
    entry = {"time": now(), "graphrec": graphrec.__version__, "again": False, "test": parts[1].mean()}
    place.log_first_evaluation(entry)


def _metrics(
    label: str,
    seed: int,
    identity: str,
    folders: Sequence[RunFolder],
    parts: tuple[Evaluation, Evaluation],
    metric: str,
) -> dict[str, Any]:
    seconds = [folder.metrics()["seconds"].get("training", 0.0) for folder in folders]
    valid, test = parts
    return {
        "label": label,
        "kind": FUSION,
        "seed": seed,
        "config": identity,
        "refit": False,
        "closed_form": all(folder.metrics()["closed_form"] for folder in folders),
        "best_epoch": None,
        "epochs": None,
        "metric": metric,
        "valid": valid.mean(),
        "valid_users": len(valid),
        "test": test.mean(),
        "test_users": len(test),
        "seconds": {"training": sum(seconds)},
        "peak_memory_mib": peak_memory(),
    }


def _identity(entry: FusionEntry, folders: Sequence[RunFolder]) -> str:
    parts = [entry.model_dump_json(), *(json.dumps(folder.metrics()["config"]) for folder in folders)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
