"""Metric against k, recomputed from the ranked lists for every cut-off, and checked against what the run stored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from graphrec.evaluation.lists import Lists
from graphrec.evaluation.metrics import MetricAt
from graphrec.report.page.charts_items import kept_lists
from graphrec.report.page.section import Section, chart, folded, heading, note, number, side_by_side, table
from graphrec.report.page.study import Study, legend
from graphrec.report.page.theme import axes, band, line
from graphrec.runs import RunFolder

SHOWN = ("recall", "ndcg", "precision", "hit_rate")
TOLERANCE = 1e-9
Curve = NDArray[np.float64]


def metric_by_k(study: Study) -> Section | None:
    """Shows Recall, NDCG, Precision and HitRate at every k up to the length of the kept lists.

    Raises:
        ValueError: If a curve does not meet a value that the run stored.
    """
    groups = kept_lists(study)
    if not groups:
        return None
    curves = {label: [_curves(study, run) for run in runs] for label, runs in groups.items()}
    charts = [heading(_title(name)) + _chart(study, name, curves) for name in SHOWN]
    absent = [label for label in study.labels if label not in groups]
    body = legend(study, groups) + side_by_side(*charts) + folded("The values as a table", _table(curves))
    body += note(
        "Bands: lowest to highest seed. Every curve was recomputed from the kept lists and meets the stored values."
    )
    if absent:
        body += note(f"Without kept lists, and so not shown: {', '.join(absent)}.")
    return Section(
        "by-k", "Metric against k", "Whether the order of the models depends on where the list is cut.", body
    )


def hits_of(study: Study, run: RunFolder) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Returns which ranked items are relevant ``(num_users, max_k)`` and how many each user has ``(num_users,)``."""
    data = study.dataset
    lists = Lists.by_id(run.users("test").index, run.lists("test"), data.split.users)
    return lists.hits(data.test), np.diff(data.test.csr().indptr).astype(np.int64)[lists.users]


def curves_of(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> dict[str, Curve]:
    """Returns the mean over users of every metric at all cut-offs ``(max_k,)``, by the definitions of evaluation."""
    ranks = np.arange(1, hits.shape[1] + 1)
    count, wanted = hits.cumsum(axis=1), np.maximum(relevant, 1)[:, None]
    discount = 1 / np.log2(ranks + 1)
    ideal = discount.cumsum()[np.minimum(ranks, wanted) - 1]
    values = {
        "recall": count / wanted,
        "ndcg": (hits * discount).cumsum(axis=1) / ideal,
        "precision": count / ranks,
        "hit_rate": count > 0,
    }
    return {name: value.mean(axis=0) for name, value in values.items()}


def _curves(study: Study, run: RunFolder) -> dict[str, Curve]:
    found = curves_of(*hits_of(study, run))
    _check(found, run)
    return found


def _check(found: Mapping[str, Curve], run: RunFolder) -> None:
    for label, stored in run.metrics()["test"].items():
        metric = MetricAt.parse(label)
        k = metric.k or 0
        if metric.name in found and 0 < k <= len(found[metric.name]):
            value = found[metric.name][k - 1]
            if abs(value - stored) > TOLERANCE:
                raise ValueError(f"expected {label} = {stored} in {run.path}, got {value} from its ranked lists")


def _chart(study: Study, name: str, curves: Mapping[str, list[dict[str, Curve]]]) -> Markup:
    traces = []
    for label, runs in curves.items():
        ks, values = _stacked(name, runs)
        if len(values) > 1:
            traces.append(band(label, ks, values.min(axis=0), values.max(axis=0), study.look(label)))
        hover = "k = %{x}: %{y:.4f}"
        traces.append(line(label, ks, values.mean(axis=0), study.look(label), hovertemplate=hover))
    title = _title(name)
    return chart(
        {"data": traces, "layout": axes("k", "")},
        label=f"{title} at every cut-off k, one line per model",
        height=340,
    )


def _stacked(name: str, runs: list[dict[str, Curve]]) -> tuple[list[int], Curve]:
    length = min(len(run[name]) for run in runs)
    return list(range(1, length + 1)), np.stack([run[name][:length] for run in runs])


def _table(curves: Mapping[str, list[dict[str, Curve]]]) -> Markup:
    shortest = min(len(run["recall"]) for runs in curves.values() for run in runs)
    ks = [k for k in (1, 2, 3, 5, 10, 15, 20, 50, 100) if k <= shortest]
    parts = []
    for name in SHOWN:
        means = {label: _stacked(name, runs)[1].mean(axis=0) for label, runs in curves.items()}
        rows = [(label, *(number(mean[k - 1]) for k in ks)) for label, mean in means.items()]
        parts.append(table(("model", *(f"@{k}" for k in ks)), rows, caption=f"{_title(name)}, mean over seeds"))
    return Markup("").join(parts)


def _title(name: str) -> str:
    return MetricAt(name, 1).label.removesuffix("@1")
