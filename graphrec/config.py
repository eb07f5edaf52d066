"""Typed, frozen configuration: one class per component, search ranges beside the fields, errors that help.

A hyper-parameter is written once, in the ``Config`` subclass of the component that reads it. YAML files and
``key.path=value`` overrides are plain mappings until such a class validates them.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator


class ConfigError(ValueError):
    """A setting that is unknown, missing or out of range; the message names the key and what was expected."""


@dataclass(frozen=True)
class Search:
    """The range in which a hyper-parameter is worth tuning, written as ``Annotated[float, Search(1e-4, 1e-1)]``.

    Args:
        low: Lower bound of a numeric range.
        high: Upper bound of a numeric range.
        log: Whether the range is searched on a logarithmic scale.
        choices: The values of a categorical range, instead of ``low`` and ``high``.

    Raises:
        ConfigError: If the range is empty, half open, both kinds at once, or logarithmic from 0 or below.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        for bound in (self.low, self.high):
            if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
                raise ConfigError(f"expected numbers as bounds, got {self._text()}")
        if self.choices is not None:
            if self.low is not None or self.high is not None or not self.choices:
                raise ConfigError(f"expected choices alone, at least one, got {self._text()}")
        elif self.low is None or self.high is None:
            raise ConfigError(f"expected low and high, or choices, got {self._text() or 'none of them'}")
        elif not self.low <= self.high:
            raise ConfigError(f"expected low <= high, got {self._text()}; a range must hold a value")
        elif self.log and self.low <= 0:
            raise ConfigError(f"expected low > 0 for a logarithmic range, got {self._text()}")

    def _text(self) -> str:
        given = {
            "low": self.low,
            "high": self.high,
            "choices": self.choices if self.choices is None else [*self.choices],
        }
        return " and ".join(f"{name} {value!r}" for name, value in given.items() if value is not None)

    def holds(self, value: Any) -> bool:
        """Returns whether a value lies in the range.

        >>> Search(1e-4, 1e-1, log=True).holds(0.0), Search(choices=(64, 128)).holds(64)
        (False, True)
        """
        if self.choices is not None:
            return value in self.choices
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and cast(float, self.low) <= value <= cast(float, self.high)


class Config(BaseModel):
    """Base of every configuration: immutable, typed, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _reject_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(unknown_name(str(key), cls.model_fields, kind="key"))
        return values

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None = None, *, where: str = "") -> Self:
        """Validates a plain mapping.

        Args:
            values: The settings; missing keys take their defaults.
            where: The dotted path of this section in its file, for error messages.

        Raises:
            ConfigError: If a key is unknown or a value has the wrong type or range.
        """
        try:
            return cls.model_validate(dict(values or {}))
        except ValidationError as error:
            raise ConfigError(_readable(error, where or cls.__name__)) from None

    @classmethod
    def read(cls, settings: Self | Mapping[str, Any] | str | Path) -> Self:
        """Returns the settings as they are, or validates a mapping or a YAML file, whose name errors then show.

        Raises:
            ConfigError: If a key is unknown or a value has the wrong type or range.
            FileNotFoundError: If there is no such file.
        """
        if isinstance(settings, cls):
            return settings
        if isinstance(settings, str | Path):
            return cls.parse(load_yaml(Path(settings)), where=Path(settings).name)
        return cls.parse(cast(Mapping[str, Any], settings))

    @classmethod
    def search_space(cls) -> dict[str, Search]:
        """Returns the ``Search`` range of every field that declares one, those of nested configs by dotted path."""
        space: dict[str, Search] = {}
        for name, field in cls.model_fields.items():
            declared = [entry for entry in field.metadata if isinstance(entry, Search)]
            if declared:
                space[name] = declared[-1]
            if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
                nested = field.annotation.search_space()
                space |= {f"{name}.{path}": search for path, search in nested.items()}
        return space


def unknown_name(name: str, known: Iterable[str], *, kind: str) -> str:
    """Returns an error message for a name that is not among the known ones.

    >>> unknown_name("num_layer", ["num_layers", "dim"], kind="key")
    "unknown key 'num_layer': did you mean 'num_layers'? Known: dim, num_layers"
    """
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1)
    hint = f": did you mean {close[0]!r}?" if close else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(options) or 'none at all'}"


class _Loader(yaml.SafeLoader):
    """A loader that refuses a key that comes twice, of which YAML itself keeps the last without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Returns the node of a mapping, before anything is merged into it.

        Raises:
            yaml.composer.ComposerError: If a key comes twice.
        """
        node = super().compose_mapping_node(anchor)
        known = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in known:
                raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} comes twice", key.start_mark)
            known.add((key.tag, key.value))
        return node


def load_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file whose top level is a mapping.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If the file is not YAML, holds something else than a mapping, or has a key twice in one mapping.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {str(path)!r}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"expected a mapping at the top of {path}, got {type(values).__name__}")
    return values


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Returns the mapping as YAML text in the order of its keys."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``base`` with ``changes`` laid over it, mappings merged key by key.

    >>> merge({"model": {"name": "lightgcn", "num_layers": 2}}, {"model": {"num_layers": 3}})
    {'model': {'name': 'lightgcn', 'num_layers': 3}}
    """
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Returns the mapping changed by ``key.path=value`` strings, values read as YAML.

    >>> apply_overrides({"model": {"name": "lightgcn"}}, ["model.num_layers=3"])
    {'model': {'name': 'lightgcn', 'num_layers': 3}}

    Raises:
        ConfigError: If an override has no ``=``, or its value is not YAML.
    """
    result = dict(values)
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator or not path:
            raise ConfigError(f"expected an override like 'model.num_layers=3', got {override!r}")
        change: Any = _override_value(override, text)
        for key in reversed(path.strip().split(".")):
            change = {key: change}
        result = merge(result, change)
    return result


def resolve(name: str, known: Mapping[str, str], *, kind: str) -> Any:
    """Imports what a name stands for.

    Args:
        name: A short name from ``known``, or ``"package.module:Class"`` for a class from outside.
        known: Short names and their ``"package.module:Class"``.
        kind: What is being looked up, for error messages.

    Raises:
        ConfigError: If the name is unknown or cannot be imported.
    """
    target = known.get(name, name)
    module, separator, attribute = target.partition(":")
    if not separator:
        raise ConfigError(unknown_name(name, known, kind=kind) + "; or 'package.module:Class' from outside")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot import {kind} {target!r}: {error}") from error


def _override_value(override: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"expected a YAML value in the override {override!r}: {reason}") from None


def _readable(error: ValidationError, where: str) -> str:
    lines = []
    for problem in error.errors():
        path = ".".join([where, *(str(part) for part in problem["loc"])])
        message = problem["msg"].removeprefix("Value error, ")
        got = "" if problem["type"] in ("value_error", "missing") else f" (got {problem['input']!r})"
        lines.append(f"{path}: {message}{got}")
    return "; ".join(lines)
