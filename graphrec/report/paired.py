"""Runs of several settings on the same data, and each setting compared with one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphrec.config import ConfigError, unknown_name
from graphrec.evaluation.metrics import MetricAt
from graphrec.evaluation.significance import Comparison, Scores
from graphrec.report.groups import check_data, check_seeds
from graphrec.report.marking import against, read_scores
from graphrec.runs import ORACLE, RunFolder

PARTS: Mapping[str, str] = {"valid": "validation", "test": "test set"}


def compare_with(
    scores: Mapping[str, Scores], reference: str, metric: str
) -> tuple[dict[str, tuple[Comparison, float]], list[str]]:
    """Compares every label with one of them.

    Args:
        scores: The metric of every user and run, by label.
        reference: The label that the others are compared with.
        metric: Its name.

    Returns:
        A comparison and its p-value, corrected by Holm, by label; and a note on every label that has other users.
    """
    pairs: dict[str, dict[str, Scores]] = {}
    notes = []
    for label, own in scores.items():
        if label != reference:
            try:
                pairs[label] = {metric: own.aligned(scores[reference].users, metric)}
            except ValueError as error:
                notes.append(f"{label} is not compared: {error}")
    found = against({metric: scores[reference]}, pairs, correction="holm")
    return {label: compared[metric] for label, compared in found.items()}, notes


def comparable(runs: Sequence[RunFolder], metric: str | None, part: str) -> str:
    """Checks that runs can be compared at all, and returns the label of the metric.

    Their graphs and features may differ, but neither data nor split.

    Args:
        runs: Finished runs.
        metric: Such as ``"Recall@20"``; the one that chose the epoch by default.
        part: ``"valid"`` or ``"test"``.

    Raises:
        ConfigError: If the part is unknown.
        ValueError: If there are no runs, or they are of different data sets.
    """
    if part not in PARTS:
        raise ConfigError(unknown_name(part, PARTS, kind="part"))
    own = [run for run in runs if run.metrics()["kind"] != ORACLE]
    if not own:
        raise ValueError("expected at least one finished run, got none")
    check_data(own)
    return MetricAt.parse(metric or own[0].metrics()["metric"]).label


def grouped(runs: Sequence[RunFolder], part: str, metric: str) -> tuple[dict[str, list[RunFolder]], list[str]]:
    """Returns the runs by label that have the metric of every user, and a note on every other.

    Raises:
        ConfigError: If no run was measured by the metric.
    """
    groups: dict[str, list[RunFolder]] = {}
    missing, known = [], set()
    for run in runs:
        about = run.metrics()
        name = f"{about['label']}, seed {about.get('seed')}"
        if about["kind"] == ORACLE:
            continue
        if not about.get(part) or not run.has_users(part):
            missing.append(f"{name}: has no scores on the {PARTS[part]}, left out")
            continue
        known |= set(about[part])
        if metric in about[part]:
            groups.setdefault(about["label"], []).append(run)
        else:
            missing.append(f"{name}: was not measured by {metric}, left out")
    if known and metric not in known:
        raise ConfigError(unknown_name(metric, known, kind="metric"))
    return groups, missing


def grid_scores(
    runs: Sequence[RunFolder], part: str, metric: str
) -> tuple[dict[str, list[RunFolder]], dict[str, Scores], list[str]]:
    """Returns runs and scores of every point of a grid, and a note on every run that is left out.

    Raises:
        ConfigError: If no run was measured by the metric.
        ValueError: If no point has a finished run.
    """
    groups, missing = grouped(runs, part, metric)
    if not groups:
        raise ValueError("expected finished runs of a grid, got none" + "".join(f"; {note}" for note in missing))
    return groups, {label: scores_of(found, part, metric) for label, found in groups.items()}, missing


def best_of(scores: Mapping[str, Scores]) -> str:
    """Returns the label with the highest mean; users without a value count in no metric."""
    return max(scores, key=lambda label: float(np.nanmean(scores[label].values)))


def scores_of(runs: Sequence[RunFolder], part: str, metric: str) -> Scores:
    """Returns the metric of every user and run of a label; a model without training has no seeds.

    Raises:
        ValueError: If two runs have the same seed or other users, or there are fewer than two users.
    """
    check_seeds(runs[0].metrics()["label"], runs)
    found = read_scores(runs, [metric], part)
    if metric not in found:
        raise ValueError(f"expected {metric} of two users or more on the {PARTS[part]}, got none in {runs[0].path}")
    return found[metric]
