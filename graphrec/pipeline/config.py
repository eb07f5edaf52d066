"""The root configurations: one run, and a benchmark of several models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SerializeAsAny, field_validator

from graphrec.config import Config, ConfigError, merge, unknown_name
from graphrec.data.splits import SplitConfig
from graphrec.evaluation.metrics import METRICS, MetricAt
from graphrec.features.tables import FeatureConfig
from graphrec.graph.build import GraphConfig
from graphrec.models import MODELS, get_model
from graphrec.models.base import ClosedForm, ModelConfig, Recommender
from graphrec.training.trainer import TrainingConfig

REFIT = "once it has learnt the validation set, no weight can be chosen on it; leave one of them out"
Cutoff = Annotated[int, Field(ge=1)]


class DataConfig(Config):
    """Which data set, and how it is read."""

    name: str = "synthetic"
    """A name with a card, ``synthetic:20000``, a folder, or a table; see ``graphrec.load_dataset``."""
    root: Path | None = None
    """The folder of the named data sets; GRAPHREC_DATA, else ``./data``, by default."""
    features: tuple[str, ...] | None = None
    """The modalities whose vectors are read; all that the card does not call optional by default."""
    split: SplitConfig | None = None
    """Splits all interactions anew, in place of the split that the data came with."""
    drop_unseen: bool = False
    """Whether valid and test ids that training never saw are dropped; labels the table."""


class EvaluationConfig(Config):
    """What is measured on valid and test."""

    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = tuple(METRICS)
    ks: Annotated[tuple[Cutoff, ...], Field(min_length=1)] = (10, 20)
    also_mask_valid: bool = False
    """Whether validation items are left out of the ranking when the test set is scored."""
    block_size: Annotated[int, Field(ge=1)] | None = None
    """Users scored at once; chosen to fit the cache by default."""

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(metric.name for metric in MetricAt.expand(names, (1,)))


class ModelChoice(Config):
    """A model and its hyper-parameters, validated by the model's own config class."""

    name: str
    options: SerializeAsAny[ModelConfig]

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None = None, *, where: str = "", seed: int = 0) -> Self:
        """Resolves ``name`` first, then validates the other keys with that class's config.

        Args:
            values: ``{"name": …, **hyper-parameters}``.
            where: The dotted path of this section.
            seed: Given to a model that samples, unless it has a ``seed`` of its own.

        Raises:
            ConfigError: If the name is unknown or an option is wrong.
        """
        where = where or "model"
        given = dict(values or {})
        name = given.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(f"{where}.name: expected the name of a model ({', '.join(MODELS)}), got {name!r}")
        config_class = model_class(name, where=where).config_class
        if "seed" in config_class.model_fields:
            given.setdefault("seed", seed)
        return cls(name=name, options=config_class.parse(given, where=where))

    def to_mapping(self) -> dict[str, Any]:
        """Returns what ``parse`` takes, complete."""
        return {"name": self.name, **self.options.model_dump(mode="json")}

    @property
    def is_closed_form(self) -> bool:
        """Whether the model is solved, not trained."""
        return issubclass(get_model(self.name), ClosedForm)


class RunConfig(Config):
    """One run: data → features → graph → model → training → evaluation."""

    label: str = ""
    """The name in tables; the model's name by default."""
    seed: Annotated[int, Field(ge=0)] = 0
    data: DataConfig = DataConfig()
    features: FeatureConfig = FeatureConfig()
    graph: GraphConfig = GraphConfig()
    model: ModelChoice
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None = None, *, where: str = "") -> Self:
        """Validates a plain mapping; resolves ``model.name`` first, then validates that class's own config.

        Raises:
            ConfigError: If a key is unknown or a value has the wrong type or range; names its dotted path.
        """
        given, where = dict(values or {}), where or "config"
        _check_keys(given, cls, where)
        if not isinstance(given.get("model"), ModelChoice):
            section, seed = _mapping(given.get("model"), f"{where}.model"), given.get("seed", 0)
            seeded = seed if isinstance(seed, int) else 0
            given["model"] = ModelChoice.parse(section, where=f"{where}.model", seed=seeded)
        given["label"] = given.get("label") or given["model"].name
        return super().parse(given, where=where)

    def to_mapping(self) -> dict[str, Any]:
        """Returns what ``parse`` takes, every setting included."""
        values = self.model_dump(mode="json", exclude={"model"})
        names = [*type(self).model_fields]
        return {name: self.model.to_mapping() if name == "model" else values[name] for name in names}

    def fingerprint(self) -> str:
        """Returns a hash of all settings but the label, where the data lies, how towers are run, and the trackers.

        The model's ``results_version`` is in it: raise it by hand when a change of the code changes its numbers.
        """
        return fingerprint_of(self.to_mapping())


class ModelEntry(Config):
    """One row of a benchmark: a model, and what is different in its training, graph or features."""

    model: dict[str, Any]
    training: dict[str, Any] = Field(default_factory=dict)
    graph: dict[str, Any] = Field(default_factory=dict)
    features: dict[str, Any] = Field(default_factory=dict)


