"""Accuracy against what it costs: training time and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphrec.report.page.section import Section, chart, folded, note, number, table
from graphrec.report.page.study import Study, legend
from graphrec.report.page.theme import axes, log_ticks
from graphrec.runs import RunFolder

LARGEST = 46  # CSS pixels across the bubble of the most memory
SMALLEST = 9
FASTEST = 0.001  # seconds, below which a clock says little; also keeps the axis logarithmic


def accuracy_against_cost(study: Study) -> Section | None:
    """Shows a bubble per model: seconds to build and train it, the tested metric, and peak memory as the area."""
    metric = study.table.tested
    costs = {label: _cost(runs, metric) for label, runs in study.groups.items()}
    costs = {label: cost for label, cost in costs.items() if not math.isnan(cost["seconds"])}
    if not costs:
        return None
    largest = max((cost["memory"] for cost in costs.values() if not math.isnan(cost["memory"])), default=math.nan)
    traces = [trace for label, cost in costs.items() for trace in _bubble(study, label, cost, largest)]
    layout = axes("training time in seconds, log scale", metric)
    ticks = log_ticks(cost["seconds"] for cost in costs.values())
    layout["xaxis"] |= {"type": "log", "tickformat": "~g", "dtick": ticks}
    about = f"{metric} against training time, one bubble per model"
    body = legend(study, costs) + chart({"data": traces, "layout": layout}, label=about, height=460)
    body += note(
        "Area: peak memory of the process, which several models may have shared; a model that ran after a larger one "
        "then shows at least the memory of that one. Bars: lowest to highest seed."
    )
    rows = [(label, number(c["value"]), number(c["seconds"], 2), number(c["memory"], 0)) for label, c in costs.items()]
    header = ("model", metric, "training, s", "peak memory, MiB")
    body += folded("The values as a table", table(header, rows, caption="Means over seeds"))
    lead = "What accuracy costs: the best place is the upper left, and a small bubble."
    return Section("cost", "Accuracy against training time and memory", lead, body)


def _cost(runs: Sequence[RunFolder], metric: str) -> dict[str, float]:
    found = [run.metrics() for run in runs]
    phases = [one.get("seconds") or {} for one in found]
    seconds = np.array([one.get("training", math.nan) + one.get("model", 0.0) for one in phases], dtype=float)
    memory = [float(one["peak_memory_mib"]) for one in found if one.get("peak_memory_mib")]
    values = np.array([one["test"][metric] for one in found])
    return {
        "seconds": float(np.maximum(seconds, FASTEST).mean()),
        "memory": float(np.mean(memory)) if memory else math.nan,
        "value": float(values.mean()),
        "up": float(values.max() - values.mean()),
        "down": float(values.mean() - values.min()),
    }


def _bubble(study: Study, label: str, cost: dict[str, float], largest: float) -> list[dict[str, Any]]:
    """Returns the bubble of a model, and its marker with a bar where seeds differ."""
    look = study.look(label)
    share = 0.0 if math.isnan(cost["memory"]) else cost["memory"] / largest
    place = {"type": "scatter", "mode": "markers", "legendgroup": label, "x": [cost["seconds"]], "y": [cost["value"]]}
    size = max(SMALLEST, LARGEST * math.sqrt(share))
    bubble = {"size": size, "color": f"{look.colour}/0.2", "line": {"color": f"{look.colour}/0.7", "width": 1}}
    spread = {"array": [cost["up"]], "arrayminus": [cost["down"]], "color": look.colour, "visible": cost["up"] > 0}
    about = f"%{{y:.4f}} after {cost['seconds']:.3g} s, {number(cost['memory'], 0)} MiB"
    return [
        place | {"name": label, "marker": bubble, "hoverinfo": "skip"},
        place
        | {
            "name": label,
            "marker": {"size": 9, "symbol": look.symbol, "color": look.colour},
            "error_y": spread | {"thickness": 1.5, "width": 4},
            "hovertemplate": about,
        },
    ]
