"""What turns raw content into vectors: encoders that learn from a catalogue, and pretrained towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from graphrec.data.interactions import Ids
from graphrec.features.table import FeatureTable

Kind = Literal["text", "image", "audio", "video"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class UnreadableError(ValueError):
    """Some values cannot be encoded, such as broken pictures; the others can.

    Args:
        reasons: What is wrong with the value, by its position among the values given.
        advice: What to do about it.
    """

    def __init__(self, reasons: Mapping[int, str], *, advice: str = "") -> None:
        self.reasons = dict(reasons)
        shown = "; ".join(list(self.reasons.values())[:3])
        more = f"; and {len(self.reasons) - 3} more" if len(self.reasons) > 3 else ""
        then = f"; {advice}" if advice else ""
        super().__init__(f"expected readable values, got {len(self.reasons)} that cannot be read: {shown}{more}{then}")


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


@dataclass(frozen=True)
class Encoded:
    """The vectors of values.

    Args:
        vectors: One per value ``(num_values, dim)``; zero where there is none.
        failed: Why a value has none, by its position.
        recipe: A hash of what the vectors are made from and how, where that is known: unlike the vectors themselves it
            does not depend on the batches and the device, which change the last bits.
    """

    vectors: NDArray[np.float32]
    failed: Mapping[int, str]
    recipe: str | None = None

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which values have a vector ``(num_values,)``."""
        mask = np.ones(len(self.vectors), bool)
        mask[list(self.failed)] = False
        return mask


def encode_values(
    ids: Ids, values: Sequence[Any], encoder: Encoder, *, name: str, strict: bool = False
) -> FeatureTable:
    """Encodes one value per id; ids whose value is ``None`` stay absent, and so do those that cannot be read.

    Args:
        ids: The vocabulary.
        values: A value per id, in row order ``(len(ids),)``.
        encoder: What turns the values into vectors.
        name: What is encoded, for messages.
        strict: Whether a value that cannot be read raises; otherwise ``FeatureTable.unreadable`` names it.

    Raises:
        UnreadableError: If no value can be read, or one cannot and ``strict`` is set; it names the ids.
        ValueError: If no value is present, or the encoder returns another number of vectors.
    """
    rows = np.array([row for row, value in enumerate(values) if value is not None], np.int64)
    if not len(rows):
        raise ValueError(f"expected values in column {name!r} of the catalogue, got none")
    found = encode_readable(encoder, [values[row] for row in rows])
    bad = {int(rows[at]): reason for at, reason in found.failed.items()}
    if bad and (strict or len(bad) == len(rows)):
        named = {row: f"{ids.ids([row]).tolist()[0]!r}: {reason}" for row, reason in bad.items()}
        raise UnreadableError(
            named, advice="" if strict else f"to go on without {name!r}, leave it out of features.modalities"
        )
    kept = found.present
    return FeatureTable(
        ids,
        rows[kept],
        found.vectors[kept],
        source=encoder.name,
        space=getattr(encoder, "space", None),
        unreadable=bad,
        recipe=found.recipe,
    )


def encode_readable(encoder: Encoder, values: Sequence[Any]) -> Encoded:
    """Encodes the values that can be read, and says why others cannot.

    An encoder may have an ``encode_readable(values)`` of its own; another is asked again without the values it named.

    Raises:
        ValueError: If the encoder returns another number of vectors than values.
    """
    own = getattr(encoder, "encode_readable", None)
    if own is not None:
        return own(values)
    try:
        return Encoded(_vectors(encoder, values), {})
    except UnreadableError as error:
        failed = error.reasons
    kept = [at for at in range(len(values)) if at not in failed]
    some = _vectors(encoder, [values[at] for at in kept]) if kept else np.zeros((0, 0), np.float32)
    vectors = np.zeros((len(values), some.shape[1]), np.float32)
    vectors[kept] = some
    return Encoded(vectors, failed)


def _vectors(encoder: Encoder, values: Sequence[Any]) -> NDArray[np.float32]:
    vectors = np.asarray(encoder.encode(values), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(values):
        raise ValueError(f"expected {len(values)} vectors from {encoder.name}, got an array of shape {vectors.shape}")
    return vectors
