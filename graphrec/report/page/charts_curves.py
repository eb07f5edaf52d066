"""What training did over the epochs: validation, every loss term, and the geometry of each modality."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from graphrec.report.page.section import Section, chart, heading, note, side_by_side
from graphrec.report.page.study import Study, legend
from graphrec.report.page.theme import Style, axes, band, line, style
from graphrec.runs import RunFolder

NOT_LOSS = ("epoch", "seconds")
SEPARATOR = "/"  # diagnostics are named kind/what; loss terms have none
HOVER = "epoch %{x}: %{y:.4g}"


class Curve(NamedTuple):
    """A quantity over epochs: its mean over seeds with the lowest and highest, as far as all seeds went."""

    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def learning_curves(study: Study) -> Section | None:
    """Shows validation and every loss term over the epochs, the mean over seeds with a band from lowest to highest."""
    trained = {label: runs for label, runs in study.groups.items() if all(run.history() for run in runs)}
    if not trained:
        return None
    terms = names(trained.values(), lambda name, metrics: SEPARATOR not in name and name not in (*NOT_LOSS, metrics))
    body = legend(study, study.labels) + heading("Validation") + _validation(study, trained)
    body += side_by_side(*(heading(f"Loss term: {term}") + _term(study, trained, term) for term in terms))
    body += note(
        "Lines: mean over seeds, as far as all of them went; bands: lowest to highest seed. Open markers: the epoch "
        "that validation chose for a seed. Dotted lines: models solved in closed form. Terms are weighted as in the "
        "sum that is minimised, averaged over batches; log scale."
    )
    return Section("learning-curves", "Learning curves", "How fast each model learns, and when it stopped.", body)


def alignment_and_uniformity(study: Study) -> Section | None:
    """Shows how well the views of an item agree and how evenly each is spread, over the epochs.

    Alignment and uniformity are those of Wang and Isola (ICML 2020, https://arxiv.org/abs/2005.10242).
    """
    shown = [Markup("")]
    for kind, reading in (("alignment", "lower: views of an item agree"), ("uniformity", "lower: spread more evenly")):
        charts = diagnostic_charts(study, kind, reading)
        shown += [heading(f"{kind.capitalize()} ({reading})") + side_by_side(*charts)] if charts else []
    if len(shown) == 1:
        return None
    source = Markup('Definitions: <a href="https://arxiv.org/abs/2005.10242">Wang and Isola 2020</a>. ')
    body = Markup("").join(shown) + note(source + "Lines: mean over seeds; bands: lowest to highest seed.")
    lead = "Whether the modalities come to agree with behaviour, and whether any of them collapses to a few directions."
    return Section("geometry", "Alignment and uniformity", lead, body)


def diagnostic_charts(study: Study, kind: str, title: str) -> list[Markup]:
    """Returns a chart per model that noted diagnostics of a kind, such as ``coupling``; a line per name after it."""
    prefix = f"{kind}{SEPARATOR}"
    charts = []
    for label, runs in study.groups.items():
        found = names([runs], lambda name, _: name.startswith(prefix))
        curves = {name.removeprefix(prefix): over_seeds(runs, name) for name in found}
        traces = [trace for place, (name, curve) in enumerate(curves.items()) for trace in _drawn(name, curve, place)]
        if traces:
            about = f"{kind} of {', '.join(curves)} over the epochs of {label}"
            charts.append(
                heading(label)
                + chart({"data": traces, "layout": axes("epoch", "", showlegend=True)}, label=about, height=300)
            )
    return charts


def names(groups: Iterable[Sequence[RunFolder]], wanted: Callable[[str, str], bool]) -> list[str]:
    """Returns the names in the histories for which ``wanted(name, validation metric)`` holds, in their order."""
    found: dict[str, None] = {}
    for runs in groups:
        for run in runs:
            metric = run.metrics().get("metric", "")
            keys = {name: None for row in run.history() for name in row}
            found |= {name: None for name in keys if wanted(name, metric)}
    return list(found)


def over_seeds(runs: Sequence[RunFolder], name: str) -> Curve | None:
    """Returns a quantity of the history over the epochs that all runs noted; None if there is none."""
    noted = [{row["epoch"]: row[name] for row in run.history() if name in row} for run in runs]
    columns = [pd.Series(values, dtype=float) for values in noted]
    frame = pd.concat(columns, axis=1, join="inner").sort_index()
    if frame.empty:
        return None
    parts = (frame.mean(axis=1), frame.min(axis=1), frame.max(axis=1))
    return Curve([int(epoch) for epoch in frame.index], *(part.tolist() for part in parts))


def traces_of(name: str, curve: Curve | None, look: Style) -> list[dict[str, Any]]:
    """Returns the line of a curve, and its band where seeds differ."""
    if curve is None:
        return []
    spread = [band(name, curve.epochs, curve.low, curve.high, look)] if curve.low != curve.high else []
    return [*spread, line(name, curve.epochs, curve.mean, look, hovertemplate=HOVER)]


def _drawn(name: str, curve: Curve | None, place: int) -> list[dict[str, Any]]:
    return traces_of(name, curve, style(place))


def _validation(study: Study, trained: Mapping[str, Sequence[RunFolder]]) -> Markup:
    metric = str(study.first.metrics()["metric"])
    traces: list[dict[str, Any]] = []
    longest = 1
    for label, runs in trained.items():
        curve = over_seeds(runs, metric)
        longest = max([longest, *(curve.epochs if curve else [])])
        traces += [*traces_of(label, curve, study.look(label)), _chosen(label, runs, metric, study.look(label))]
    for label in study.labels:
        if label not in trained:
            traces += _level(label, study.groups[label], metric, longest, study.look(label))
    figure = {"data": traces, "layout": axes("epoch", metric)}
    return chart(figure, label=f"{metric} on validation over the epochs, one line per model", height=440)


def _chosen(label: str, runs: Sequence[RunFolder], metric: str, look: Style) -> dict[str, Any]:
    found = [(run.metrics()["best_epoch"], run.metrics()["valid"].get(metric)) for run in runs]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{label}, chosen epoch",
        "legendgroup": label,
        "showlegend": False,
        "x": [epoch for epoch, _ in found],
        "y": [value for _, value in found],
        "marker": {"symbol": f"{look.symbol}-open", "size": 12, "color": look.colour, "line": {"width": 2}},
        "hovertemplate": "chosen: epoch %{x}, %{y:.4f}",
    }


def _level(label: str, runs: Sequence[RunFolder], metric: str, longest: int, look: Style) -> list[dict[str, Any]]:
    values = [value for run in runs if (value := (run.metrics().get("valid") or {}).get(metric)) is not None]
    if not values:
        return []
    mean = sum(values) / len(values)
    dotted = {"color": look.colour, "dash": "dot", "width": 1.5}
    return [line(label, [1, longest], [mean, mean], look, line=dotted, hovertemplate="%{y:.4f}")]


def _term(study: Study, trained: Mapping[str, Sequence[RunFolder]], term: str) -> Markup:
    traces = [
        trace
        for label, runs in trained.items()
        for trace in traces_of(label, over_seeds(runs, term), study.look(label))
    ]
    layout = axes("epoch", "")
    layout["yaxis"] |= {"type": "log", "tickformat": "~g", "nticks": 5}
    return chart({"data": traces, "layout": layout}, label=f"Loss term {term} over the epochs", height=280)
