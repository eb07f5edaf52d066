"""What a study tunes and on which data: settled before its first trial, and the same for all of its processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from graphrec.config import ConfigError, load_yaml, merge
from graphrec.data.dataset import Dataset
from graphrec.evaluation.metrics import MetricAt
from graphrec.models import get_model
from graphrec.pipeline.config import RunConfig
from graphrec.pipeline.prepare import Prepared, check, identity, load_data, prepare
from graphrec.tuning.config import Objective, TuningConfig
from graphrec.tuning.space import Entry, Parameter, search_space, value_at, with_values

Settings = RunConfig | Mapping[str, Any] | str | Path
SEARCH, TUNING = "search", "tuning"
KEPT = 4  # graphs kept at once where the graph is tuned


@dataclass(eq=False)
class Plan:
    """A study before it starts.

    Args:
        settings: Every setting; those that are tuned with the values they have without tuning.
        space: What is tuned, by dotted path.
        objectives: What is looked for.
        tuning: Budget and rules.
        prepared: Data and graph, without the test split.
    """

    settings: RunConfig
    space: dict[str, Parameter]
    objectives: tuple[Objective, ...]
    tuning: TuningConfig
    prepared: Prepared
    _graphs: dict[str, Prepared] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The names of the objectives."""
        return [objective.label for objective in self.objectives]

    @property
    def prunes(self) -> bool:
        """Whether trials may be ended early."""
        return len(self.objectives) == 1 and self.tuning.pruner != "none"

    def start(self) -> dict[str, Any]:
        """Returns the values of the config as it is, as Optuna keeps them, where they lie in their ranges."""
        values = self.settings.to_mapping()
        return {
            path: parameter.encode(found)
            for path, parameter in self.space.items()
            for found in value_at(values, path)
            if parameter.search.holds(found)
        }

    def config(self, params: Mapping[str, Any]) -> RunConfig:
        """Returns the settings of a trial, complete.

        Args:
            params: The values of the tuned settings, as Optuna keeps them.

        Raises:
            ConfigError: If they do not go together.
        """
        return RunConfig.parse(with_params(self.settings.to_mapping(), self.space, params))

    def prepared_for(self, config: RunConfig) -> Prepared:
        """Returns data and graph for the settings of a trial; what was made lately is used again."""
        if (config.features, config.graph) == (self.settings.features, self.settings.graph):
            return self.prepared
        key = json.dumps([config.features.model_dump(mode="json"), config.graph.model_dump(mode="json")])
        if key not in self._graphs:
            if len(self._graphs) >= KEPT:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[key] = prepare(self.prepared.data, config.features, config.graph)
        return self._graphs[key]

    def about(self) -> dict[str, Any]:
        """Returns what two sittings of one study must agree on, by name."""
        values = self.settings.to_mapping()
        for name in ("label", "data", "evaluation"):
            del values[name]
        del values["features"]["encoding"]
        model = get_model(self.settings.model.name)
        rules = self.tuning.model_dump(exclude={"trials", "timeout", "objectives", "retries"})
        about: dict[str, Any] = {"data": self.prepared.identity, "objectives": self.labels}
        about |= {f"search.{path}": parameter.describe() for path, parameter in self.space.items()}
        about |= {f"config.{path}": value for path, value in _leaves(values).items() if path not in self.space}
        about |= {f"tuning.{name}": value for name, value in rules.items()} | {"results": model.results_version}
        return dict(json.loads(json.dumps(about)))

    def completed(self, about: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what an earlier sitting noted, with the defaults of settings that its version did not have.

        Args:
            about: What its ``about`` was.
            settings: Every setting that it knew.
        """
        try:
            now = replace(self, settings=RunConfig.parse(settings)).about()
        except ConfigError:  # settings that there are no more
            return dict(about)
        return {name: value for name, value in now.items() if name.startswith("config.")} | dict(about)


def make_plan(
    config: Settings,
    *,
    tuning: TuningConfig | Mapping[str, Any] | None = None,
    search: Mapping[str, Entry] | None = None,
    data: Dataset | None = None,
    prepared: Prepared | None = None,
) -> Plan:
    """Settles what a study tunes; loads the data and takes the test split away before anything else is done.

    Raises:
        ConfigError: If a setting is wrong or there is nothing to tune.
        ValueError: If the data is not what was expected, or has no validation interactions.
        FileNotFoundError: If the data is missing.
    """
    values, ranges, rules = read_settings(config, tuning=tuning, search=search)
    settings = RunConfig.parse(values)
    space = search_space(values, ranges)
    if not space:
        raise ConfigError(
            f"expected something to tune, but {settings.model.name!r} leaves no declared range open; name one under "
            "'search', for example {model.num_layers: [1, 2, 3]}, or leave out settings that shall be tuned"
        )
    objectives = _objectives(rules, settings)
    shared = _without_test(settings, data, prepared)
    if not len(shared.data.split.valid):
        raise ValueError(
            f"expected validation interactions in {shared.data.name!r} to tune on, got none; split it anew"
        )
    check(as_trial(settings, objectives), shared.data)
    return Plan(settings, space, objectives, rules, shared)


def read_settings(
    config: Settings,
    *,
    tuning: TuningConfig | Mapping[str, Any] | None = None,
    search: Mapping[str, Entry] | None = None,
) -> tuple[dict[str, Any], dict[str, Entry], TuningConfig]:
    """Returns the settings of a run as they are given, the search ranges and the rules.

    Args:
        config: A mapping or the path of a YAML file, which may have the sections ``search`` and ``tuning``; in a
            ``RunConfig`` everything is set, so that only ``search`` is tuned.
        tuning: Rules that take the place of those of the file, or a mapping that is laid over them.
        search: Ranges that are laid over those of the file.

    Raises:
        ConfigError: If a section is no mapping, or a rule is wrong.
        FileNotFoundError: If there is no such file.
    """
    if isinstance(config, RunConfig):
        values = config.to_mapping()
    else:
        values = load_yaml(Path(config)) if isinstance(config, str | Path) else dict(config)
    ranges, rules = (_section(values.pop(name, None), name) for name in (SEARCH, TUNING))
    if isinstance(tuning, TuningConfig):
        return values, {**ranges, **(search or {})}, tuning
    return values, {**ranges, **(search or {})}, TuningConfig.parse(merge(rules, tuning or {}), where=TUNING)


def with_params(
    settings: Mapping[str, Any], space: Mapping[str, Parameter], params: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the settings with the tuned values in them."""
    return with_values(settings, {path: space[path].decode(value) for path, value in params.items()})


def as_trial(settings: RunConfig, objectives: tuple[Objective, ...]) -> RunConfig:
    """Returns settings that measure every objective, and do not train once more on train and valid together."""
    chosen = MetricAt.parse(settings.training.metric)
    names = [chosen.name, *(found.metric for found in objectives if found.metric)]
    ks = [chosen.k, *(found.k for found in objectives if found.k)]
    evaluation = settings.evaluation.model_copy(
        update={
            "metrics": tuple(dict.fromkeys([*settings.evaluation.metrics, *names])),
            "ks": tuple(dict.fromkeys([*settings.evaluation.ks, *ks])),
        }
    )
    training = settings.training.model_copy(update={"refit": False})
    return settings.model_copy(update={"evaluation": evaluation, "training": training})


def _section(values: Any, name: str) -> dict[str, Any]:
    if values is not None and not isinstance(values, Mapping):
        raise ConfigError(f"{name}: expected a mapping, got {values!r}")
    return dict(values or {})


def _objectives(rules: TuningConfig, settings: RunConfig) -> tuple[Objective, ...]:
    chosen = MetricAt.parse(settings.training.metric).label
    objectives = tuple(Objective.parse(name) for name in rules.objectives or (chosen,))
    if len(objectives) == 1 and not settings.model.is_closed_form and objectives[0].label != chosen:
        raise ConfigError(
            f"tuning.objectives: expected {chosen!r}, by which training chooses its epoch, got "
            f"{objectives[0].label!r}; set training.metric to it, or look for both"
        )
    return objectives


def _without_test(settings: RunConfig, data: Dataset | None, prepared: Prepared | None) -> Prepared:
    if prepared is None:
        return prepare(load_data(settings.data, data).without_test(), settings.features, settings.graph)
    hidden, trained = prepared.data.without_test(), prepared.trained.without_test()
    if prepared.config != settings.graph:
        return prepare(hidden, settings.features, settings.graph)
    known = identity(hidden, {**prepared.tables, **prepared.people})
    return replace(prepared, data=hidden, trained=trained, identity=known, _written={})


def _leaves(values: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the values of nested mappings by dotted path."""
    if not isinstance(values, Mapping) or (prefix and not values):
        return {prefix.removesuffix("."): values}
    return {path: leaf for key, value in values.items() for path, leaf in _leaves(value, f"{prefix}{key}.").items()}
