"""From a data set to its feature tables: given vectors aligned by id, and catalogue columns encoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from pydantic import Field

from graphrec.config import Config, ConfigError, resolve, unknown_name
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset
from graphrec.features.encoder import Encoder, UnreadableError, encode_column
from graphrec.features.table import FeatureTable
from graphrec.runtime import logger

LOG = logger(__name__)
ENCODERS = {
    "light-text": "graphrec.features.text:LightTextEncoder",
    "light-image": "graphrec.features.image:LightImageEncoder",
}
LIGHT = {"text": "light-text", "image": "light-image"}  # what "light" means, by catalogue column
PREFIXES: dict[str, str] = {}  # "clip" -> "package.module:factory", called with what follows "clip:" and with dim


class FeatureConfig(Config):
    """Which modalities a run uses, and how those that come as raw content are encoded.

    Args:
        modalities: The modalities to use; all by default.
        encoders: How a catalogue column is encoded, e.g. ``{"image": "light"}``; see ``get_encoder``.
        dim: The length of the vectors that encoders are asked for.
        strict: Whether a value that cannot be read is an error; otherwise it counts as absent, with a warning.
    """

    modalities: tuple[str, ...] | None = None
    encoders: Mapping[str, str] = {}
    dim: int = Field(default=64, ge=1)
    strict: bool = False

    def tables(self, dataset: Dataset) -> dict[str, FeatureTable]:
        """Returns the item feature tables of the chosen modalities; see ``feature_tables``.

        Raises:
            ConfigError: If a modality or an encoder is unknown.
        """
        encoders = default_encoders(dataset, dim=self.dim)
        encoders |= {name: get_encoder(spec, modality=name, dim=self.dim) for name, spec in self.encoders.items()}
        return _tables(dataset, encoders, self.modalities, self.strict)


def feature_tables(
    dataset: Dataset, encoders: Mapping[str, Encoder] | None = None, *, strict: bool = False
) -> dict[str, FeatureTable]:
    """Returns the feature table of every item modality that has vectors, by name, sorted.

    Given vectors are aligned by id. The catalogue columns ``text`` and ``image`` are encoded by the light encoders
    where no vectors and no neighbours are given for that modality. A modality with neighbours only has no table.

    Args:
        dataset: The data set.
        encoders: Encoders by catalogue column; they come before given vectors and the light encoders.
        strict: Whether values that cannot be read raise; otherwise they are named in a warning and count as absent.

    Raises:
        ConfigError: If an encoder is meant for a column that the catalogue lacks.
        UnreadableError: If a value cannot be read and ``strict`` is set, or no value of a column can be read.
        ValueError: If vectors do not match the items, or a column to be encoded is empty.
    """
    chosen = default_encoders(dataset) | dict(encoders or {})
    return _tables(dataset, chosen, None, strict)


def user_feature_tables(dataset: Dataset) -> dict[str, FeatureTable]:
    """Returns the given user vectors aligned to the users, by names such as ``user_text``."""
    users = dataset.split.users
    return {
        f"user_{name}": FeatureTable.align(dataset.user_vectors[name], users) for name in sorted(dataset.user_vectors)
    }


def default_encoders(dataset: Dataset, *, dim: int = 64) -> dict[str, Encoder]:
    """Returns the light encoders of the catalogue columns that hold values and come without vectors or neighbours."""
    catalog = dataset.items
    wanted = [name for name in LIGHT if name in catalog.columns and name not in dataset.modalities]
    return {name: get_encoder("light", modality=name, dim=dim) for name in wanted if catalog.present(name).any()}


def get_encoder(spec: str, *, modality: str, dim: int = 64) -> Encoder:
    """Returns the encoder that a specification names.

    Args:
        spec: ``"light"`` for the built-in encoder of the modality; a name from ``ENCODERS``; a name with a prefix from
            ``PREFIXES`` and what its factory needs, as in ``"prefix:checkpoint"``; or ``"package.module:Class"`` for
            an encoder from outside. The class is called with ``dim``, a factory with the rest of the name and ``dim``.
        modality: The catalogue column to be encoded.
        dim: The length of the vectors asked for; an encoder of fixed length may disregard it.

    Raises:
        ConfigError: If there is no such encoder.
    """
    if spec == "light":
        return get_encoder(_light(modality), modality=modality, dim=dim)
    prefix, separator, rest = spec.partition(":")
    if separator and prefix in PREFIXES:
        return resolve(PREFIXES[prefix], {}, kind="encoder")(rest, dim=dim)
    known = {"light": "", **ENCODERS, **{f"{name}:": "" for name in PREFIXES}}
    if not separator and spec not in ENCODERS:
        raise ConfigError(unknown_name(spec, known, kind="encoder") + "; or 'package.module:Class' from outside")
    return resolve(spec, ENCODERS, kind="encoder")(dim=dim)


def _light(modality: str) -> str:
    if modality not in LIGHT:
        raise ConfigError(
            f"expected a modality with a light encoder ({', '.join(sorted(LIGHT))}), got {modality!r}; "
            f"name one: {', '.join(sorted(ENCODERS))}"
        )
    return LIGHT[modality]


def _tables(
    dataset: Dataset, encoders: Mapping[str, Encoder], modalities: tuple[str, ...] | None, strict: bool
) -> dict[str, FeatureTable]:
    known = {*encoders, *dataset.modalities}
    wanted = known if modalities is None else set(modalities)
    _check_known(encoders, dataset.items.columns, kind="catalogue column")
    _check_known(wanted, known, kind="modality")
    tables = {}
    for name in sorted(wanted & {*encoders, *dataset.vectors}):
        if name in encoders:
            tables[name] = _encode(dataset.items, name, encoders[name], strict)
        else:
            tables[name] = FeatureTable.align(dataset.vectors[name], dataset.split.items)
    return tables


def _encode(catalog: Catalog, column: str, encoder: Encoder, strict: bool) -> FeatureTable:
    try:
        return encode_column(catalog, column, encoder)
    except UnreadableError as error:
        rows = [row for row, present in enumerate(catalog.present(column)) if present]
        bad = {rows[position]: reason for position, reason in error.reasons.items()}
        if strict or len(bad) == len(rows):
            raise
    _warn(catalog, column, bad)
    return encode_column(_without(catalog, column, list(bad)), column, encoder)


def _warn(catalog: Catalog, column: str, bad: Mapping[int, str]) -> None:
    shown = [f"{catalog.ids.ids([row])[0]!r}: {reason}" for row, reason in list(bad.items())[:5]]
    more = ", …" if len(bad) > 5 else ""
    LOG.warning("%d value(s) of %r cannot be read and count as absent: %s%s", len(bad), column, ", ".join(shown), more)


def _without(catalog: Catalog, column: str, rows: list[int]) -> Catalog:
    values: list[Any] = catalog.values(column)
    for row in rows:
        values[row] = None
    return Catalog(catalog.ids, catalog.frame.assign(**{column: pd.Series(values, dtype=object)}))


def _check_known(names: Iterable[str], known: Iterable[str], *, kind: str) -> None:
    options = tuple(known)
    for name in names:
        if name not in options:
            raise ConfigError(unknown_name(name, options, kind=kind))
