"""A benchmark file in full: several data sets, and every model tuned under the same budget before it is run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphrec.config import ConfigError, load_yaml, merge, unknown_name
from graphrec.data.dataset import Dataset
from graphrec.pipeline.benchmark import BenchmarkResult, Failure, attempt, failures_of, keep_failures
from graphrec.pipeline.cells import SharedWork, reason
from graphrec.pipeline.config import BenchmarkConfig, RunConfig, check_label
from graphrec.pipeline.prepare import load_data
from graphrec.pipeline.sifting import sift, with_text_labels
from graphrec.runs import STUDY
from graphrec.runtime import logger
from graphrec.tuning.config import TuningConfig
from graphrec.tuning.space import search_space
from graphrec.tuning.tuner import tune

log = logger(__name__)
SHARED = ("data", "features", "graph", "evaluation")
Search = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """The benchmark of one data set, before its models are tuned.

    Args:
        name: What the file calls it; empty for a file of one data set.
        values: The settings of a ``BenchmarkConfig``, only those that were given.
        search: The ranges to be tuned, by label and dotted path.
        tuning: The budget of each model; None where settings are taken as they are.
        as_given: The labels of models that are not tuned.
        wrong: What is wrong with the rows that were left out of ``values``, by label.
    """

    name: str
    values: Mapping[str, Any]
    search: Mapping[str, Search] = field(default_factory=dict)
    tuning: TuningConfig | None = None
    as_given: frozenset[str] = frozenset()
    wrong: Mapping[str, ConfigError] = field(default_factory=dict)

    @property
    def config(self) -> BenchmarkConfig:
        """The benchmark with the settings as they were given."""
        return BenchmarkConfig.parse(self.values)

    def run_settings(self, label: str) -> dict[str, Any]:
        """Returns the settings of a model for the first seed, only those that were given: the others are open."""
        entry = self.values["models"][label]
        values = {name: self.values[name] for name in SHARED if name in self.values}
        for name in ("training", "graph", "features"):
            values[name] = merge(self.values.get(name, {}), entry.get(name, {}))
        return {**values, "label": label, "seed": self.config.seeds[0], "model": entry["model"]}


def run_suite(
    config: Mapping[str, Any] | str | Path,
    folder: str | Path,
    *,
    jobs: int = 1,
    data: Dataset | None = None,
    where: str | None = None,
    after: Callable[[str, BenchmarkResult], None] | None = None,
) -> dict[str, BenchmarkResult]:
    """Tunes the models of a benchmark where it gives a budget, then runs what is missing, data set by data set.

    Beside the keys of a ``BenchmarkConfig`` a file may have

    * ``datasets``: by name what is different for a data set, laid over the rest; a model set to null is left out;
    * ``tuning``: a ``TuningConfig``, the budget of every model that has something to tune, in trials; they never see
      the test split, and studies are taken up where they stopped;
    * ``search`` in the entry of a model: ranges by dotted path, see ``search_space``; false for a model whose settings
      are taken as they are.

    Runs lie in ``<folder>/<data set>/<label>/seed-<seed>``, studies in ``…/<label>/tuning``, and the settings that
    were found, as a benchmark file of their own, in ``<folder>/<data set>/benchmark.yaml``. A model or a data set whose
    own settings are wrong, which is found before anything is run, and a model that could not be tuned are among the
    failures, also in ``<folder>/<data set>/failures.json``; the others are run.

    Args:
        config: A mapping, or the path of a YAML file.
        folder: Where everything is written.
        jobs: Trials or cells at once, each in a process of its own.
        data: A data set to use in place of the named one, where there is a single one.
        where: How the settings are called in error messages; the name of the file by default.
        after: Called with the name and the result of every data set once it is done.

    Returns:
        Runs and failures by the name of the data set.

    Raises:
        ConfigError: If a setting that all share is unknown or wrong, or nothing in the file is right.
        ValueError: If the only data set is not what was expected.
        FileNotFoundError: If it is missing.
    """
    values = load_yaml(Path(config)) if isinstance(config, str | Path) else config
    default = Path(config).name if isinstance(config, str | Path) else "benchmark"
    parts = _sift_suite(values, where or default)
    if data is not None and len(parts) > 1:
        raise ConfigError(f"expected one data set in the benchmark where data is given, got {[*parts]}")
    for (name, label), fault in _faults(parts).items():
        log.error("%s cannot be run: %s", label or name, fault)
    found: dict[str, BenchmarkResult] = {}
    for name, part in parts.items():
        root = Path(folder) / name
        try:
            found[name], error = _run_part(_sound(part), root, jobs, data)
        except Exception as caught:
            found[name], error = BenchmarkResult([], failures_of({"every model": caught})), caught
        keep_failures(root, found[name], may_be_new=len(parts) > 1)
        if error is not None and len(parts) == 1:
            raise error
        if error is not None and error is not part:  # which was said at the start
            log.error("%s failed: %s", name, reason(error))
        if after is not None:
            after(name, found[name])
    return found


def only_datasets(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Returns a benchmark file with some of its data sets alone.

    >>> only_datasets({"datasets": {"a": {}, "b": {}}, "seeds": [0]}, ["b"])
    {'datasets': {'b': {}}, 'seeds': [0]}

    Raises:
        ConfigError: If it has no data set of that name.
    """
    known = values.get("datasets") or {}
    if not isinstance(known, Mapping):
        raise ConfigError(f"datasets: expected what is different by data set, got {known!r}")
    for name in names:
        if name not in map(str, known):
            raise ConfigError(unknown_name(name, map(str, known), kind="data set"))
    return {**values, "datasets": {name: known[name] for name in known if str(name) in names}}


