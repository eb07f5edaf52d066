"""The measures beyond accuracy as one table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from graphrec.evaluation.beyond import MEASURES, beyond_accuracy, measure_of
from graphrec.evaluation.lists import Lists
from graphrec.report.page.charts_items import cutoff, kept_lists
from graphrec.report.page.section import Section, folded, note, table
from graphrec.report.page.sheet import Sheet
from graphrec.report.page.study import Study
from graphrec.runs import RunFolder

DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "zero": "best at 0"}
ARROWS = {"higher": "↑", "lower": "↓", "zero": "→0"}


def beyond_table(study: Study) -> Section | None:
    """Shows novelty, popularity, diversity, coverage, exposure and fairness of the lists of every model."""
    groups = kept_lists(study)
    if not groups:
        return None
    k = cutoff(study, [run for runs in groups.values() for run in runs])
    means = {label: _means(study, runs, k) for label, runs in groups.items()}
    names = list(dict.fromkeys(name for values in means.values() for name in values))
    values = {name: [_value(found.get(name, math.nan)) for found in means.values()] for name in names}
    header, rows = (f"in lists of {k}", *means), [(_named(name), *cells) for name, cells in values.items()]
    body = table(header, rows, caption="Means over users and seeds; none of them is tested")
    about = [
        (measure.label, measure.unit, DIRECTIONS[measure.better], measure.meaning) for measure in MEASURES.values()
    ]
    columns = ("measure", "unit", "direction", "meaning")
    body += folded("What the measures mean", table(columns, about, caption="Definitions", numbers=False))
    body += note(
        "↑ higher is better, ↓ lower is better, →0 best at 0. A model that is more diverse or more novel is not better "
        "for that alone: random lists are both. Gap: between groups of users by their training interactions; means of "
        "few users differ by chance too."
    )
    lead = "What the lists are like, apart from being right."
    frame = pd.DataFrame(means).rename_axis("measure").reset_index()
    plain = [(name, *cells) for name, cells in values.items()]
    sheet = Sheet("beyond", f"Beyond accuracy, {study.name}, means over users and seeds", header, plain, frame)
    return Section("beyond", "Beyond accuracy", lead, body, (sheet,))


def _means(study: Study, runs: Sequence[RunFolder], k: int) -> dict[str, float]:
    data = study.dataset
    found = []
    for run in runs:
        lists = Lists.by_id(run.users("test").index, run.lists("test"), data.split.users)
        measured = beyond_accuracy(lists, data.split.train, (k,), truth=data.test, features=study.features)
        found.append(measured.mean())
    return {name: float(np.mean([values[name] for values in found])) for name in found[0]}


def _named(name: str) -> Markup:
    measure = measure_of(name)
    arrow = Markup('{}&ensp;<span class="interval" role="img" aria-label="{}">{}</span>')
    return arrow.format(name.partition("@")[0], DIRECTIONS[measure.better], ARROWS[measure.better])


def _value(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}" if abs(value) >= 10 else f"{value:.4f}"