class FusionEntry(Config):
    """A row of a benchmark that is no model: the sum of two models' scores, each z-scored per user.

    ``(1 - w) z(first) + w z(second)``; which model of each list is taken, and ``w``, are chosen on validation.
    """

    first: Annotated[tuple[str, ...], Field(min_length=1)]
    """Labels of the benchmark; the best of them on validation is taken."""
    second: Annotated[tuple[str, ...], Field(min_length=1)]
    """The same for the second part."""
    weights: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = tuple(
        step / 20 for step in range(1, 20)
    )
    """The weights ``w`` of the second part that are tried on validation."""


class BenchmarkConfig(Config):
    """Several models on the same data, features and graph, each for several seeds."""

    data: DataConfig = DataConfig()
    features: FeatureConfig = FeatureConfig()
    graph: GraphConfig = GraphConfig()
    training: TrainingConfig = TrainingConfig()
    """Shared by all models; each may override parts of it."""
    evaluation: EvaluationConfig = EvaluationConfig()
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 1, 2)
    reference: str | None = None
    """The label of the model that the others are tested against."""
    models: Annotated[dict[str, ModelEntry], Field(min_length=1)]
    fusions: dict[str, FusionEntry] = Field(default_factory=dict)
    """Sums of the scores of two models, by label."""

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"expected different seeds, got {list(seeds)}")
        return seeds

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None = None, *, where: str = "") -> Self:
        """Validates a plain mapping, with the config of every model in it.

        Raises:
            ConfigError: If a key is unknown or a value has the wrong type or range; names its dotted path.
        """
        where = where or "benchmark"
        config = super().parse(values, where=where)
        if config.reference is not None and config.reference not in {**config.models, **config.fusions}:
            raise ConfigError(f"{where}.reference: {unknown_name(config.reference, config.models, kind='label')}")
        refit = {run.label for run in config.plan(where=where) if run.training.refit}
        for label, fusion in config.fusions.items():
            config._check_fusion(label, fusion, refit, f"{where}.fusions.{label}")
        return config

    def plan(self, *, where: str = "benchmark") -> list[RunConfig]:
        """Returns every run, label by label and seed by seed; a closed form, which has no seed, runs once.

        Raises:
            ConfigError: If a label is no folder name, or the config of a model is wrong.
        """
        return [run for label in self.models for run in self._runs(label, f"{where}.models.{label}")]

    def _check_fusion(self, label: str, fusion: FusionEntry, refit: Collection[str], where: str) -> None:
        check_label(label, where)
        if label in self.models:
            raise ConfigError(f"{where}: expected a label that no model has, got {label!r}")
        for part in (*fusion.first, *fusion.second):
            if part not in self.models:
                raise ConfigError(f"{where}: {unknown_name(part, self.models, kind='label')}")
            if part in refit:
                raise ConfigError(f"{where}: expected parts without training.refit, got {part!r}: {REFIT}")

    def _runs(self, label: str, where: str) -> list[RunConfig]:
        check_label(label, where)
        entry = self.models[label]
        values: dict[str, Any] = {
            "label": label,
            "model": entry.model,
            "data": self.data,
            "evaluation": self.evaluation,
        }
        for name in ("training", "graph", "features"):
            values[name] = merge(getattr(self, name).model_dump(mode="json"), getattr(entry, name))
        first = RunConfig.parse({**values, "seed": self.seeds[0]}, where=where)
        others = () if first.model.is_closed_form else self.seeds[1:]
        return [first, *(RunConfig.parse({**values, "seed": seed}, where=where) for seed in others)]


def model_class(name: str, *, where: str = "model") -> type[Recommender]:
    """Returns the model class of a name.

    Raises:
        ConfigError: If there is none, or it is no recommender; names the dotted path.
    """
    try:
        found = get_model(name)
    except ConfigError as error:
        raise ConfigError(f"{where}.name: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Recommender)):
        raise ConfigError(f"{where}.name: expected a subclass of graphrec.models.base.Recommender, got {name!r}")
    return found


def check_label(label: str, where: str) -> None:
    """Checks that a label can name a folder, and none that a benchmark uses itself.

    Raises:
        ConfigError: If it cannot.
    """
    if label in ("oracle", "shared") or not label.strip(". ") or label[0] == "." or set(label) & set('/\\:*?"<>|'):
        raise ConfigError(f"{where}: expected a label that can name a folder and is not 'oracle', got {label!r}")


def _check_keys(given: Mapping[str, Any], owner: type[Config], where: str) -> None:
    for key in given:
        if key not in owner.model_fields:
            raise ConfigError(f"{where}: {unknown_name(str(key), owner.model_fields, kind='key')}")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{where}: expected a mapping with the name of a model, as in {{name: lightgcn}}, got {value!r}"
        )
    return value


def fingerprint_of(values: Mapping[str, Any]) -> str:
    """Returns the fingerprint of a run's settings as they were written, all that there were then."""
    version = get_model(values["model"]["name"]).results_version
    kept = {name: dict(part) if isinstance(part, Mapping) else part for name, part in values.items()}
    del kept["label"], kept["data"]["root"], kept["features"]["encoding"], kept["training"]["trackers"]
    return _hash(kept | {"results_version": version})


def _hash(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
