"""Coupling weights between the node types of a graph model: a diagram, and their course over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from graphrec.report.page.charts_curves import diagnostic_charts
from graphrec.report.page.section import Section, folded, heading, note, number, side_by_side, table
from graphrec.report.page.study import Study
from graphrec.runs import RunFolder, RunFolderError
from graphrec.runs.folder import WEIGHTS

PREFIX = "coupling."
BETWEEN_USERS_AND_ITEMS = "interacts"
THICKEST, THINNEST = 14.0, 1.5  # lines of the diagram, in units of its 640 x (n * 56) drawing
ROW = 60


def couplings(study: Study) -> Section | None:
    """Shows the final coupling of every relation as the width of an edge, and its course over the epochs."""
    found = {label: final_couplings(runs) for label, runs in study.groups.items()}
    found = {label: values for label, values in found.items() if values}
    if not found:
        return None
    names = dict.fromkeys(name for values in found.values() for name in values)
    drawings = [heading(f"{label}, {_how(study.groups[label])}") + diagram(label, found[label]) for label in found]
    body = side_by_side(*drawings)
    rows = [(label, *(_cell(values.get(name)) for name in names)) for label, values in found.items()]
    body += folded(
        "The values as a table", table(("model", *names), rows, caption="Mean over seeds (lowest to highest)")
    )
    charts = diagnostic_charts(study, "coupling", "coupling")
    body += heading("Over the epochs") + side_by_side(*charts) if charts else Markup("")
    body += note(
        "Drawn at the epoch that validation chose. The coupling of a relation multiplies what it brings to an item or "
        "user. It says how loudly a relation speaks, not how much it helps: for that, switch it off and compare."
    )
    lead = "How much weight each relation of the graph has in the embedding of an item."
    return Section("coupling", "Coupling between node types", lead, body)


def final_couplings(runs: Sequence[RunFolder]) -> dict[str, list[float]]:
    """Returns the coupling of every relation, one value per run that has it, from the weights of the runs."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, value in couplings_of(run).items():
            found.setdefault(name, []).append(value)
    return found


def diagram(label: str, values: Mapping[str, Sequence[float]]) -> Markup:
    """Returns the node types as a picture whose edges are as wide as their couplings are large."""
    means = {name: sum(found) / len(found) for name, found in values.items()}
    others = [name for name in means if name != BETWEEN_USERS_AND_ITEMS]
    height = ROW * max(2, len(others))
    largest = max(abs(value) for value in means.values()) or 1.0
    parts = [_edge(150, height / 2, 290, height / 2, means.get(BETWEEN_USERS_AND_ITEMS, 0.0), largest)]
    for place, name in enumerate(others):
        y = ROW * (place + 0.5) + (height - ROW * len(others)) / 2
        parts += [_edge(350, height / 2, 490, y, means[name], largest), _node(490, y, name, 138)]
    parts += [_node(10, height / 2, "user", 140), _node(280, height / 2, "item", 80)]
    words = "; ".join(f"{name} {value:.3g}" for name, value in means.items())
    return Markup(
        '<svg class="diagram" viewBox="0 0 640 {}" role="img" aria-label="Couplings of {}: {}">{}</svg>'
    ).format(height, label, words, Markup("").join(parts))


def couplings_of(run: RunFolder) -> dict[str, float]:
    """Returns the couplings of a run by relation; reads them alone, not the embedding tables beside them.

    Raises:
        RunFolderError: If the weights cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = run.path / WEIGHTS
    if not path.is_file():
        return {}
    try:
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118 - not a mapping
            return {name.removeprefix(PREFIX): float(file.get_tensor(name)) for name in names}
    except SafetensorError as error:
        raise RunFolderError(f"cannot read {path}: {error}; the run folder is incomplete or damaged") from error


def _how(runs: Sequence[RunFolder]) -> str:
    return "learned" if runs[0].config().get("model", {}).get("learn_coupling") else "fixed by its settings"


def _cell(found: Sequence[float] | None) -> str:
    if not found:
        return number(math.nan)
    spread = "" if min(found) == max(found) else f" ({min(found):.4f} to {max(found):.4f})"
    return f"{sum(found) / len(found):.4f}{spread}"


def _edge(x: float, y: float, to_x: float, to_y: float, value: float, largest: float) -> Markup:
    width = THINNEST + (THICKEST - THINNEST) * abs(value) / largest
    middle_x, middle_y = (x + to_x) / 2, (y + to_y) / 2
    return Markup(
        '<line x1="{}" y1="{}" x2="{}" y2="{}" stroke-width="{:.2f}"{}/><text class="value" x="{}" y="{}">{:.3g}</text>'
    ).format(
        x,
        y,
        to_x,
        to_y,
        width,
        Markup(' stroke-dasharray="6 4"') if value < 0 else "",
        middle_x,
        middle_y + (22 if to_y > y else -12),
        value,
    )


def _node(x: float, y: float, name: str, width: float) -> Markup:
    return Markup('<rect x="{}" y="{}" width="{}" height="34" rx="17"/><text x="{}" y="{}">{}</text>').format(
        x, y - 17, width, x + width / 2, y + 5, name
    )
