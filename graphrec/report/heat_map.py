"""A grid of settings as a heat map: the value in every cell, the best one, and those that may be as good."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphrec.config import ConfigError, unknown_name
from graphrec.data.files import write_bytes
from graphrec.evaluation.significance import LEVEL, Scores
from graphrec.report.paired import PARTS, best_of, comparable, compare_with, grid_scores
from graphrec.runs import RunFolder

INK, PAPER = "#111111", "#ffffff"
DARK = 0.45  # of the colour scale, below which ink would not be read
COLOURS = "cividis"  # made to look the same to the colour-blind
Point = tuple[int, int]


def heat_map(runs: Sequence[RunFolder], axes: Sequence[str], metric: str | None, part: str, path: str | Path) -> Path:
    """Draws the mean over seeds of every point of a grid, as PNG.

    The best point is marked by a star and a frame; a dashed frame marks those that the paired test cannot tell from
    it. A point without a finished run is empty.

    Args:
        runs: The runs of a grid; those with the same label are seeds of one point.
        axes: One or two dotted paths of their settings: the columns, or the rows and the columns.
        metric: Such as ``"Recall@20"``; None for the one that chose the epoch.
        part: ``"valid"``, where choices belong, or ``"test"``.
        path: The PNG file.

    Raises:
        ConfigError: If the metric or the part is unknown, or a run has no such setting.
        ValueError: If there are no runs, they are of different data sets, or two settings share a point.
    """
    if not 1 <= len(axes) <= 2:
        raise ConfigError(f"expected one or two axes, such as 'model.num_layers', got {list(axes)}")
    metric = comparable(runs, metric, part)
    groups, scores, _ = grid_scores(runs, part, metric)
    values = {label: tuple(_setting(found[0], axis) for axis in axes) for label, found in groups.items()}
    ticks = [_sorted({value[place] for value in values.values()}) for place in range(len(axes))]
    points = _points(values, ticks)
    figure = _figure(next(iter(groups.values()))[0].data()["name"], axes, ticks, metric, part)
    _fill(figure.axes[0], points, scores, _as_good(scores, metric), [len(found) for found in ticks])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_bytes(Path(path), buffer.getvalue())
    return Path(path)


def _setting(run: RunFolder, axis: str) -> str:
    value: Any = run.config()
    for key in axis.split("."):
        if not isinstance(value, Mapping) or key not in value:
            known = value if isinstance(value, Mapping) else ()
            raise ConfigError(f"no setting {axis!r} in {run.path}: {unknown_name(key, known, kind='key')}")
        value = value[key]
    return str(value)


def _sorted(values: set[str]) -> list[str]:
    """Returns values in the order of their numbers, words behind them by the alphabet."""

    def key(text: str) -> tuple[bool, float, str]:
        try:
            return False, float(text), text
        except ValueError:
            return True, 0.0, text

    return sorted(values, key=key)


def _points(values: Mapping[str, tuple[str, ...]], ticks: Sequence[list[str]]) -> dict[str, Point]:
    """Returns row and column of every label."""
    points: dict[str, Point] = {}
    for label, value in values.items():
        *row, column = (found.index(own) for found, own in zip(ticks, value, strict=True))
        point = (row[0] if row else 0, column)
        if point in points.values():
            raise ValueError(
                f"expected one setting at every point, got two at {', '.join(value)}: {label!r} and another"
            )
        points[label] = point
    return points


def _as_good(scores: Mapping[str, Scores], metric: str) -> tuple[str, set[str]]:
    """Returns the label with the best mean, and those that cannot be told from it."""
    best = best_of(scores)
    found, _ = compare_with(scores, best, metric)
    lower = {label for label, (_, p_value) in found.items() if p_value < LEVEL}
    return best, {label for label in scores if label != best and label not in lower}


def _figure(name: str, axes: Sequence[str], ticks: Sequence[list[str]], metric: str, part: str) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    *rows, columns = ticks
    height = len(rows[0]) if rows else 1
    figure = Figure(figsize=(max(6.0, 2.6 + 1.25 * len(columns)), 2.4 + 0.75 * height), layout="constrained")
    FigureCanvasAgg(figure)
    plot = figure.subplots()
    plot.set_title(f"{metric} on {name}, {PARTS[part]}", fontweight="bold")
    plot.set_xticks(range(len(columns)), columns)
    plot.set_xlabel(axes[-1])
    plot.set_yticks(range(height) if rows else [], rows[0] if rows else [])
    plot.set_ylabel(axes[0] if rows else "")
    return figure


def _fill(
    plot: Any, points: Mapping[str, Point], scores: Mapping[str, Scores], found: tuple[str, set[str]], size: list[int]
) -> None:
    from matplotlib.patches import Rectangle

    grid = np.full((size[0] if len(size) > 1 else 1, size[-1]), np.nan)
    for label, point in points.items():
        grid[point] = np.nanmean(scores[label].values)
    image = plot.imshow(grid, cmap=COLOURS, aspect="auto")
    plot.figure.colorbar(image, ax=plot)
    best, as_good = found
    for label, (row, column) in points.items():
        colour = PAPER if image.norm(grid[row, column]) < DARK else INK
        text = _text(scores[label].values, star=label == best)
        plot.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
        if label == best or label in as_good:
            dash, width = ("-", 3.0) if label == best else ("--", 1.5)
            corner = column - 0.45, row - 0.43
            plot.add_patch(Rectangle(corner, 0.9, 0.86, fill=False, edgecolor=colour, linestyle=dash, linewidth=width))
    plot.figure.supxlabel(_caption(scores.values(), len(as_good)), fontsize=8)


def _text(values: NDArray[np.float64], *, star: bool) -> str:
    means = np.nanmean(values, axis=1)
    spread = f"\n± {means.std(ddof=1):.4f}" if len(means) > 1 else ""
    return f"{'★ ' if star else ''}{means.mean():.4f}{spread}"


def _caption(scores: Any, as_good: int) -> str:
    runs = max(len(found.values) for found in scores)
    tested = "users and seeds" if runs > 1 else "users alone: one run per point, training variance is not in the test"
    others = f"dashed: not distinguishable from it ({as_good})" if as_good else "every other is significantly lower"
    return f"★ best of {len(scores)}; {others}; paired t over {tested}; Holm, {LEVEL:.0%}"
