"""Accuracy against what it costs: training time and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphrec.report.page.section import Section, chart, folded, note, number, table
from graphrec.report.page.study import Study
from graphrec.report.page.theme import axes
from graphrec.runs import RunFolder

LARGEST = 46  # CSS pixels across the bubble of the most memory
SMALLEST = 9
FASTEST = 0.001  # seconds, below which a clock says little; also keeps the axis logarithmic


def accuracy_against_cost(study: Study) -> Section | None:
    """Shows a bubble per model: training seconds, the tested metric, and peak memory as the area."""
    metric = study.table.tested
    costs = {label: _cost(runs, metric) for label, runs in study.groups.items()}
    costs = {label: cost for label, cost in costs.items() if not math.isnan(cost["seconds"])}
    if not costs:
        return None
    largest = max((cost["memory"] for cost in costs.values() if not math.isnan(cost["memory"])), default=math.nan)
    traces = [_bubble(study, label, cost, largest) for label, cost in costs.items()]
    layout = axes("training time in seconds, log scale", metric, legend={"itemsizing": "constant"})
    layout["xaxis"] |= {"type": "log", "tickformat": "~g"}
    about = f"{metric} against training time, one bubble per model"
    body = chart({"data": traces, "layout": layout}, label=about, height=460)
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
    seconds = np.array([(one.get("seconds") or {}).get("training", math.nan) for one in found], dtype=float)
    memory = [float(one["peak_memory_mib"]) for one in found if one.get("peak_memory_mib")]
    values = np.array([one["test"][metric] for one in found])
    return {
        "seconds": float(np.maximum(seconds, FASTEST).mean()),
        "memory": float(np.mean(memory)) if memory else math.nan,
        "value": float(values.mean()),
        "up": float(values.max() - values.mean()),
        "down": float(values.mean() - values.min()),
    }


def _bubble(study: Study, label: str, cost: dict[str, float], largest: float) -> dict[str, Any]:
    look = study.look(label)
    share = 0.0 if math.isnan(cost["memory"]) else cost["memory"] / largest
    about = f"{label}<br>%{{y:.4f}} after {cost['seconds']:.3g} s, {number(cost['memory'], 0)} MiB<extra></extra>"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label,
        "x": [cost["seconds"]],
        "y": [cost["value"]],
        "error_y": {"array": [cost["up"]], "arrayminus": [cost["down"]], "color": look.colour, "thickness": 1.2},
        "marker": {
            "size": max(SMALLEST, LARGEST * math.sqrt(share)),
            "symbol": look.symbol,
            "color": f"{look.colour}/0.35",
            "line": {"color": look.colour, "width": 2},
        },
        "hovertemplate": about,
    }
