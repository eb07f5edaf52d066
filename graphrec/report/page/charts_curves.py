"""What training did over the epochs: validation, every loss term, and the geometry of each modality."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from graphrec.report.page.section import Section, chart, heading, note, side_by_side
from graphrec.report.page.study import Study, legend
from graphrec.report.page.theme import Style, axes, band, line, log_ticks, style
from graphrec.runs import RunFolder

NOT_LOSS = ("epoch", "seconds")
SEPARATOR = "/"  # diagnostics are named kind/what; loss terms have none
LOW = 0.9  # of the lowest trained value: where the axis of validation ends if a level lies below
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
        "Lines: mean over seeds, as far as all of them went. Validation: thin lines are the seeds, open markers the "
        "epochs that validation chose, dotted lines models without epochs. Loss terms: weighted as in the sum that is "
        "minimised, averaged over batches; bands: lowest to highest seed; log scale."
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
    """Returns a chart per model whose diagnostics of a kind, such as ``coupling``, change; a line per name after it."""
    prefix = f"{kind}{SEPARATOR}"
    charts = []
    for label, runs in study.groups.items():
        found = names([runs], lambda name, _: name.startswith(prefix))
        curves = {name.removeprefix(prefix): over_seeds(runs, name) for name in found}
        if all(curve is None or len({*curve.low, *curve.high}) == 1 for curve in curves.values()):
            continue
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
    rows = [row for runs in trained.values() for run in runs for row in run.history()]
    longest, lowest = max(row["epoch"] for row in rows), min((row[metric] for row in rows if metric in row), default=0)
    traces: list[dict[str, Any]] = []
    for label, runs in trained.items():
        look, curve = study.look(label), over_seeds(runs, metric)
        mean = [] if curve is None else [line(label, curve.epochs, curve.mean, look, hovertemplate=HOVER)]
        traces += [*_seeds(label, runs, metric, look), *mean, _chosen(label, runs, metric, look)]
    levels = {label: _level(runs, metric) for label, runs in study.groups.items() if label not in trained}
    levels = {label: value for label, value in levels.items() if not math.isnan(value)}
    traces += [_flat(label, value, longest, study.look(label)) for label, value in levels.items()]
    layout, below = axes("epoch", metric), {label: value for label, value in levels.items() if value < LOW * lowest}
    if below:  # they would press the curves together
        highest = max([*levels.values(), *(row[metric] for row in rows if metric in row)])
        layout["yaxis"] |= {"range": [LOW * lowest, highest + (1 - LOW) * lowest]}
    about = f"{metric} on validation over the epochs, one line per model"
    said = ", ".join(f"{label} at {value:.4f}" for label, value in below.items())
    return chart({"data": traces, "layout": layout}, label=about, height=440) + (
        note(f"Below: {said}.") if said else ""
    )


def _seeds(label: str, runs: Sequence[RunFolder], metric: str, look: Style) -> list[dict[str, Any]]:
    """Returns a thin line per seed, to its own end; none for a single seed, which the mean shows."""
    traces = []
    for run in runs if len(runs) > 1 else ():
        noted = [(row["epoch"], row[metric]) for row in run.history() if metric in row]
        thin = {"color": f"{look.colour}/0.4", "width": 1}
        hover = f"seed {run.metrics()['seed']}, {HOVER}"
        epochs, values = [epoch for epoch, _ in noted], [value for _, value in noted]
        traces.append(line(label, epochs, values, look, mode="lines", line=thin, hovertemplate=hover))
    return traces


def _chosen(label: str, runs: Sequence[RunFolder], metric: str, look: Style) -> dict[str, Any]:
    found = []
    for run in runs:
        best = run.metrics()["best_epoch"]
        found.append((best, next((row.get(metric) for row in run.history() if row["epoch"] == best), None)))
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


def _level(runs: Sequence[RunFolder], metric: str) -> float:
    values = [(run.metrics().get("valid") or {}).get(metric, math.nan) for run in runs]
    return float(sum(values) / len(values))


def _flat(label: str, value: float, longest: int, look: Style) -> dict[str, Any]:
    dotted = {"color": look.colour, "dash": "dot", "width": 1.5}
    return line(label, [1, longest], [value, value], look, line=dotted, hovertemplate="%{y:.4f}")


def _term(study: Study, trained: Mapping[str, Sequence[RunFolder]], term: str) -> Markup:
    traces = [
        trace
        for label, runs in trained.items()
        for trace in traces_of(label, over_seeds(runs, term), study.look(label))
    ]
    for trace in traces:
        trace["mode"] = "lines"  # markers on short lines alone would seem to say something
    layout = axes("epoch", "")
    layout["yaxis"] |= {
        "type": "log",
        "tickformat": "~g",
        "dtick": log_ticks([y for trace in traces for y in trace["y"]]),
    }
    return chart({"data": traces, "layout": layout}, label=f"Loss term {term} over the epochs", height=280)