def read_suite(values: Mapping[str, Any], *, where: str = "benchmark") -> dict[str, Part]:
    """Returns the benchmark of every data set that a file names, checked in full.

    Raises:
        ConfigError: If a setting is unknown or wrong; names its dotted path.
    """
    parts = _sift_suite(values, where)
    for fault in _faults(parts).values():
        raise fault
    return {name: _sound(part) for name, part in parts.items()}


def faults_of(values: Mapping[str, Any], *, where: str = "benchmark") -> dict[tuple[str, str], ConfigError]:
    """Returns what is wrong with single rows of a benchmark file, by data set and label, and with data sets, by name.

    >>> faults_of({"models": {"a": {"model": {"name": "mf"}}, "b": {"model": {"name": "lightgnc"}}}}).keys()
    dict_keys([('', 'b')])

    Raises:
        ConfigError: If a setting that all share is wrong, or nothing is right.
    """
    return _faults(_sift_suite(values, where))


def _faults(parts: Mapping[str, Part | ConfigError]) -> dict[tuple[str, str], ConfigError]:
    found: dict[tuple[str, str], ConfigError] = {}
    for name, part in parts.items():
        rows = part.wrong if isinstance(part, Part) else {"": part}
        found |= {(name, label): fault for label, fault in rows.items()}
    return found


def _sift_suite(values: Mapping[str, Any], where: str) -> dict[str, Part | ConfigError]:
    """Returns what can be run of every data set, or what is wrong with it.

    Raises:
        ConfigError: If not one of them is right.
    """
    shared = with_text_labels(values, where=where)
    named = shared.pop("datasets", None)
    if named is None:
        return {"": _read_part("", shared, where)}
    if not isinstance(named, Mapping) or not named or "data" in shared:
        raise ConfigError(f"{where}.datasets: expected what is different by data set, and no 'data' beside it")
    parts: dict[str, Part | ConfigError] = {}
    for label, changes in named.items():
        place = f"{where}.datasets.{label}"
        check_label(label, f"{where}.datasets")
        try:
            parts[label] = _read_part(label, _laid_over(shared, label, changes, place), place)
        except ConfigError as error:
            parts[label] = error
    if not any(isinstance(part, Part) for part in parts.values()):
        _sound(next(iter(parts.values())))
    return parts


def _sound(part: Part | ConfigError) -> Part:
    if isinstance(part, ConfigError):
        raise part
    return part


def _laid_over(shared: Mapping[str, Any], name: str, changes: Any, where: str) -> dict[str, Any]:
    """Returns the settings of a data set: what is different for it, laid over what all share."""
    if not _is_mapping(changes) or not _is_mapping(changes.get("data")) or "name" not in changes["data"]:
        raise ConfigError(f"{where}: expected what it is, as in {{data: {{name: {name}}}}}, got {changes!r}")
    for section, key in (("models", "model"), ("fusions", "first")):
        known, entries = shared.get(section), changes.get(section)
        if not isinstance(known, Mapping) or not isinstance(entries, Mapping):
            continue
        for label, entry in entries.items():
            if label not in known and not (_is_mapping(entry) and key in entry):
                raise ConfigError(f"{where}.{section}: {unknown_name(label, known, kind='label')}")
    return merge(shared, changes)


