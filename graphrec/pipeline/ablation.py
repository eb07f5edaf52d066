"""Ablation and sensitivity: one run's settings, changed one list of overrides or one grid point at a time.

Both become a benchmark, which runs, resumes and reports them. What an ablation decides belongs on validation:
``benchmark(ablation_config(…), folder, score_test=False)`` leaves the test set untouched.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from graphrec.config import ConfigError, apply_overrides, merge, unknown_name
from graphrec.pipeline.config import RunConfig, check_label

BASE = "base"
OPEN = ("model", "training", "graph", "features")
CLOSED = {
    "data": "all rows of an ablation are compared on the same data; write another config for other data",
    "evaluation": "all rows of an ablation are measured alike; change it in the config",
    "seed": "every row is run for the same seeds; name them with seeds",
    "label": "write 'label: key.path=value' instead",
}
_LABELLED = re.compile(r"([^=:]+):\s+(?=[\w.\-]+=)")
_NEXT = re.compile(r"\s+(?=[A-Za-z_][\w.\-]*=)")
_NO_FOLDER = re.compile(r'[/\\:*?"<>|]')


def ablation_config(
    config: Mapping[str, Any], switches: Sequence[str], seeds: Sequence[int] | None = None
) -> dict[str, Any]:
    """Returns the benchmark of a run's settings and of the same settings with each switch.

    >>> config = ablation_config({"model": "lightgcn"}, ["one layer: model.num_layers=1", "training.negatives=4"])
    >>> config["reference"], list(config["models"])
    ('base', ['base', 'one layer', 'training.negatives=4'])

    Args:
        config: The settings of one run, a mapping for ``RunConfig``; its seed and label are left out.
        switches: Overrides separated by spaces, ``"model.l2=0 model.alignment.weight=0"``, with a label in front if
            wanted: ``"no alignment: model.alignment.weight=0"``.
        seeds: The seeds of every row; those of a benchmark by default.

    Returns:
        A mapping for ``BenchmarkConfig``, whose reference is the row ``base``.

    Raises:
        ConfigError: If there is no switch, one is malformed, changes the data or the measures, changes nothing or
            the same as another, or its settings are wrong.
    """
    if not switches:
        raise ConfigError("expected at least one switch, such as 'no alignment: model.alignment.weight=0', got none")
    changes: dict[str, dict[str, Any]] = {BASE: {}}
    for switch in switches:
        label, overrides = _parts(switch)
        check_label(label, "the label of a switch")
        if label in changes:
            raise ConfigError(f"expected a different label for every switch, got {label!r} twice")
        changes[label] = apply_overrides({}, overrides)
    return _benchmark(config, changes, seeds) | {"reference": BASE}


def grid_config(config: Mapping[str, Any], axes: Sequence[str], seeds: Sequence[int] | None = None) -> dict[str, Any]:
    """Returns the benchmark of a run's settings at every point of a grid.

    >>> list(grid_config({"model": "mf"}, ["model.l2=0,0.1"])["models"])
    ['model.l2=0', 'model.l2=0.1']

    Args:
        config: The settings of one run, a mapping for ``RunConfig``; its seed and label are left out.
        axes: One or two, such as ``"model.num_layers=1,2,3"``.
        seeds: The seeds of every point; those of a benchmark by default.

    Returns:
        A mapping for ``BenchmarkConfig``, without a reference.

    Raises:
        ConfigError: If an axis is malformed, changes the data or the measures, or has the same value twice; or the
            settings of a point are wrong.
    """
    if not 1 <= len(axes) <= 2:
        raise ConfigError(f"expected one or two axes, such as 'model.num_layers=1,2,3', got {len(axes)}")
    named = [_axis(axis) for axis in axes]
    if len({path for path, _ in named}) < len(named):
        raise ConfigError(f"expected two different settings as axes, got {named[0][0]!r} twice")
    changes = {}
    for values in itertools.product(*(values for _, values in named)):
        point = [(path, value) for (path, _), value in zip(named, values, strict=True)]
        label = _folder_name(" ".join(f"{path}={value}" for path, value in point))
        changes[label] = (
            merge(*(_nested(path, value) for path, value in point)) if len(point) > 1 else _nested(*point[0])
        )
    return _benchmark(config, changes, seeds)


def axis_paths(axes: Sequence[str]) -> tuple[str, ...]:
    """Returns the dotted paths of the axes of a grid.

    >>> axis_paths(["model.num_layers=1,2,3", "training.learning_rate=1e-3,3e-3"])
    ('model.num_layers', 'training.learning_rate')

    Raises:
        ConfigError: If an axis is malformed.
    """
    return tuple(_axis(axis)[0] for axis in axes)


def _benchmark(
    config: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]], seeds: Sequence[int] | None
) -> dict[str, Any]:
    base = {key: value for key, value in config.items() if key not in ("seed", "label")}
    if isinstance(base.get("model"), str):
        base["model"] = {"name": base["model"]}
    RunConfig.parse(base)
    _check_different(base, changes)
    shared = {key: value for key, value in base.items() if key != "model"}
    entries = {label: _entry(base, change) for label, change in changes.items()}
    return shared | ({} if seeds is None else {"seeds": list(seeds)}) | {"models": entries}


def _entry(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a row of a benchmark says of a change: its model, and what differs elsewhere."""
    elsewhere = {key: value for key, value in change.items() if key != "model"}
    return {"model": merge(base["model"], change.get("model", {}))} | elsewhere


def _check_different(base: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that the settings of every row are right, and others than those of every other row."""
    seen: dict[str, str] = {}
    for label, change in changes.items():
        for section, value in change.items():
            _check_section(section, value, label)
        same = seen.setdefault(RunConfig.parse(merge(base, change), where=label).fingerprint(), label)
        if same != label:
            what = "changes nothing" if same == BASE else f"is the same as {same!r}"
            raise ConfigError(f"{label!r} {what}: expected settings that differ from every other row")


def _check_section(section: str, value: Any, label: str) -> None:
    if section in CLOSED:
        raise ConfigError(f"{label!r} changes {section!r}, but {CLOSED[section]}")
    if section not in OPEN:
        raise ConfigError(f"{label!r}: {unknown_name(section, OPEN, kind='section')}")
    if not isinstance(value, Mapping):
        raise ConfigError(f"{label!r}: expected a setting in {section!r}, as in '{section}.name=…', got {value!r}")


def _parts(switch: str) -> tuple[str, list[str]]:
    """Returns the label and the overrides of a switch; without a label, its text is one."""
    found = _LABELLED.match(switch.strip())
    text = switch.strip()[found.end() :] if found else switch.strip()
    if "=" not in text:
        raise ConfigError(f"expected a switch like 'no alignment: model.alignment.weight=0', got {switch!r}")
    return found[1].strip() if found else _folder_name(text), _NEXT.split(text)


def _folder_name(text: str) -> str:
    return _NO_FOLDER.sub("-", text)


def _axis(text: str) -> tuple[str, list[Any]]:
    path, separator, listed = text.strip().partition("=")
    try:
        values = yaml.safe_load(f"[{listed}]") if separator and path else None
    except yaml.YAMLError:
        values = None
    if values and len({repr(value) for value in values}) < len(values):
        raise ConfigError(f"expected different values on an axis, got {text!r}")
    if not values:
        raise ConfigError(f"expected an axis like 'model.num_layers=1,2,3', got {text!r}")
    return path, values


def _nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)
