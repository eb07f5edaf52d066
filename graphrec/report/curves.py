"""Learning curves: what validation and the training loss did over the epochs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphrec.data.files import write_bytes
from graphrec.runs import RunFolder

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")  # Okabe and Ito
NOT_LOSS = ("epoch", "seconds")
DASHES = ("--", ":", "-.")


def learning_curves(runs: Sequence[RunFolder], path: str | Path) -> Path:
    """Draws the validation metric and the training loss of every run over its epochs, as PNG.

    Models solved in closed form are drawn as horizontal lines; a dot marks the chosen epoch.

    Args:
        runs: Run folders; runs with the same label share a colour.
        path: The PNG file.

    Raises:
        ValueError: If no run has anything to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    described = [(run, run.metrics()) for run in runs]
    shown = [(run, metrics) for run, metrics in described if metrics.get("valid")]
    if not shown:
        raise ValueError("expected runs with validation scores to draw, got none")
    colours = _colours([metrics["label"] for _, metrics in shown])
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for run, metrics in shown:
        _draw(left, right, run, metrics, colours[metrics["label"]])
    _finish(left, "Validation", "epoch", shown[0][1]["metric"])
    _finish(right, "Training loss (sum of its terms)", "epoch", "loss per batch, log scale")
    if right.lines:
        right.set_yscale("log")
    figure.suptitle(f"Learning curves on {shown[0][0].data()['name']}", fontweight="bold")
    _legend(left, figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_bytes(Path(path), buffer.getvalue())
    return Path(path)


def loss_terms(row: Mapping[str, float], metric: str) -> dict[str, float]:
    """Returns the loss terms of an epoch: all but the validation metric, and diagnostics, whose names have a slash.

    >>> loss_terms({"epoch": 1, "bpr": 0.5, "seconds": 2.0, "Recall@20": 0.1, "coupling/text": 0.3}, "Recall@20")
    {'bpr': 0.5}
    """
    return {name: value for name, value in row.items() if name not in (*NOT_LOSS, metric) and "/" not in name}


def _draw(left: Any, right: Any, run: RunFolder, metrics: dict[str, Any], colour: str) -> None:
    label, metric = metrics["label"], metrics["metric"]
    history = run.history()
    if not history:
        dash = DASHES[len(left.lines) % len(DASHES)]
        if metric in metrics["valid"]:
            left.axhline(metrics["valid"][metric], color=colour, linestyle=dash, linewidth=1.4, label=label)
        return
    scored = [row for row in history if metric in row]
    left.plot([row["epoch"] for row in scored], [row[metric] for row in scored], color=colour, label=label)
    best = [row for row in scored if row["epoch"] == metrics["best_epoch"]]
    left.plot([row["epoch"] for row in best], [row[metric] for row in best], "o", color=colour, markersize=6)
    losses = [sum(loss_terms(row, metric).values()) for row in history]
    right.plot([row["epoch"] for row in history], losses, color=colour, label=label)


def _finish(axes: Any, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Any, figure: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=min(len(unique), 5), frameon=False)


def _colours(labels: list[str]) -> dict[str, str]:
    return {label: PALETTE[number % len(PALETTE)] for number, label in enumerate(dict.fromkeys(labels))}
