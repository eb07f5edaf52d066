"""How the settings were found: the budget of every study, and its best value by trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from graphrec.report.page.section import Section, chart, folded, heading, note, number, table
from graphrec.report.page.study import Study, legend
from graphrec.report.page.theme import axes
from graphrec.runs import STUDY

FEW = 25
TRIALS = "trials.parquet"
SECONDS = "seconds"  # the one objective that is to be small


def tuning(study: Study) -> Section | None:
    """Shows the budget and the trials of the studies that lie beside the runs, in ``tuning/`` of a label's folder."""
    places = {label: runs[0].path.parent / STUDY for label, runs in study.groups.items()}
    studies = {label: runs[0].study() for label, runs in study.groups.items()}
    found = {label: summary for label, summary in studies.items() if summary is not None}
    if not found:
        return None
    header = ("model", "budget", "finished", "ended early", "failed", "time", "objective", "best, validation")
    rows = [(label, *_row(summary)) for label, summary in found.items()]
    body = table(header, rows, caption="Studies, on validation; the test split took no part")
    objective = next(iter(found.values()))["objectives"][0]
    histories = {label: _history(places[label]) for label in found}
    traces = [
        t for label, trials in histories.items() if trials is not None for t in _traces(study, label, trials, objective)
    ]
    if traces:
        body += heading("Best value by trial") + legend(
            study, [n for n, trials in histories.items() if trials is not None]
        )
        layout = axes("trial", f"{objective}, validation")
        if max(max(trace["x"], default=0) for trace in traces) <= FEW:
            layout["xaxis"]["dtick"] = 1  # no ticks between trials
        figure = {"data": traces, "layout": layout}
        body += chart(figure, label="Best value so far by trial, one step line per model; a marker per trial")
    best = Markup("").join(_best(label, summary) for label, summary in found.items())
    body += folded("The best settings", best)
    silent = [str(places[label]) for label, trials in histories.items() if trials is None]
    body += (
        note(f"Trials are drawn once they are exported: graphrec tune {silent[0]} --export") if silent else Markup("")
    )
    untuned = [label for label in study.labels if label not in found]
    body += note(_untuned(study, untuned)) if untuned else Markup("")
    budgets = {summary["budget"].get("trials") for summary in found.values()}
    every = "every model" if not untuned else "every model that was tuned"
    lead = f"The same budget of trials for {every}." if len(budgets) == 1 else "The models had different budgets."
    return Section("tuning", "Tuning", lead, body)


def _untuned(study: Study, labels: list[str]) -> str:
    fused = [label for label in labels if study.groups[label][0].metrics()["kind"] == "fusion"]
    others = [label for label in labels if label not in fused]
    said = f"Not tuned here: {', '.join(others)}. " if others else ""
    return said + (f"Fused from models above, the weight chosen on validation: {', '.join(fused)}." if fused else "")


def _row(summary: dict[str, Any]) -> tuple[str, ...]:
    trials, objective = summary["trials"], summary["objectives"][0]
    best = (summary["best"] or {"values": {}})["values"].get(objective)
    failed = trials.get("failed", 0) + trials.get("lost", 0)
    counts = (summary["budget"].get("trials", "–"), trials.get("complete", 0), trials.get("pruned", 0), failed)
    return (*map(str, counts), _time(summary["seconds"]), objective, number(best))


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _range(given: dict[str, Any]) -> str:
    if "choices" in given:
        return ", ".join(map(str, given["choices"]))
    ends = f"{given.get('low', '–')} to {given.get('high', '–')}"
    return f"{ends}, log scale" if given.get("log") else ends


def _history(place: Path) -> pd.DataFrame | None:
    """Returns the trials in their order, if they were exported."""
    path = place / TRIALS
    return pd.read_parquet(path).sort_values("number") if path.is_file() else None


def _traces(study: Study, label: str, trials: pd.DataFrame, objective: str) -> list[dict[str, Any]]:
    done = trials[(trials["state"] == "complete") & trials["value"].notna()]
    look, common = (
        study.look(label),
        {"type": "scatter", "name": label, "legendgroup": label, "x": done["number"].tolist()},
    )
    points = {"mode": "markers", "marker": {"color": f"{look.colour}/0.55", "symbol": look.symbol, "size": 7}}
    reached = trials["value"].where(trials["state"] == "complete")  # a trial that was ended early changes nothing
    best = (reached.cummin() if objective == SECONDS else reached.cummax()).ffill()
    steps = {"mode": "lines", "line": {"color": look.colour, "dash": look.dash, "shape": "hv", "width": 2}}
    hover = {"hovertemplate": "trial %{x}: %{y:.4f}"}
    return [
        common | points | hover | {"y": done["value"].tolist()},
        common | steps | hover | {"x": trials["number"].tolist(), "y": best.tolist()},
    ]


def _best(label: str, summary: dict[str, Any]) -> Markup:
    chosen = (summary["best"] or {"params": {}})["params"]
    rows = [(path, _range(summary["space"].get(path, {})), _value(value)) for path, value in chosen.items()]
    return table(("setting", "range", "chosen"), rows, caption=f"Tuned settings of {label}", numbers=False)


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
