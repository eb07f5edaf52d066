"""What a caller knows about items or users, in the forms callers have it: vectors, texts and paths keyed by id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids

PATH_MODALITIES = ("image", "audio", "video")
FORMS = "Vectors, a mapping or Series from id to vector or text, or a DataFrame of numbers indexed by id"


@dataclass(frozen=True, eq=False)
class Content:
    """Vectors and catalogue columns by modality, each with ids of its own, not yet aligned to a vocabulary."""

    vectors: dict[str, Vectors] = field(default_factory=dict)
    columns: dict[str, pd.Series] = field(default_factory=dict)

    def extend(self, ids: Ids) -> Ids:
        """Returns the vocabulary with the ids that only the content knows; sorted anew where there are any."""
        extra = [index[ids.find(index) < 0] for index in self._indices()]
        union = ids.index.append([index for index in extra if len(index)])
        return ids if len(union) == len(ids) else Ids.from_values(union, name=ids.name)

    def without(self, gone: pd.Index) -> Content:
        """Returns the content of all other ids."""
        if not len(gone):
            return self
        vectors = {name: _take(entry, ~entry.ids.index.isin(gone)) for name, entry in self.vectors.items()}
        return Content(vectors, {name: column[~column.index.isin(gone)] for name, column in self.columns.items()})

    def catalog(self, ids: Ids) -> Catalog:
        """Returns the columns as a catalogue of these ids."""
        return Catalog.from_columns(ids, self.columns)

    def _indices(self) -> list[pd.Index]:
        return [entry.ids.index for entry in self.vectors.values()] + [column.index for column in self.columns.values()]


def gather(features: Mapping[str, Any] | None, attributes: pd.DataFrame | None, ids: Ids) -> Content:
    """Sorts out what a caller knows about items or users.

    Args:
        features: By modality: vectors (``Vectors``, a mapping or Series from id to vector, a DataFrame of numbers
            indexed by id) or raw content to be encoded later (a mapping or Series from id to text or path). An array
            is taken only where the ids are 0 … n-1 and it has n rows, since nothing else says which row is whose.
        attributes: Further catalogue columns, a DataFrame indexed by id.
        ids: The ids of the interactions.

    Raises:
        TypeError: If a value has none of these forms.
        ValueError: If an array cannot be aligned, a column is not numeric, vectors differ in length, or ids repeat.
    """
    columns = {} if attributes is None else {str(name): attributes[name] for name in attributes.columns}
    vectors: dict[str, Vectors] = {}
    for name, value in (features or {}).items():
        found = _interpret(name, value, ids)
        if isinstance(found, Vectors):
            vectors[name] = found
        else:
            columns[name] = found
    return Content(vectors, columns)


def _interpret(name: str, value: Any, ids: Ids) -> Vectors | pd.Series:
    if isinstance(value, Vectors):
        return value
    if isinstance(value, pd.DataFrame):
        return _from_frame(name, value, ids.name)
    if isinstance(value, np.ndarray):
        return _from_array(name, value, ids)
    if isinstance(value, Mapping):
        index = pd.Index(list(value), tupleize_cols=False)
        return _from_series(name, pd.Series(list(value.values()), index=index, dtype=object), ids.name)
    if isinstance(value, pd.Series):
        return _from_series(name, value, ids.name)
    raise TypeError(f"expected {FORMS} for features[{name!r}], got {type(value).__name__}")


def _from_frame(name: str, frame: pd.DataFrame, kind: str) -> Vectors:
    other = [column for column in frame.columns if not pd.api.types.is_numeric_dtype(frame[column])]
    if other:
        raise ValueError(f"expected numbers in features[{name!r}], got other values in {other}; give texts as a Series")
    return Vectors(Ids(frame.index, name=kind), frame.to_numpy(dtype=np.float32))


def _from_array(name: str, values: NDArray[Any], ids: Ids) -> Vectors:
    if values.ndim != 2 or len(values) != len(ids) or not ids.index.equals(pd.RangeIndex(len(ids))):
        raise ValueError(
            f"expected {FORMS} for features[{name!r}], got an array of shape {values.shape}: nothing says which row "
            f"belongs to which of the {len(ids)} {ids.name}s; give the ids too, as Vectors(Ids(ids), array)"
        )
    return Vectors(ids, values)


def _from_series(name: str, series: pd.Series, kind: str) -> Vectors | pd.Series:
    present = series[series.notna()]
    if not len(present):
        raise ValueError(f"expected values in features[{name!r}], got none")
    if isinstance(present.iloc[0], str | Path):
        return series.map(_as_path, na_action="ignore") if name in PATH_MODALITIES else series
    return Vectors(Ids(present.index, name=kind), _stack(name, present))


def _stack(name: str, series: pd.Series) -> NDArray[np.float32]:
    try:
        return np.stack([np.asarray(vector, dtype=np.float32).reshape(-1) for vector in series])
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected vectors of one length in features[{name!r}]: {error}") from None


def _as_path(value: str | Path) -> Path | None:
    return Path(value) if str(value).strip() else None


def _take(vectors: Vectors, chosen: NDArray[np.bool_]) -> Vectors:
    return Vectors(Ids(vectors.ids.index[chosen], name=vectors.ids.name), vectors.values[chosen])
