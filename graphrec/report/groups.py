"""The runs of a table by label, checked: the same data, scored, one run per seed, nothing but the seed different.

Models may have been given different features: that is a comparison worth making, of the same interactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphrec.config import ConfigError, unknown_name
from graphrec.evaluation.metrics import MetricAt
from graphrec.report.marking import is_accuracy
from graphrec.runs import RunFolder, RunFolderError, load_dataset

SHOWN = ("recall", "ndcg")
Groups = dict[str, list[RunFolder]]


def group_runs(runs: Sequence[RunFolder], labels: Sequence[str] | None = None) -> Groups:
    """Returns the runs by label, in the given order.

    Args:
        runs: Finished runs.
        labels: Their labels, one per run, instead of those they were made with.

    Raises:
        ValueError: If there are none, one has no test scores, they are of different data, or they clash.
    """
    if not runs:
        raise ValueError("expected at least one finished run, got none")
    if labels is not None and len(labels) != len(runs):
        raise ValueError(f"expected one label per run, got {len(labels)} for {len(runs)} runs")
    check_data(runs)
    groups: Groups = {}
    for place, run in enumerate(runs):
        metrics = run.metrics()
        if metrics["test"] is None:
            raise ValueError(
                f"expected test scores in {run.path}, got none; score them with: graphrec evaluate {run.path}"
            )
        groups.setdefault(metrics["label"] if labels is None else labels[place], []).append(run)
    for label, found in groups.items():
        check_seeds(label, found)
        _check_settings(label, found)
    return groups


def columns_of(groups: Groups, metrics: Sequence[str] | None = None) -> tuple[str, ...]:
    """Returns the columns to show: those asked for, or Recall and NDCG at every cut-off.

    Raises:
        ConfigError: If one is unknown, or not in every run.
    """
    tables = [run.metrics()["test"] for runs in groups.values() for run in runs]
    known = [name for name in tables[0] if all(name in table for table in tables)]
    if metrics is None:
        shown = [name for name in known if is_accuracy(name) and MetricAt.parse(name).name in SHOWN]
        return tuple(shown or known)
    columns = tuple(map(MetricAt.label_of, metrics))
    for name in columns:
        if name not in known:
            raise ConfigError(unknown_name(name, known, kind="metric"))
    return columns


def other_features(runs: Sequence[RunFolder]) -> bool:
    """Returns whether the models of runs on the same interactions were given different features or content."""
    return len(_by_identity(runs)) > 1


def _by_identity(runs: Sequence[RunFolder]) -> dict[str, RunFolder]:
    return {run.data()["identity"]: run for run in reversed(runs)}


def check_data(runs: Sequence[RunFolder]) -> None:
    """Checks that runs are on the same interactions and split; their features may differ.

    Raises:
        ValueError: If they are not.
    """
    found = _by_identity(runs)
    if len(found) > 1 and len({split_of([run]) for run in found.values()}) > 1:
        places = "; ".join(f"{run.data()['name']} in {run.path}" for run in found.values())
        raise ValueError(f"expected runs on the same data and split, got others: {places}; make a table of each")


def same_data(runs: Sequence[RunFolder]) -> list[list[RunFolder]]:
    """Returns runs by the interactions they were trained and tested on; their features may differ."""
    groups: dict[str, list[RunFolder]] = {}
    for run in runs:
        groups.setdefault(run.data()["identity"], []).append(run)
    merged: dict[tuple[str, ...], list[RunFolder]] = {}
    for identity, found in groups.items():
        split = (identity,) if len(groups) == 1 else split_of(found)
        merged.setdefault(split, []).extend(found)
    return [*merged.values()]


def split_of(runs: Sequence[RunFolder]) -> tuple[str, ...]:
    """Returns the fingerprints of train, valid and test of runs on one data set; of folders that lost them, its own."""
    for run in runs:
        try:
            data = load_dataset(run.dataset)
        except RunFolderError:
            continue
        return tuple(part.fingerprint() for part in (data.split.train, data.split.valid, data.test))
    return (runs[0].data()["identity"],)


def check_seeds(label: str, runs: Sequence[RunFolder]) -> None:
    """Checks that there is one run per seed.

    Raises:
        ValueError: If two have the same.
    """
    first: dict[Any, RunFolder] = {}
    for run in runs:
        seed = run.metrics()["seed"]
        if seed in first:
            raise ValueError(
                f"expected one run of {label!r} per seed, got seed {seed} in {first[seed].path} and in {run.path}; "
                "leave one out, or give them different labels"
            )
        first[seed] = run


def _check_settings(label: str, runs: list[RunFolder]) -> None:
    if len(runs) < 2:
        return
    settings = [(run.metrics().get("refit"), _without_seeds(run.config().get("model"))) for run in runs]
    for run, found in zip(runs, settings, strict=True):
        if found != settings[0]:
            raise ValueError(
                f"expected the runs of {label!r} to differ in their seed only, got other settings of the model in "
                f"{run.path} than in {runs[0].path}; give them different labels"
            )


def _without_seeds(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    return {key: _without_seeds(value) for key, value in values.items() if key != "seed"}
