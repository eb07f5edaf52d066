"""What an item and a user are: text, pictures, sounds and attributes, with absence explicit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graphrec.data.interactions import Ids

MODALITY_NAME = re.compile(r"[A-Za-z0-9_-]+")
RESERVED_NAMES = frozenset(  # names of nodes, of edges, and in torch's and PyG's containers
    ("user", "item", "interacts", "co_consumed", "co_user", "behavior", "type", "pop", "keys", "values", "items", "x")
)


@dataclass(frozen=True, eq=False)
class Catalog:
    """The content of every item (or user), one row per id; an absent value is missing, never empty.

    Args:
        ids: The ids, in row order.
        frame: One row per id, in the same order; a column per modality or attribute, such as ``text``,
            ``image`` (a path), ``audio`` (a path), ``age``. Absent values are NA.
    """

    ids: Ids
    frame: pd.DataFrame = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.frame) != len(self.ids):
            raise ValueError(f"expected {len(self.ids)} catalogue rows, got {len(self.frame)}")

    @classmethod
    def empty(cls, ids: Ids) -> Catalog:
        """Returns a catalogue that knows nothing but the ids."""
        return cls(ids, pd.DataFrame(index=range(len(ids))))

    @classmethod
    def from_columns(cls, ids: Ids, columns: Mapping[str, Mapping[Any, Any] | pd.Series]) -> Catalog:
        """Aligns columns keyed by id; ids that a column lacks, and empty strings, become absent.

        Raises:
            KeyError: If a column holds an id that is not in the vocabulary.
            ValueError: If a column holds an id twice.
        """
        aligned = {}
        for name, column in columns.items():
            series = column if isinstance(column, pd.Series) else _series(column)
            if not series.index.is_unique:
                twice = series.index[series.index.duplicated()][:3].tolist()
                raise ValueError(f"expected one value per {ids.name} in column {name!r}, got more for {twice}")
            ids.rows(series.index)
            values = series.reindex(ids.index).astype(object)
            blank = values.map(lambda value: isinstance(value, str) and not value.strip()).astype(bool)
            aligned[name] = values.mask(blank | values.isna().astype(bool), None).reset_index(drop=True)
        return cls(ids, pd.DataFrame(aligned, index=range(len(ids))))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(map(str, self.frame.columns))

    def present(self, column: str) -> NDArray[np.bool_]:
        """Returns which rows have a value in the column ``(num_rows,)``."""
        return self._column(column).notna().to_numpy(dtype=bool)

    def values(self, column: str) -> list[Any]:
        """Returns the values of the column in row order, ``None`` where absent."""
        return [
            None if absent else value for value, absent in zip(self._column(column), ~self.present(column), strict=True)
        ]

    def missing_files(self, column: str, root: Path | None = None) -> list[Any]:
        """Returns the ids whose path in the column names no file."""
        paths = self.values(column)
        bad = [row for row, path in enumerate(paths) if path is not None and not ((root or Path()) / path).is_file()]
        return list(self.ids.ids(bad)) if bad else []

    def _column(self, column: str) -> pd.Series:
        if column not in self.frame:
            raise KeyError(f"no column {column!r} in the catalogue; the columns are {list(self.columns)}")
        return self.frame[column]


def _series(values: Mapping[Any, Any]) -> pd.Series:
    return pd.Series(list(values.values()), index=pd.Index(list(values), tupleize_cols=False), dtype=object)


def check_modalities(names: Iterable[str]) -> None:
    """Checks that names can stand for modalities.

    Raises:
        ValueError: If a name is reserved or has other characters than letters, digits, ``_`` and ``-``.
    """
    for name in names:
        if not isinstance(name, str) or not MODALITY_NAME.fullmatch(name) or name in RESERVED_NAMES:
            raise ValueError(
                "expected a modality name of letters, digits, '_' and '-' "
                f"other than {', '.join(sorted(RESERVED_NAMES))}, got {name!r}; choose another name"
            )
