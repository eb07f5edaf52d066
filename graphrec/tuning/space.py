"""The search space: the ranges declared beside the hyper-parameters that a config leaves open, and those it names."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from graphrec.config import Config, ConfigError, Search, merge, unknown_name
from graphrec.pipeline.config import RunConfig
from graphrec.runtime import require

SECTIONS = ("model", "training", "graph", "features")
OPEN = ("training.learning_rate", "training.batch_size")
CLOSED = ("model.name", "model.seed", "training.metric", "training.refit", "training.device", "training.devices")
SCALARS = (bool, int, float, str, type(None))
Entry = Search | Mapping[str, Any] | list[Any] | tuple[Any, ...] | bool


@dataclass(frozen=True)
class Parameter:
    """A setting that is tuned.

    Args:
        path: Its dotted path in a ``RunConfig``.
        search: Its range.
        is_integer: Whether its values are integers.
    """

    path: str
    search: Search
    is_integer: bool = False

    def distribution(self) -> Any:
        """Returns the range as Optuna's distribution; lists and mappings to choose from become JSON texts."""
        optuna = require("optuna.distributions", extra="tune")
        search = self.search
        if search.choices is not None:
            return optuna.CategoricalDistribution([self.encode(value) for value in search.choices])
        if self.is_integer:
            return optuna.IntDistribution(int(search.low or 0), int(search.high or 0), log=search.log)
        return optuna.FloatDistribution(float(search.low or 0), float(search.high or 0), log=search.log)

    def encode(self, value: Any) -> Any:
        """Returns a value as Optuna keeps it."""
        return json.dumps(value) if self._as_text else value

    def decode(self, value: Any) -> Any:
        """Returns the value that ``encode`` was given."""
        return json.loads(value) if self._as_text else value

    def describe(self) -> dict[str, Any]:
        """Returns the range as plain values, without what it leaves out."""
        given = {name: value for name, value in asdict(self.search).items() if value is not None and value is not False}
        return json.loads(json.dumps({**given, "integer": True} if self.is_integer else given))

    @classmethod
    def read(cls, path: str, values: Mapping[str, Any]) -> Parameter:
        """Returns what ``describe`` described."""
        given = dict(values)
        is_integer = bool(given.pop("integer", False))
        return cls(path, _search(path, given), is_integer)

    @property
    def holds_integers(self) -> bool:
        """Whether every value is an integer, those to choose from included."""
        choices = self.search.choices
        return self.is_integer if choices is None else all(type(value) is int for value in choices)

    @property
    def _as_text(self) -> bool:
        return any(not isinstance(value, SCALARS) for value in self.search.choices or ())


def search_space(
    values: Mapping[str, Any], search: Mapping[str, Entry] | None = None, *, where: str = "search"
) -> dict[str, Parameter]:
    """Returns what is tuned, by dotted path; it may be nothing.

    What the config sets is fixed. A hyper-parameter below ``model``, the learning rate and the batch size of a trained
    model are tuned within their declared range if they are left open. ``search`` adds to that, also what is set.

    Args:
        values: The settings of a run, only those that are fixed.
        search: By dotted path: a range such as ``{"low": 0.01, "high": 1, "log": True}``, a list of choices, true for
            the declared range, or false for a setting that is not to be tuned.
        where: How the section is called in error messages.

    Raises:
        ConfigError: If the settings are wrong, a path is unknown or may not be tuned, a range is empty or declared
            nowhere, or a bound is no value of the setting.
    """
    settings = RunConfig.parse(values)
    ranges = {path: found for path, found in _declared(settings).items() if _is_open(values, path)}
    for path, entry in (search or {}).items():
        label = f"{where}.{path}"
        types_of = _types(_annotation(path, settings, label))
        if entry is False:
            ranges.pop(path, None)
        else:
            found = _search(label, _declared_at(path, settings, label) if entry is True else entry)
            ranges[path] = Parameter(path, found, _is_integer(types_of, found))
    for parameter in ranges.values():
        _check_bounds(parameter, settings, where)
    return ranges