def _read_part(name: str, values: Mapping[str, Any], where: str) -> Part:
    given = dict(values)
    budget = given.pop("tuning", None)
    models = given.get("models")
    given_models = models if isinstance(models, Mapping) else {}
    entries = {label: entry for label, entry in given_models.items() if entry is not None or not name}
    if given_models:
        given["models"] = {label: _without_search(entry) for label, entry in entries.items()}
    asked = {label: entry["search"] for label, entry in entries.items() if _is_mapping(entry) and "search" in entry}
    search, as_given = {k: v for k, v in asked.items() if v is not False}, {k for k, v in asked.items() if v is False}
    tuning = None if budget is None else TuningConfig.parse(budget, where=f"{where}.tuning")
    if tuning is not None and tuning.timeout is not None:
        raise ConfigError(f"{where}.tuning.timeout: expected none, since every model gets the same number of trials")
    if search and tuning is None:
        raise ConfigError(f"{where}: expected a budget such as tuning: {{trials: 20}} where models have a search")

    def check(label: str, alone: Mapping[str, Any]) -> None:
        if label not in search:
            return
        ranges, place = search[label], f"{where}.models.{label}.search"
        if not _is_mapping(ranges):
            raise ConfigError(f"{place}: expected ranges by dotted path, got {ranges!r}")
        search_space(Part(name, alone).run_settings(label), ranges, where=place)

    sifted, wrong = sift(given, where=where, check=check)
    return Part(name, sifted, search, tuning, frozenset(as_given), wrong)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _without_search(entry: Any) -> Any:
    return {key: value for key, value in entry.items() if key != "search"} if isinstance(entry, Mapping) else entry


def _run_part(part: Part, root: Path, jobs: int, data: Dataset | None) -> tuple[BenchmarkResult, Exception | None]:
    """Returns what was run, and the first error where nothing could be."""
    wrong = failures_of(part.wrong)
    shared = SharedWork(load_data(part.config.data, data))
    if part.tuning is None:
        return attempt(part.config, root, shared, jobs=jobs, failures=wrong)
    models, errors = {}, {}
    for label, entry in part.values["models"].items():
        try:
            models[label] = entry | _tuned(part, label, part.tuning, shared, root, jobs)
        except Exception as error:  # whatever is wrong with one model, the others are tuned
            log.error("%s could not be tuned: %s", label, reason(error))
            errors[label] = error
    failures = [Failure(label, None, f"could not be tuned: {reason(error)}") for label, error in errors.items()]
    if not models:
        return BenchmarkResult([], [*wrong, *failures]), next(iter(errors.values()))
    for label, missing in _lost_fusions(part, models).items():
        text = f"{', '.join(missing)} could not be tuned; mend it, or leave it out"
        failures.append(Failure(label, None, text))
    return attempt(_with_models(part, models), root, shared, jobs=jobs, failures=[*wrong, *failures])


def _lost_fusions(part: Part, models: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the fusions whose parts cannot be chosen among all that were named, and what is missing."""
    fusions = part.config.fusions.items()
    missing = {label: [one for one in (*entry.first, *entry.second) if one not in models] for label, entry in fusions}
    return {label: names for label, names in missing.items() if names}


def _tuned(part: Part, label: str, tuning: TuningConfig, shared: SharedWork, root: Path, jobs: int) -> dict[str, Any]:
    """Returns the settings that the study of a model found, for its entry; nothing where there is nothing to tune."""
    settings, search = part.run_settings(label), part.search.get(label, {})
    if label in part.as_given or not search_space(settings, search):
        log.info("%s has nothing to tune", label)
        return {}
    prepared = shared.of(RunConfig.parse(settings))
    study = tune(settings, root / label / STUDY, tuning=tuning, search=search, jobs=jobs, prepared=prepared)
    best = {name: study.best[name] for name in ("model", "training", "graph", "features")}
    if "seed" not in part.values["models"][label]["model"]:
        best["model"] = {key: value for key, value in best["model"].items() if key != "seed"}  # each run has its own
    return best


def _with_models(part: Part, models: Mapping[str, Any]) -> BenchmarkConfig:
    """Returns the benchmark with tuned models, without those that could not be tuned and what is made of them."""
    lost = _lost_fusions(part, models)
    fusions = {label: entry for label, entry in part.values.get("fusions", {}).items() if label not in lost}
    values = {**part.values, "models": models, "fusions": fusions}
    if values.get("reference") not in {*models, *fusions}:
        values.pop("reference", None)
    return BenchmarkConfig.parse(values)
