"""Every packaged YAML file validates, round-trips, and every search range fits the field it stands beside."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import graphrec
from graphrec.config import Config, ConfigError, dump_yaml, load_yaml
from graphrec.models import MODELS, get_model
from graphrec.pipeline import BenchmarkConfig, RunConfig
from graphrec.runtime import package_folder
from graphrec.tuning.suite import read_suite

EVERY = sorted(package_folder("configs").glob("*.yaml"))
FILES = [path for path in EVERY if not {"datasets", "tuning"} & set(load_yaml(path))]
SUITES = [path for path in EVERY if path not in FILES]


def parsed(values: dict[str, Any], where: str) -> BenchmarkConfig | RunConfig:
    return (BenchmarkConfig if "models" in values else RunConfig).parse(values, where=where)


def config_classes() -> list[type[Config]]:
    """Returns every config class of the package that has a default instance or only needs one."""
    found = {}
    for module in pkgutil.walk_packages(graphrec.__path__, "graphrec."):
        for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(value, Config) and value is not Config:
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return list(found.values())


SEARCHED = [
    (owner, name, entry)
    for owner in config_classes()
    for name, entry in owner.search_space().items()
    if name in owner.model_fields  # those of nested settings come with their own class
]


def test_there_are_configs():
    assert "quickstart" in {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_validates(path):
    config = parsed(load_yaml(path), path.name)
    if isinstance(config, BenchmarkConfig):
        assert {entry.label for entry in config.plan()} == set(config.models)
        assert config.reference is None or config.reference in config.models


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_suite_validates_and_opens_the_same_models_everywhere(path):
    parts = read_suite(load_yaml(path), where=path.name)
    assert len({frozenset(part.config.models) for part in parts.values()}) == 1
    assert all(part.tuning == next(iter(parts.values())).tuning for part in parts.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_round_trips_through_its_resolved_form(path, tmp_path):
    config = parsed(load_yaml(path), path.name)
    values = config.to_mapping() if isinstance(config, RunConfig) else config.model_dump(mode="json")
    (tmp_path / "again.yaml").write_text(dump_yaml(values))
    again = parsed(load_yaml(tmp_path / "again.yaml"), "again.yaml")
    assert again == config


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_typo_in_a_file_is_found(path):
    values = load_yaml(path)
    with pytest.raises(ConfigError, match="did you mean"):
        parsed(values | {"evaluatoin": {}}, path.name)


@pytest.mark.parametrize(("owner", "name", "entry"), SEARCHED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_search_range_is_valid_for_its_field(owner, name, entry):
    ends = entry.choices if entry.choices is not None else (entry.low, entry.high)
    assert all(end is not None for end in ends)
    whole = owner.model_fields[name].annotation is int
    for end in ends:
        value = int(end) if whole and not isinstance(end, bool) else end
        assert owner.__pydantic_validator__.validate_assignment(owner.model_construct(), name, value)
    if entry.choices is None:
        assert entry.low < entry.high
        assert not entry.log or entry.low > 0


@pytest.mark.parametrize("name", MODELS)
def test_every_model_config_has_valid_defaults(name):
    config_class = get_model(name).config_class
    config = config_class.parse({})
    assert config_class.parse(config.model_dump(mode="json")) == config


def test_search_ranges_exist_for_the_flagship():
    assert {"num_layers", "edge_keep", "l2"} <= set(get_model("hetero-lightgcn").config_class.search_space())
