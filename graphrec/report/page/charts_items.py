"""Which items are recommended: exposure against popularity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphrec.evaluation.exposure import exposure, gini
from graphrec.evaluation.metrics import MetricAt
from graphrec.report.page.section import Section, chart, folded, heading, note, number, side_by_side, table
from graphrec.report.page.study import Study, legend
from graphrec.report.page.theme import Style, axes, line
from graphrec.runs import RunFolder

POINTS = 101  # of a curve: a percentile each
LIST_LENGTH = 20
REFERENCE = Style("@muted", "circle", "solid")
Curve = NDArray[np.float64]


def head_and_tail(study: Study) -> Section | None:
    """Shows the share of recommendations against the popularity rank of items, and the Lorenz curves of exposure."""
    groups = kept_lists(study)
    if not groups:
        return None
    k = cutoff(study, [run for runs in groups.values() for run in runs])
    degree = study.dataset.split.train.item_degree().astype(float)
    counts = {label: _mean_exposure(runs, k, len(degree)) for label, runs in groups.items()}
    lines = {"training interactions": (degree, REFERENCE)}
    lines |= {label: (count, study.look(label)) for label, count in counts.items()}
    order = np.argsort(-degree, kind="stable")
    by_rank = [_line(name, count[order], look) for name, (count, look) in lines.items()]
    by_share = [_line(name, np.sort(count), look) for name, (count, look) in lines.items()]
    left = chart(
        _figure(by_rank, "items by falling popularity, %"), label="Share of recommendations by popularity rank"
    )
    right = chart(_figure(by_share, "items by rising exposure, %"), label="Lorenz curves of exposure")
    body = legend(study, groups) + side_by_side(
        heading("Against popularity rank") + left, heading("Lorenz curve of exposure") + right
    )
    body += note(
        f"Lists cut at {k}, seeds averaged. Grey: the training interactions, whose inequality is the data's own."
    )
    header = ("", "Gini", "share of the 1 % most popular", "of the 20 %", "items never shown, %")
    rows = [(name, *_summary(count, order)) for name, (count, _) in lines.items()]
    body += folded("The values as a table", table(header, rows, caption=f"Exposure in lists of {k}"))
    lead = "How far each model adds to the popularity of what is popular already: above the grey line, it does."
    return Section("head-tail", "Head and tail", lead, body)


def _figure(traces: list[dict[str, Any]], x: str) -> dict[str, Any]:
    layout = axes(x, "cumulative share, %")
    layout["xaxis"] |= {"range": [-1, 101]}
    layout["yaxis"] |= {"range": [-2, 102]}
    return {"data": traces, "layout": layout}


def kept_lists(study: Study) -> dict[str, tuple[RunFolder, ...]]:
    """Returns the runs by label that kept the lists of the test users; none without the data that they are of."""
    if study.kept is None:
        return {}
    kept = {label: tuple(run for run in runs if run.has_lists("test")) for label, runs in study.groups.items()}
    return {label: runs for label, runs in kept.items() if runs}


def cutoff(study: Study, runs: Sequence[RunFolder]) -> int:
    """Returns where lists are cut: at the tested metric's cut-off, or less where lists are shorter."""
    wanted = MetricAt.parse(study.table.tested).k or LIST_LENGTH
    return min([wanted, *(run.lists("test").shape[1] for run in runs)])


def _mean_exposure(runs: Sequence[RunFolder], k: int, num_items: int) -> Curve:
    return np.mean([exposure(run.lists("test")[:, :k], num_items) for run in runs], axis=0)


def _line(name: str, ordered: Curve, look: Style) -> dict[str, Any]:
    """Returns the cumulative share of a quantity over items in a given order."""
    cumulative = np.concatenate([[0.0], ordered.cumsum()]) / max(ordered.sum(), 1e-12)
    place = np.linspace(0, 1, POINTS)
    values = np.interp(place, np.linspace(0, 1, len(cumulative)), cumulative)
    hover = "%{x:.0f} % of items: %{y:.1f} %"
    return line(name, place * 100, values * 100, look, hovertemplate=hover)


def _summary(count: Curve, order: NDArray[np.int64]) -> tuple[str, ...]:
    total = max(count.sum(), 1e-12)
    heads = [count[order[: max(1, round(len(order) * share))]].sum() / total for share in (0.01, 0.2)]
    never = (count == 0).mean()
    return (number(gini(count)), *(f"{share:.1%}".replace("%", " %") for share in heads), f"{never * 100:.1f}")
