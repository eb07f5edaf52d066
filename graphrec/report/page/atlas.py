"""The map: items on a plane, by the vectors of each modality and by a model's embeddings, with what they are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from torch_geometric.data import HeteroData

from graphrec.graph.neighbors import item_modalities
from graphrec.models.base import NoEmbeddings
from graphrec.pipeline import Run
from graphrec.report.page.atlas_groups import ABSENT, OTHER, Groups, categories, popularity
from graphrec.report.page.atlas_projection import MOST, NEAREST, Projection, modality_vectors, projection, with_vectors
from graphrec.report.page.explain import parts_of
from graphrec.report.page.lists_models import by_validation, first_model, loaded, with_embeddings, with_parts
from graphrec.report.page.section import Section, chart, note
from graphrec.report.page.study import Study
from graphrec.report.page.theme import SYMBOLS
from graphrec.report.page.thumbnails import Thumbnails, Titles, thumbnails_of
from graphrec.runs import RunFolderError, load_graph
from graphrec.runtime import generator

IntArray = NDArray[np.int64]
Trace = dict[str, Any]

SEED = 0
RESERVE = 600_000  # characters of pictures that are left to the recommendation lists
LEAD = "Items that lie close together are alike; how much of that a plane can show stands below the map."
PLAIN = {"showgrid": False, "showline": False, "ticks": "", "showticklabels": False, "automargin": False}
MARGIN = {"l": 4, "r": 4, "b": 4, "t": 4}
TEMPLATES = Path(__file__).parent / "templates"


def item_map(study: Study) -> Section | None:
    """Shows the items of a study on a plane: by each modality that has vectors, and by a model's embeddings.

    The model is the best on validation that has parts to fuse, else the best trained one. At most ``MOST`` items are
    drawn, chosen by a fixed seed.

    Returns:
        The section; ``None`` where no modality has vectors and no model has embeddings.
    """
    data = study.kept
    maps = [] if data is None else projections(study, sample(data.num_items))
    if data is None or not maps:
        return None
    drawn, degree = np.unique(np.concatenate([one.rows for one in maps])), data.split.train.item_degree()
    found = categories(data.items)
    colourings = [*([found] if found else []), popularity(degree)]
    traces, layers = _traces(maps, colourings, drawn)
    pictures = thumbnails_of(study)
    about = {
        "layers": layers,
        "maps": [_said(one) for one in maps],
        "colourings": [one.note for one in colourings],
        "titles": list(map(Titles(data.items), drawn.tolist())),
        "words": [_words(found, row, int(degree[row])) for row in drawn.tolist()],
        "pictures": _pictures(pictures, drawn, degree),
    }
    layout = {"xaxis": PLAIN, "yaxis": PLAIN, "margin": MARGIN, "legend": {"y": 0.94}}
    label = f"Map of {len(drawn)} items; the field above finds items by title and names their nearest"
    plot = chart({"data": [*traces, _ring()], "layout": layout}, label=label, height=560)
    body = _framed(_controls(study, maps, colourings) + plot, about)
    return Section("items", "Map of the items", LEAD, pictures.style() + body + _counted(study, drawn, pictures))


def sample(num_items: int, most: int = MOST) -> IntArray:
    """Returns all item rows, or ``most`` of them drawn by a fixed seed, ascending."""
    if num_items <= most:
        return np.arange(num_items)
    import torch

    return np.sort(torch.randperm(num_items, generator=generator(SEED))[:most].numpy())


def projections(study: Study, rows: IntArray) -> list[Projection]:
    """Returns the map of a trained model, then one for every modality with vectors.

    Args:
        study: The study.
        rows: The item rows to draw; a map shows those of them that it has vectors of.
    """
    fused = next(loaded(study, dict.fromkeys([*with_parts(study), *with_embeddings(study)])), None)
    found = [] if fused is None else [projection(_named_after(*fused), *_embedded(fused[1], rows), seed=SEED)]
    graph = _graph(study) if fused is None or not with_vectors(fused[1].graph) else fused[1].graph
    if graph is not None:
        found += [projection(name, *modality_vectors(graph, name, rows), seed=SEED) for name in with_vectors(graph)]
    return [one for one in found if one is not None]


def _named_after(label: str, run: Run) -> str:
    return f"fused by {label}" if parts_of(run.model) else f"embeddings of {label}"


def _embedded(run: Run, rows: IntArray) -> tuple[IntArray, NDArray[np.float64]]:
    """Returns the items that the model knows something of, with their embeddings."""
    import torch

    known = run.trained_on.item_degree() > 0
    if parts_of(run.model):  # content speaks for items without interactions
        for name in item_modalities(run.graph):
            known[run.graph[name].item_id.cpu().numpy()] = True
    rows = rows[known[rows]]
    try:
        with torch.no_grad():
            item = run.model.embed().item
    except NoEmbeddings:
        return rows[:0], np.zeros((0, 0))
    return rows, item[torch.from_numpy(rows)].detach().cpu().numpy().astype(np.float64)


def _graph(study: Study) -> HeteroData | None:
    """Returns the first graph of the study that has vectors."""
    for label in by_validation(study):
        try:
            graph = load_graph(first_model(study, label).path)
        except RunFolderError:
            continue
        if with_vectors(graph):
            return graph
    return None


def _traces(
    maps: Sequence[Projection], colourings: Sequence[Groups], drawn: IntArray
) -> tuple[list[Trace], list[tuple[int, int]]]:
    """Returns a trace for every group of every colouring of every map, and for each which map and colouring it is."""
    place = {int(row): number for number, row in enumerate(drawn)}
    traces, layers = [], []
    for layer in itertools.product(range(len(maps)), range(len(colourings))):
        found = list(_groups(maps[layer[0]], colourings[layer[1]], place))
        traces += [trace | {"visible": layer == (0, 0)} for trace in found]
        layers += [layer] * len(found)
    return traces, layers


def _groups(one: Projection, groups: Groups, place: Mapping[int, int]) -> Iterator[Trace]:
    member = groups.member[one.rows]
    for number, label in enumerate(groups.labels):
        inside = member == number
        if inside.any():
            x, y = one.points[inside].round(4).T
            yield {
                "type": "scatter",
                "mode": "markers",
                "name": label,
                "x": x,
                "y": y,
                "customdata": [place[int(row)] for row in one.rows[inside]],
                "hoverinfo": "none",
                "marker": _ordered(number, len(groups.labels)) if groups.ordered else _named(number, label),
            }


def _named(number: int, label: str) -> dict[str, Any]:
    if label in (OTHER, ABSENT):
        return {"color": "@muted/0.45", "symbol": "circle-open", "size": 5}
    colour = f"@{(0, 1, 2, 3, 4, 5, 7)[number % 7]}"
    return {"color": f"{colour}/0.8", "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 7}


def _ordered(number: int, count: int) -> dict[str, Any]:
    """Returns larger and darker markers for larger groups: readable in grey and in either theme."""
    share = number / max(1, count - 1)
    outline = {"width": 0.8, "color": "@0/0.9"}
    return {"color": f"@0/{0.08 + 0.84 * share:.2f}", "size": 4.5 + 7 * share, "line": outline}


def _ring() -> Trace:
    """Returns the mark around the item that was looked for."""
    marker = {"symbol": "circle-open", "size": 20, "color": "@ink", "line": {"width": 2.5}}
    return {"type": "scatter", "mode": "markers", "x": [], "y": [], "hoverinfo": "skip", "showlegend": False} | {
        "marker": marker
    }


def _said(one: Projection) -> dict[str, str]:
    """Returns what a map is called and what it can be believed, in words."""
    kept = f"{one.kept:.0%}".replace("%", " %")
    return {
        "name": one.name,
        "note": f"{one.method} of the cosines of {len(one.rows):,} items. Of an item’s {NEAREST} nearest by its "
        f"vector, {kept} are among its {NEAREST} nearest here.",
    }


def _words(found: Groups | None, row: int, degree: int) -> str:
    counted = f"{degree:,} training interaction{'' if degree == 1 else 's'}"
    return counted if found is None else f"{found.labels[found.member[row]]}; {counted}"


def _pictures(pictures: Thumbnails, drawn: IntArray, degree: IntArray) -> list[str | None]:
    """Returns the class of every item's picture; the most popular items first, until the room on the page is taken."""
    names: list[str | None] = [None] * len(drawn)
    for number in np.argsort(-degree[drawn], kind="stable").tolist():
        names[number] = pictures.name(int(drawn[number]), reserve=RESERVE)
    return names


