"""What can be run of a benchmark file: a row whose own settings are wrong is set aside, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from graphrec.config import ConfigError
from graphrec.pipeline.config import BenchmarkConfig, FusionEntry

OWN = ("models", "fusions", "reference")
Check = Callable[[str, Mapping[str, Any]], object]


def sift(
    values: Mapping[str, Any],
    *,
    where: str = "benchmark",
    check: Check | None = None,
) -> tuple[dict[str, Any], dict[str, ConfigError]]:
    """Returns a benchmark without the rows whose own settings are wrong, and what is wrong with each of those.

    A fusion goes with the models it is chosen among, and the reference goes where it is such a row.

    >>> values, wrong = sift({"models": {"a": {"model": {"name": "mf"}}, "b": {"model": {"name": "lightgnc"}}}})
    >>> list(values["models"]), list(wrong)
    (['a'], ['b'])

    Args:
        values: The settings of a ``BenchmarkConfig``.
        where: How they are called in error messages.
        check: What else a model has to pass; called with its label and a benchmark of that model alone.

    Raises:
        ConfigError: If what the rows share is wrong, or no model is left; the first error then.
    """
    values = with_text_labels(values, where=where)
    models, fusions = values.get("models"), values.get("fusions") or {}
    if not isinstance(models, Mapping) or not models or not isinstance(fusions, Mapping):
        BenchmarkConfig.parse(values, where=where)
        raise ConfigError(f"{where}: expected models, got {models!r}")
    shared = {name: value for name, value in values.items() if name not in OWN}
    faults = {
        label: _fault_of_model(label, {**shared, "models": {label: models[label]}}, where, check) for label in models
    }
    wrong = {label: fault for label, fault in faults.items() if fault is not None}
    sound = {label: entry for label, entry in models.items() if label not in wrong}
    if not sound:
        raise next(iter(wrong.values()))
    lost = [*wrong]
    for label, entry in fusions.items():
        fault = wrong.get(label) or _fault_of_fusion(
            label, {**shared, "models": sound, "fusions": {label: entry}}, where, lost
        )
        if fault is not None:
            wrong[label] = fault
    sifted = {**values, "models": sound, "fusions": {label: fusions[label] for label in fusions if label not in wrong}}
    reference = sifted.get("reference")
    if isinstance(reference, str) and reference in wrong and reference not in sound:
        del sifted["reference"]
    BenchmarkConfig.parse(sifted, where=where)
    return sifted, wrong


def with_text_labels(values: Mapping[str, Any], *, where: str = "benchmark") -> dict[str, Any]:
    """Returns a benchmark file whose labels and names of data sets are texts, also where they look like numbers.

    >>> with_text_labels({"models": {1: {"model": {"name": "mf"}}}, "reference": 1})
    {'models': {'1': {'model': {'name': 'mf'}}}, 'reference': '1'}

    Raises:
        ConfigError: If two of them are the same text.
    """
    found = dict(values)
    for section in ("models", "fusions", "datasets"):
        entries = found.get(section)
        if isinstance(entries, Mapping):
            found[section] = {str(label): entry for label, entry in entries.items()}
            if len(found[section]) < len(entries):
                raise ConfigError(f"{where}.{section}: expected different labels, got {[*entries]}")
    for section, convert in (("fusions", _with_text_parts), ("datasets", with_text_labels)):
        if isinstance(found.get(section), Mapping):
            parts = found[section].items()
            found[section] = {label: convert(part) if isinstance(part, Mapping) else part for label, part in parts}
    if isinstance(found.get("reference"), int | float):
        found["reference"] = str(found["reference"])
    return found


def _with_text_parts(fusion: Mapping[str, Any]) -> dict[str, Any]:
    lists = {name: fusion.get(name) for name in ("first", "second")}
    return {**fusion, **{name: [*map(str, parts)] for name, parts in lists.items() if isinstance(parts, list | tuple)}}


def _fault_of_model(label: str, alone: Mapping[str, Any], where: str, check: Check | None) -> ConfigError | None:
    try:
        BenchmarkConfig.parse(alone, where=where)
        if check is not None:
            check(label, alone)
    except ConfigError as error:
        return error
    return None


def _fault_of_fusion(label: str, alone: Mapping[str, Any], where: str, lost: Collection[str]) -> ConfigError | None:
    entry, place = alone["fusions"][label], f"{where}.fusions.{label}"
    try:
        if isinstance(entry, Mapping):
            fusion = FusionEntry.parse(entry, where=place)
            missing = [part for part in (*fusion.first, *fusion.second) if part in lost]
            if missing:
                return ConfigError(f"{place}: {', '.join(missing)} cannot be run; mend it, or leave it out")
        BenchmarkConfig.parse(alone, where=where)
    except ConfigError as error:
        return error
    return None
