"""What turns raw content into vectors: encoders that learn from a catalogue, and pretrained towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from graphrec.data.catalog import Catalog
from graphrec.data.interactions import Ids
from graphrec.features.table import FeatureTable

Kind = Literal["text", "image", "audio", "video"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class UnreadableError(ValueError):
    """Some values cannot be encoded, such as broken pictures; the others can.

    Args:
        reasons: What is wrong with the value, by its position among the values given.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(reasons)
        shown = "; ".join(list(self.reasons.values())[:3])
        more = f"; and {len(self.reasons) - 3} more" if len(self.reasons) > 3 else ""
        super().__init__(f"expected readable values, got {len(self.reasons)} that cannot be read: {shown}{more}")


@runtime_checkable
class Encoder(Protocol):
    """Turns raw values of one kind into vectors; the built-in light encoders, and towers with their store, all fit.

    An encoder that learns from the values (TF-IDF, PCA) does so inside ``encode``: features are made once per
    catalogue, from content only, never from interactions.
    """

    @property
    def name(self) -> str:
        """The encoder with all settings that change its output, e.g. ``"light-text(dim=64)"``."""

    def encode(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Returns one vector per value ``(len(values), dim)``.

        Raises:
            UnreadableError: If values cannot be read; it names them all.
        """


@runtime_checkable
class Tower(Protocol):
    """A pretrained, frozen encoder: the vector of a value depends on that value alone, so it is kept by content.

    A tower does not loop, cache or report: ``graphrec.features.engine`` does. ``read`` is called on worker threads, for
    one value at a time; ``forward`` on the main thread, for a batch of what ``read`` returned.
    """

    @property
    def name(self) -> str:
        """What it was asked for as, with all settings that change its output: ``"open_clip:ViT-B-32/openai"``."""

    @property
    def space(self) -> str:
        """Names the vector space: vectors of two towers are comparable where this is equal, as with CLIP's two."""

    @property
    def dim(self) -> int:
        """The length of a vector."""

    @property
    def kind(self) -> Kind:
        """What it reads: texts, or the paths of files of a kind."""

    @property
    def batch_size(self) -> int:
        """Values per batch that suit its device."""

    def fingerprint(self) -> str:
        """Returns a hash of the weights and of the preprocessing: whatever changes a vector beside the value."""

    def size(self, value: Any) -> int:
        """Returns how long a value is, to batch values of like length; 0 where all cost the same."""

    def read(self, value: Any) -> Any:
        """Reads and preprocesses one value.

        Raises:
            OSError, ValueError: If it cannot be read; the message says why, without the value's path.
        """

    def forward(self, inputs: Sequence[Any]) -> NDArray[np.float32]:
        """Returns the vectors of values that ``read`` returned ``(len(inputs), dim)``."""


def encode_column(catalog: Catalog, column: str, encoder: Encoder) -> FeatureTable:
    """Encodes the values present in a catalogue column; absent values stay absent.

    Raises:
        KeyError: If there is no such column.
        ValueError: If the column has no value at all.
    """
    return encode_values(catalog.ids, catalog.values(column), encoder, name=column)


def encode_values(ids: Ids, values: Sequence[Any], encoder: Encoder, *, name: str) -> FeatureTable:
    """Encodes one value per id; ids whose value is ``None`` stay absent.

    Args:
        ids: The vocabulary.
        values: A value per id, in row order ``(len(ids),)``.
        encoder: What turns the values into vectors.
        name: What is encoded, for messages.

    Raises:
        UnreadableError: If values cannot be read, by their positions among those present.
        ValueError: If no value is present, or the encoder returns another number of vectors.
    """
    rows = np.array([row for row, value in enumerate(values) if value is not None], np.int64)
    if not len(rows):
        raise ValueError(f"expected values in column {name!r} of the catalogue, got none")
    vectors = np.asarray(encoder.encode([values[row] for row in rows]), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(rows):
        raise ValueError(f"expected {len(rows)} vectors from {encoder.name}, got an array of shape {vectors.shape}")
    return FeatureTable(ids, rows, vectors, source=encoder.name, space=getattr(encoder, "space", None))