def _controls(study: Study, maps: Sequence[Projection], colourings: Sequence[Groups]) -> Markup:
    name = f"items-{study.identity[:8]}"
    options = (_options([one.name for one in maps]), _options([one.name for one in colourings]))
    return Markup(
        '<div class="atlas-controls"><label>Vectors <select data-map>{}</select></label>'
        "<label>Colour <select data-colour>{}</select></label>"
        '<label class="atlas-find">Find an item <input type="search" list="{}" autocomplete="off"></label>'
        '<datalist id="{}"></datalist></div>'
    ).format(*options, name, name)


def _options(names: Sequence[str]) -> Markup:
    return Markup("").join(Markup('<option value="{}">{}</option>').format(*pair) for pair in enumerate(names))


def _framed(body: Markup, about: Mapping[str, Any]) -> Markup:
    """Returns the map with its style and script, which find their own elements."""
    text = json.dumps(about, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c").replace("&", "\\u0026")
    style, script = (Markup((TEMPLATES / name).read_text(encoding="utf-8")) for name in ("atlas.css", "atlas.js"))
    return Markup(
        '<style>{}</style><div class="atlas">{}<p class="note" data-note></p>'
        '<div class="atlas-found" role="status" hidden></div><div class="atlas-card" aria-hidden="true" hidden></div>'
        '<script type="application/json" data-about>{}</script><script>{}</script></div>'
    ).format(style, body, Markup(text), script)


def _counted(study: Study, drawn: IntArray, pictures: Thumbnails) -> Markup:
    total = study.dataset.num_items
    said = [f"{len(drawn):,} of {total:,} items are on a map, drawn by a fixed seed." if total > MOST else ""]
    said += [f"Pictures left out since the page has no more room: {pictures.left_out:,}." if pictures.left_out else ""]
    said += [f"Pictures that could not be read: {pictures.unreadable:,}." if pictures.unreadable else ""]
    text = " ".join(filter(None, said))
    return note(text) if text else Markup("")
