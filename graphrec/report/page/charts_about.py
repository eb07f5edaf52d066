"""What the runs were made with: settings, data and environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from graphrec.config import dump_yaml
from graphrec.report.page.section import Section, folded, heading, note, table
from graphrec.report.page.study import Study
from graphrec.runs import RunFolder
from graphrec.runs.files import read_json
from graphrec.runs.graph import TYPES

OWN = ("label", "seed")  # settings that tell the runs of a study apart by design
UNSET = "–"
NAMES = {
    "num_users": "users",
    "num_items": "items",
    "num_interactions": "interactions",
    "gini_item_degree": "Gini of item degree",
}


def configs(study: Study) -> Section | None:
    """Shows the settings in which the models differ, then every config whole, with a button that copies it."""
    found = {label: runs[0].config() for label, runs in study.groups.items()}
    models = {label: values for label, values in found.items() if "model" in values}  # a fusion has other settings
    different = _different(models)
    shared = {key: values for key, values in different.items() if len(values) > 1}
    body = Markup("")
    if shared:
        rows = [(key, *(_short(values.get(label, UNSET)) for label in models)) for key, values in shared.items()]
        body += table(("setting", *models), rows, caption="Settings that are not the same in all models", numbers=False)
    own = [
        (key, label, _short(text))
        for key, values in different.items()
        if len(values) == 1
        for label, text in values.items()
    ]
    if own and len(models) > 1:
        body += folded(
            "Settings of one model alone",
            table(("setting", "model", "value"), own, caption="Settings that only one model has", numbers=False),
        )
    body += heading("Every config")
    for label, runs in study.groups.items():
        seeds = ", ".join(str(run.metrics()["seed"]) for run in runs)
        body += folded(f"{label} (seed {seeds})", _code(dump_yaml(found[label])) + _resolved(runs))
    lead = "What differs between the models first, then every setting, defaults included."
    return Section("configs", "Settings", lead, body + _fingerprints(study))


def data(study: Study) -> Section | None:
    """Shows the statistics and notes of the data set and the node types of the graph."""
    about = study.first.data()
    rows = [(NAMES.get(name, name.replace("_", " ")), _amount(value)) for name, value in about["statistics"].items()]
    body = table(("statistic", "value"), rows, caption=f"{study.name}, all parts together unless named")
    body += _graph(study.first)
    body += Markup("").join(note(text) for text in about.get("notes", ()))
    body += note(f"Fingerprint of the interactions: {about['fingerprint']}; of data and split: {study.identity}.")
    return Section("data", "Data", "What the models were trained and tested on.", body)


def environments(study: Study) -> Section | None:
    """Shows versions and machine; a column for every environment where the runs had several."""
    found: dict[str, dict[str, Any]] = {}
    users: dict[str, list[str]] = {}
    for run in study.runs:
        environment = run.environment()
        key = json.dumps(environment, sort_keys=True)
        found[key] = environment
        users.setdefault(key, []).append(str(run.metrics()["label"]))
    names = dict.fromkeys(name for environment in found.values() for name in environment)
    several = len(found) > 1
    header = ("what", *(", ".join(dict.fromkeys(labels)) if several else "all runs" for labels in users.values()))
    rows = [(name, *(_text(one.get(name, UNSET)) for one in found.values())) for name in names]
    body = table(header, rows, caption="Versions and machine", numbers=False)
    lead = "The runs were made in different environments." if several else "All runs were made in the same environment."
    return Section("environment", "Environment", lead, body)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns the settings by dotted path, as text.

    >>> flatten({"model": {"name": "mf", "l2": 0.01}})
    {'model.name': 'mf', 'model.l2': '0.01'}
    """
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _text(value)
    return flat


def _short(text: str) -> str:
    """Returns a number with four digits; the config below has all of them."""
    try:
        value = float(text)
    except ValueError:
        return text
    return text if len(text) <= 7 else f"{value:.4g}"


def _different(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    flat = {label: flatten(values) for label, values in found.items()}
    keys = dict.fromkeys(key for values in flat.values() for key in values if key.rpartition(".")[2] not in OWN)
    by_key = {key: {label: values[key] for label, values in flat.items() if key in values} for key in keys}
    return {key: values for key, values in by_key.items() if len(values) < len(found) or len(set(values.values())) > 1}


def _resolved(runs: Sequence[RunFolder]) -> Markup:
    """Shows what the model made of the options that were left open; older runs have not kept it."""
    options = [flatten(run.metrics().get("resolved") or {}) for run in runs]
    names = dict.fromkeys(name for each in options for name in each)
    values = {name: dict.fromkeys(each.get(name, UNSET) for each in options) for name in names}
    rows = [(f"model.{name}", "; ".join(found)) for name, found in values.items()]
    caption = (
        "Options that look at the data where they are not given, as they came out, where seeds differ in their order"
    )
    return table(("setting", "value"), rows, caption=caption, numbers=False) if rows else Markup("")


def _fingerprints(study: Study) -> Markup:
    runs = [run for run in study.runs if run.metrics().get("config")]
    rows = [
        (run.metrics()["label"], str(run.metrics()["seed"]), run.metrics()["config"], _place(study, run))
        for run in runs
    ]
    header = ("model", "seed", "fingerprint of the config", "folder")
    return folded("Run folders", table(header, rows, caption="Every run", numbers=False)) if rows else Markup("")


def _place(study: Study, run: RunFolder) -> str:
    root = study.folder.resolve()
    return str(run.path.relative_to(root)) if run.path.is_relative_to(root) else str(run.path)


def _graph(run: RunFolder) -> Markup:
    if not (run.path / TYPES).is_file():
        return Markup("")
    types = read_json(run.path / TYPES)
    nodes = table(
        ("node type", "nodes"), [(n, f"{c:,}") for n, c in types["nodes"].items()], caption="Nodes of the graph"
    )
    edges = [" → ".join(edge) for edge in types["edges"]]
    return nodes + note(f"Edge types (each with its reverse): {'; '.join(edges)}.")


def _code(text: str) -> Markup:
    return Markup(
        '<div class="code"><button type="button" data-copy>Copy</button><pre tabindex="0">{}</pre></div>'
    ).format(text)


def _amount(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
