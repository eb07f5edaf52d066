"""Feature tables: vectors aligned to the rows of a vocabulary, with a mask for what is absent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """One modality's vectors, compact: a row for each id that has the modality, none for the others.

    Args:
        ids: The vocabulary the table is aligned to.
        rows: The vocabulary rows that have this modality ``(num_present,)``, ascending.
        values: Their vectors ``(num_present, dim)``, float32.
        source: How the vectors were made, e.g. an encoder's name with its settings; part of the fingerprint.
        space: Names the vector space, if others share it: tables of equal ``space`` are comparable, as CLIP's two.
        unreadable: Why values that were there have no vector, by vocabulary row.
        recipe: A hash of what the vectors were made from and how, where that is known; the fingerprint then depends on
            it instead of the vectors, whose last bits vary with batches and devices.
    """

    ids: Ids
    rows: NDArray[np.int64] = field(repr=False)
    values: NDArray[np.float32] = field(repr=False)
    source: str = "given"
    space: str | None = None
    unreadable: Mapping[int, str] = field(default_factory=dict, repr=False)
    recipe: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != len(self.rows):
            raise ValueError(f"expected {len(self.rows)} feature rows, got an array of shape {self.values.shape}")
        if (np.diff(self.rows) <= 0).any():
            raise ValueError("expected ascending, unique rows; use FeatureTable.align for vectors in any order")
        bad = np.flatnonzero(~np.isfinite(self.values).all(axis=1))
        if len(bad):
            names = ", ".join(repr(name) for name in self.ids.ids(self.rows[bad[:5]]).tolist())
            raise ValueError(
                f"expected finite features, got NaN or infinity in {len(bad)} row(s) of {self.source!r}, "
                f"ids: {names}; mend them, or leave these ids out to mark them as absent"
            )

    @classmethod
    def align(cls, vectors: Vectors, ids: Ids, *, source: str = "given") -> FeatureTable:
        """Aligns vectors to a vocabulary by id; ids without a vector become absent.

        Raises:
            ValueError: If there are vectors for unknown ids, or values that are not finite.
        """
        rows = ids.find(vectors.ids.index)
        if (rows < 0).any():
            unknown = vectors.ids.index[rows < 0]
            names = ", ".join(repr(name) for name in unknown[:5])
            raise ValueError(
                f"expected features of the {len(ids)} {ids.name}s at most, got {len(vectors.ids)} rows of {source!r} "
                f"with {len(unknown)} unknown ids: {names}"
            )
        order = np.argsort(rows)
        return cls(ids, rows[order], np.ascontiguousarray(vectors.values[order], dtype=np.float32), source)

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self.values.shape[1])

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which rows of the vocabulary have this modality ``(len(ids),)``."""
        mask = np.zeros(len(self.ids), dtype=bool)
        mask[self.rows] = True
        return mask

    def dense(self, fill: float = 0.0) -> NDArray[np.float32]:
        """Returns one row per id ``(len(ids), dim)``, absent ones filled; for models without a graph."""
        full = np.full((len(self.ids), self.dim), fill, dtype=np.float32)
        full[self.rows] = self.values
        return full

    def fingerprint(self) -> str:
        """Returns a hash of the vectors, or of their recipe where there is one, their ids and their source."""
        digest = hashlib.sha256(f"{self.source} {self.ids.fingerprint()}".encode())
        digest.update(self.rows.tobytes())
        digest.update(np.ascontiguousarray(self.values).tobytes() if self.recipe is None else self.recipe.encode())
        return digest.hexdigest()[:16]
