"""From a data set to its feature tables: given vectors aligned by id, and catalogue columns encoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import Field

from graphrec.config import Config, ConfigError, unknown_name
from graphrec.data.catalog import Catalog, check_modalities
from graphrec.data.content import PATH_MODALITIES
from graphrec.data.dataset import Dataset, Vectors
from graphrec.data.interactions import Ids
from graphrec.features.choice import BY_ROW, LIGHT, EncoderConfig, EncodingConfig, get_encoder
from graphrec.features.encoder import Encoder, UnreadableError, encode_values
from graphrec.features.table import FeatureTable
from graphrec.features.template import as_texts, compose, gather, parse_template
from graphrec.runtime import logger

LOG = logger(__name__)
USER = "user_"


class Making(NamedTuple):
    """How a modality is made: an encoder, the columns it reads, and how they are put together.

    With a template, or several columns, the encoder gets one text per row; with ``by_row`` the values side by side. An
    encoder of texts, which says so by ``kind``, gets numbers written out. A modality that nobody asked for
    (``optional``) is left out, with a warning, where none of its values can be read.
    """

    encoder: Encoder
    columns: tuple[str, ...]
    template: str | None = None
    by_row: bool = False
    optional: bool = False

    def values(self, catalog: Catalog) -> list[Any]:
        """Returns what the encoder gets for every row of the catalogue, ``None`` where the modality is absent."""
        if self.template is not None:
            return compose(catalog, template=self.template)
        if len(self.columns) == 1:
            values = catalog.values(self.columns[0])
            return as_texts(values) if getattr(self.encoder, "kind", None) == "text" else values
        return gather(catalog, self.columns) if self.by_row else compose(catalog, self.columns)


class FeatureConfig(Config):
    """Which modalities a run uses, and how those that come as raw content are encoded.

    Args:
        modalities: The item modalities to use; all by default.
        encoders: How an item modality is made from catalogue columns, e.g. ``{"image": "light"}``; see
            ``EncoderConfig``. A modality may have a name of its own, with ``columns`` to say what it reads.
        user_encoders: The same about users; ``{"text": …}`` becomes the modality ``user_text``.
        dim: The length of the vectors that encoders without a length of their own are asked for.
        strict: Whether a value that cannot be read is an error; otherwise it counts as absent, with a warning.
        encoding: How pretrained towers are run, and where their vectors are kept.
    """

    modalities: tuple[str, ...] | None = None
    encoders: Mapping[str, EncoderConfig] = {}
    user_encoders: Mapping[str, EncoderConfig] = {}
    dim: int = Field(default=64, ge=1)
    strict: bool = False
    encoding: EncodingConfig = EncodingConfig()

    def tables(self, dataset: Dataset) -> dict[str, FeatureTable]:
        """Returns the item feature tables of the chosen modalities; see ``feature_tables``.

        Raises:
            ConfigError: If a modality, a column or an encoder is unknown.
        """
        asked = self.strict or self.modalities is not None
        default = _by_column(default_encoders(dataset, dim=self.dim), optional=not asked)
        _check_known(self.modalities or (), {*default, *self.encoders, *dataset.modalities}, kind="modality")
        makings = default | self._makings(self.encoders, dataset.items, self.modalities)
        if self.modalities is None:
            _tell_unread(dataset, makings.values())
        return _tables(dataset.items, dataset.vectors, makings, self.modalities, self.strict)

    def user_tables(self, dataset: Dataset) -> dict[str, FeatureTable]:
        """Returns the user feature tables, given and encoded, by names such as ``user_text``.

        Raises:
            ConfigError: If a column or an encoder is unknown.
        """
        makings = self._makings(self.user_encoders, dataset.people, None)
        found = _tables(dataset.people, dataset.user_vectors, makings, None, self.strict, prefix=USER)
        return {f"{USER}{name}": table for name, table in found.items()}

    def made_of(self, dataset: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns the modalities that are made from raw content: of the items, and of the users."""
        made = {*default_encoders(dataset), *self.encoders}
        wanted = made if self.modalities is None else made & set(self.modalities)
        return tuple(sorted(wanted)), tuple(f"{USER}{name}" for name in sorted(self.user_encoders))

    def _makings(
        self, encoders: Mapping[str, EncoderConfig], catalog: Catalog, wanted: tuple[str, ...] | None
    ) -> dict[str, Making]:
        """Returns how the wanted modalities are made; of the others only the names are checked, no model is loaded."""
        check_modalities(encoders)
        reads = {name: _columns(name, entry, catalog) for name, entry in encoders.items()}
        return {
            name: Making(
                encoder=get_encoder(entry, modality=name, dim=self.dim, encoding=self.encoding),
                columns=reads[name],
                template=entry.template,
                by_row=entry.encoder in BY_ROW,
            )
            for name, entry in encoders.items()
            if wanted is None or name in wanted
        }


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
        UnreadableError: If a value cannot be read and ``strict`` is set, or none that a given encoder is meant for.
        ValueError: If vectors do not match the items, or a column to be encoded is empty.
    """
    _check_known(encoders or {}, dataset.items.columns, kind="catalogue column")
    makings = _by_column(default_encoders(dataset), optional=not strict) | _by_column(encoders or {})
    return _tables(dataset.items, dataset.vectors, makings, None, strict)


def user_feature_tables(dataset: Dataset) -> dict[str, FeatureTable]:
    """Returns the given user vectors aligned to the users, by names such as ``user_text``."""
    return FeatureConfig().user_tables(dataset)


def default_encoders(dataset: Dataset, *, dim: int = 64) -> dict[str, Encoder]:
    """Returns the light encoders of the catalogue columns that hold values and come without vectors or neighbours."""
    catalog = dataset.items
    wanted = [name for name in LIGHT if name in catalog.columns and name not in dataset.modalities]
    return {name: get_encoder("light", modality=name, dim=dim) for name in wanted if catalog.present(name).any()}


def _columns(name: str, entry: EncoderConfig, catalog: Catalog) -> tuple[str, ...]:
    """Returns the columns a modality is made from, once it is sure that they exist; a ConfigError says if not."""
    if entry.template is not None:
        try:
            parts = parse_template(entry.template, catalog.columns)
        except (KeyError, ValueError) as error:
            raise ConfigError(f"template of {name!r}: {error.args[0]}") from error
        return tuple(dict.fromkeys(column for part in parts for column in part.columns))
    columns = entry.columns or (name,)
    _check_known(columns, catalog.columns, kind="catalogue column")
    return columns


def _tell_unread(dataset: Dataset, makings: Iterable[Making]) -> None:
    """Says which columns of files no encoder reads, since none is built in for their kind."""
    read = {*dataset.modalities, *(column for making in makings for column in making.columns)}
    for name in PATH_MODALITIES:
        if name in dataset.items.columns and name not in read:
            LOG.info("no encoder reads the column %r; name one: features.encoders.%s=hf:… or path:…", name, name)


def _by_column(encoders: Mapping[str, Encoder], *, optional: bool = False) -> dict[str, Making]:
    return {name: Making(encoder, (name,), optional=optional) for name, encoder in encoders.items()}


def _tables(
    catalog: Catalog,
    vectors: Mapping[str, Vectors],
    makings: Mapping[str, Making],
    modalities: tuple[str, ...] | None,
    strict: bool,
    *,
    prefix: str = "",
) -> dict[str, FeatureTable]:
    made_or_given = {*makings, *vectors}
    tables = {}
    for name in sorted(made_or_given if modalities is None else made_or_given & set(modalities)):
        if name not in makings:
            tables[name] = FeatureTable.align(vectors[name], catalog.ids)
            continue
        try:
            tables[name] = _encode(catalog, f"{prefix}{name}", makings[name], strict)
        except UnreadableError as error:
            if not makings[name].optional:
                raise
            LOG.warning("%s is left out: %s", name, error)
    return tables


def _encode(catalog: Catalog, name: str, making: Making, strict: bool) -> FeatureTable:
    try:
        table = encode_values(catalog.ids, making.values(catalog), making.encoder, name=name, strict=strict)
    except TypeError as error:
        raise ConfigError(f"{name} from {', '.join(map(repr, making.columns))}: {error}") from error
    if table.unreadable:
        _warn(catalog.ids, name, table.unreadable)
    return table


def _warn(ids: Ids, name: str, bad: Mapping[int, str]) -> None:
    named = [f"{ids.ids([row]).tolist()[0]!r}: {reason}" for row, reason in bad.items()]
    more = ", …" if len(named) > 5 else ""
    LOG.warning(
        "%d value(s) of %r cannot be read and count as absent: %s%s", len(named), name, ", ".join(named[:5]), more
    )


def _check_known(names: Iterable[str], known: Iterable[str], *, kind: str) -> None:
    options = tuple(known)
    for name in names:
        if name not in options:
            raise ConfigError(unknown_name(name, options, kind=kind))
