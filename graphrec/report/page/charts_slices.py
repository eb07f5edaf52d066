"""Accuracy on parts of the items and of the users, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from graphrec.data.catalog import Catalog
from graphrec.evaluation.lists import Lists
from graphrec.evaluation.metrics import METRICS, MetricAt
from graphrec.evaluation.significance import Scores
from graphrec.evaluation.slices import column_slices, item_slices, slice_items, slice_users, user_slices
from graphrec.report.marking import interval
from graphrec.report.page.atlas_groups import categories
from graphrec.report.page.charts_items import cutoff, kept_lists
from graphrec.report.page.section import Section, chart, folded, heading, note, number, slug, table
from graphrec.report.page.sheet import Sheet
from graphrec.report.page.study import Study, legend
from graphrec.report.page.theme import axes
from graphrec.runs import RunFolder

Slices = Mapping[str, NDArray[np.bool_]]
BY_POPULARITY, BY_MODALITY = "Items by popularity", "Items by the modalities they have"
BY_ACTIVITY = "Users by their training interactions"
FILES = {BY_POPULARITY: "popularity", BY_MODALITY: "modality", BY_ACTIVITY: "activity"}
ITEMS_BY, USERS_BY = "Items by {}", "Users by {}"
POPULARITY = ("cold", "tail", "mid", "head")
CONFIDENCE = 0.95
FALLBACK = "recall"  # where the tested metric cannot be computed from lists


class Estimate(NamedTuple):
    """The mean of a slice with its interval; NaN where there are too few users for one."""

    mean: float
    low: float
    high: float
    num_users: int
    size: int


def slices(study: Study) -> Section | None:
    """Shows the tested metric by popularity and modality of the items, by activity of the users, and by columns.

    The columns are those that the study names; without any, the first of the items and of the users that holds
    categories, such as a genre or an occupation.
    """
    groups = kept_lists(study)
    if not groups:
        return None
    k = cutoff(study, [run for runs in groups.values() for run in runs])
    name = MetricAt.parse(study.table.tested).name
    metric = MetricAt(name if name in METRICS else FALLBACK, k)
    train = study.dataset.split.train
    items = item_slices(train, modalities=study.modality_masks)
    parts = {
        BY_POPULARITY: (slice_items, {name: items[name] for name in POPULARITY}),
        BY_MODALITY: (slice_items, {n: m for n, m in items.items() if n not in POPULARITY}),
        BY_ACTIVITY: (slice_users, user_slices(train)),
        **_by_columns(study),
    }
    body, sheets = legend(study, groups), []
    for title, (measure, masks) in parts.items():
        if len(masks) > 1:
            found = {label: _estimates(study, runs, measure, masks, metric) for label, runs in groups.items()}
            body += heading(title) + _shown(study, title, metric, found)
            sheets.append(_sheet(title, metric, found))
    body += note(
        "Bars: 95 % interval of the mean over users and seeds, not corrected for their number; whether two models "
        "differ is a question for a paired test, not for whether bars overlap. Slices of items: all items are ranked, "
        "only hits of the slice count, over the users who have such items held out. Head and tail: the most and the "
        "least popular items with 20 % of the training interactions each; cold: none. By a column: what has several of "
        "its values is shown under the rarest of those named."
    )
    lead = "Where each model is good: for which items, and for which users."
    return Section("slices", "Slices", lead, body, tuple(sheets))


def estimate(values: NDArray[np.float64], size: int) -> Estimate:
    """Returns the mean over users with its interval, users and seeds both being samples.

    Args:
        values: A row per seed, a column per user ``(num_seeds, num_users)``.
        size: How many items or users are in the slice.
    """
    count = values.shape[1]
    mean = float(values.mean()) if count else math.nan
    low, high = interval(Scores(values, pd.RangeIndex(count)), CONFIDENCE)
    if math.isnan(low):
        return Estimate(mean, low, high, count, size)
    return Estimate(mean, max(0.0, low), min(1.0, high), count, size)  # a metric is within 0 and 1


def _by_columns(study: Study) -> dict[str, tuple[Any, Slices]]:
    """Returns what is measured on the slices of every column, by the title."""
    data, found = study.dataset, dict[str, tuple[Any, Slices]]()
    for title, measure, catalog in ((ITEMS_BY, slice_items, data.items), (USERS_BY, slice_users, data.people)):
        named = [Catalog(catalog.ids, catalog.frame[[name]]) for name in study.columns if name in catalog.columns]
        for one in named if study.columns else [catalog]:
            groups = categories(one)
            if groups is not None:
                masks = {label: groups.member == place for place, label in enumerate(groups.labels)}
                found[title.format(groups.name)] = measure, masks
            elif study.columns:
                (column,) = one.columns
                found[title.format(column)] = measure, column_slices(one, column)
    return found


def _estimates(
    study: Study, runs: tuple[RunFolder, ...], measure: Any, masks: Slices, metric: MetricAt
) -> dict[str, Estimate]:
    """Returns an estimate per slice, those without held-out interactions too."""
    data = study.dataset
    lists = [Lists.by_id(run.users("test").index, run.lists("test"), data.split.users) for run in runs]
    found = [measure(one, data.test, masks, (metric.name,), (metric.k,)) for one in lists]
    sizes = found[0].counts["size"]
    return {
        name: estimate(np.stack([one.of(name)[metric.label].to_numpy() for one in found]), int(sizes[name]))
        for name in masks
    }


def _shown(study: Study, title: str, metric: MetricAt, found: Mapping[str, Mapping[str, Estimate]]) -> Markup:
    about = next(iter(found.values()))
    shown = [name for name, value in about.items() if value.num_users]
    traces = [_points(study, label, [values[name] for name in shown], shown) for label, values in found.items()]
    layout = axes("", metric.label, scattermode="group", scattergap=0.35)
    users = [f"{name}<br>{about[name].num_users:,} user{'' if about[name].num_users == 1 else 's'}" for name in shown]
    layout["xaxis"] |= {"type": "category", "tickvals": shown, "ticktext": users}
    layout["yaxis"] |= {"rangemode": "tozero"}
    drawn = chart({"data": traces, "layout": layout}, label=f"{metric.label}: {title}, a point per model", height=340)
    rows = [
        (
            name,
            f"{about[name].size:,}",
            f"{about[name].num_users:,}",
            *(_cell(values[name]) for values in found.values()),
        )
        for name in about
    ]
    header = ("slice", "size", "test users", *found)
    return drawn + folded("The values as a table", table(header, rows, caption=f"{metric.label}, 95 % interval below"))


def _sheet(title: str, metric: MetricAt, found: Mapping[str, Mapping[str, Estimate]]) -> Sheet:
    about = next(iter(found.values()))
    rows = [
        (
            name,
            f"{about[name].size:,}",
            f"{about[name].num_users:,}",
            *(_text(values[name]) for values in found.values()),
        )
        for name in about
    ]
    frame = pd.DataFrame(
        [
            {"slice": name, "model": label, **one._asdict()}
            for label, values in found.items()
            for name, one in values.items()
        ]
    )
    caption = f"{metric.label}: {title}, with 95 % intervals"
    return Sheet(
        f"slices-{FILES.get(title) or slug(title)}", caption, ("slice", "size", "test users", *found), rows, frame
    )


def _text(value: Estimate) -> str:
    ends = "" if math.isnan(value.low) else f" [{number(value.low)}, {number(value.high)}]"
    return f"{number(value.mean)}{ends}"


def _points(study: Study, label: str, values: list[Estimate], names: list[str]) -> dict[str, Any]:
    look = study.look(label)
    mean = np.array([value.mean for value in values])
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label,
        "legendgroup": label,
        "offsetgroup": label,
        "x": names,
        "y": mean,
        "cliponaxis": False,  # a marker at 0 is a whole one
        "customdata": [[value.low, value.high] for value in values],
        "error_y": {
            "array": np.array([value.high for value in values]) - mean,
            "arrayminus": mean - np.array([value.low for value in values]),
            "color": look.colour,
            "thickness": 1.5,
            "width": 3,
        },
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 9},
        "hovertemplate": "%{x}: %{y:.4f} (%{customdata[0]:.4f} to %{customdata[1]:.4f})",
    }


def _cell(value: Estimate) -> Markup | str:
    if math.isnan(value.low):
        return number(value.mean)
    return Markup('{}<span class="interval">{} to {}</span>').format(
        number(value.mean), number(value.low), number(value.high)
    )
