"""The encoder protocol: what turns raw texts, pictures or sounds into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from graphrec.data.catalog import Catalog
from graphrec.features.table import FeatureTable


@runtime_checkable
class Encoder(Protocol):
    """Turns raw values of one kind into vectors; CLIP, BERT and the built-in light encoders all fit.

    An encoder that learns from the values (TF-IDF, PCA) does so inside ``encode``: features are made once per
    catalogue, from content only, never from interactions.
    """

    @property
    def name(self) -> str:
        """The encoder with all settings that change its output, e.g. ``"light-text(dim=64)"``."""

    def encode(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Returns one vector per value ``(len(values), dim)``."""


def encode_column(catalog: Catalog, column: str, encoder: Encoder) -> FeatureTable:
    """Encodes the values present in a catalogue column; absent values stay absent.

    Raises:
        KeyError: If there is no such column.
        ValueError: If the column has no value at all.
    """
    rows = np.flatnonzero(catalog.present(column))
    if not len(rows):
        raise ValueError(f"expected values in column {column!r} of the catalogue, got none")
    values = catalog.values(column)
    vectors = np.asarray(encoder.encode([values[row] for row in rows]), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(rows):
        raise ValueError(f"expected {len(rows)} vectors from {encoder.name}, got an array of shape {vectors.shape}")
    return FeatureTable(catalog.ids, rows.astype(np.int64), vectors, source=encoder.name)