def nested(path: str, value: Any) -> dict[str, Any]:
    """Returns the mapping in which a value has that dotted path.

    >>> nested("model.coupling.text", 0.1)
    {'model': {'coupling': {'text': 0.1}}}
    """
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings with the values at their dotted paths."""
    changed = dict(settings)
    for path, value in values.items():
        changed = merge(changed, nested(path, value))
    return changed


def value_at(settings: Mapping[str, Any], path: str) -> tuple[Any, ...]:
    """Returns the value at a dotted path as a tuple of one, or an empty tuple where there is none."""
    here: Any = settings
    for key in path.split("."):
        if not isinstance(here, Mapping) or key not in here:
            return ()
        here = here[key]
    return (here,)


def _declared(settings: RunConfig) -> dict[str, Parameter]:
    """Returns the declared ranges that are tuned without being asked for."""
    paths = {f"model.{path}": found for path, found in type(settings.model.options).search_space().items()}
    if not settings.model.is_closed_form:
        training = type(settings.training).search_space()
        paths |= {path: training[path.partition(".")[2]] for path in OPEN}
    return {
        path: Parameter(path, found, _is_integer(_types(_annotation(path, settings, path)), found))
        for path, found in paths.items()
    }


def _is_open(values: Mapping[str, Any], path: str) -> bool:
    here: Any = {**values, "model": {}} if isinstance(values.get("model"), str) else values  # the short form
    for key in path.split("."):
        if not isinstance(here, Mapping):
            return False  # a whole section is set to something else, such as null
        if key not in here:
            return True
        here = here[key]
    return False


def _fields(path: str, settings: RunConfig, label: str) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yields the annotation and metadata of every step of a path, ``None`` in place of what cannot be known."""
    section = path.partition(".")[0]
    if section not in SECTIONS or path in CLOSED:
        raise ConfigError(f"{label}: expected a path below {', '.join(SECTIONS)}, other than {', '.join(CLOSED)}")
    here: Any = RunConfig
    for depth, key in enumerate(path.split(".")):
        owner = _config_in(here)
        if owner is not None:
            if key not in owner.model_fields:
                above = path.split(".")[:depth]
                known = [".".join([*above, name]) for name in owner.model_fields]
                raise ConfigError(f"{label}: {unknown_name('.'.join([*above, key]), known, kind='setting')}")
            field = owner.model_fields[key]
            here = type(settings.model.options) if depth == 0 and key == "model" else field.annotation
            yield here, tuple(field.metadata)
        else:
            here = _value_type(here, label)
            yield here, ()


def _annotation(path: str, settings: RunConfig, label: str) -> Any:
    *_, (annotation, _) = _fields(path, settings, label)
    return annotation


def _declared_at(path: str, settings: RunConfig, label: str) -> Search:
    *_, (annotation, metadata) = _fields(path, settings, label)
    inner = [entry for part in get_args(annotation) for entry in getattr(part, "__metadata__", ())]
    declared = [entry for entry in (*metadata, *inner) if isinstance(entry, Search)]
    if not declared:
        raise ConfigError(
            f"{label}: expected a range such as {{low: 0.01, high: 1}}, since it declares none of its own"
        )
    return declared[-1]


def _search(label: str, entry: Any) -> Search:
    try:
        if isinstance(entry, Search):
            return entry
        if isinstance(entry, list | tuple):
            return Search(choices=tuple(entry))
        if isinstance(entry, Mapping):
            unknown = sorted(set(entry) - set(Search.__dataclass_fields__))
            if unknown:
                raise ConfigError(unknown_name(str(unknown[0]), Search.__dataclass_fields__, kind="key"))
            choices = entry.get("choices")
            bounds = {name: _number(entry[name]) for name in ("low", "high") if name in entry}
            return Search(**{**entry, **bounds, "choices": None if choices is None else tuple(choices)})
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{label}: {error}") from None
    raise ConfigError(f"{label}: expected a range, a list of choices, true or false, got {entry!r}")


def _number(bound: Any) -> Any:
    """Returns a bound that YAML takes for a text, such as 1e-4, as the number it is."""
    try:
        return float(bound) if isinstance(bound, str) else bound
    except ValueError:
        return bound


def _check_bounds(parameter: Parameter, settings: RunConfig, where: str) -> None:
    search, label = parameter.search, f"{where}.{parameter.path}"
    values = search.choices if search.choices is not None else (search.low, search.high)
    if parameter.is_integer and search.choices is None and any(float(bound) % 1 for bound in values):
        raise ConfigError(f"{label}: expected whole numbers as bounds, got {search.low} and {search.high}")
    for value in values:
        try:
            RunConfig.parse(with_values(settings.to_mapping(), {parameter.path: value}), where="config")
        except ConfigError as error:
            raise ConfigError(f"{label}: {value!r} cannot be used: {error}") from None


def _is_integer(found: set[Any], search: Search) -> bool:
    if search.choices is not None or float in found:
        return False
    return int in found or all(isinstance(bound, int) for bound in (search.low, search.high))


def _types(annotation: Any) -> set[Any]:
    """Returns the plain types of an annotation, without ``Annotated`` and unions."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _types(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return {found for part in get_args(annotation) for found in _types(part)}
    if origin is Literal:
        return {type(value) for value in get_args(annotation)}
    return {annotation}


def _config_in(annotation: Any) -> type[Config] | None:
    found = [part for part in _types(annotation) if isinstance(part, type) and issubclass(part, Config)]
    return found[0] if found else None


def _value_type(annotation: Any, label: str) -> Any:
    """Returns the type of the values of a mapping.

    Raises:
        ConfigError: If it is none.
    """
    for part in _types(annotation):
        if part in (dict, Mapping, Any) or get_origin(part) in (dict, Mapping):
            return (*get_args(part), Any, Any)[1]
    raise ConfigError(f"{label}: expected a setting, but what stands before the last dot holds none")
