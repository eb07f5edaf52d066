"""What a caller knows about items or users, in the forms callers have it: vectors, texts and paths keyed by id."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graphrec.config import ConfigError, unknown_name
from graphrec.data.catalog import Catalog, check_modalities
from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids
from graphrec.runtime import logger

log = logger(__name__)
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
        ValueError: If a name is none for a modality, an array cannot be aligned, a column is not numeric, vectors
            differ in length, ids repeat, or none of a modality's ids is among the ids of the interactions.
    """
    check_modalities(features or {})
    columns = {} if attributes is None else {str(name): attributes[name] for name in attributes.columns}
    vectors: dict[str, Vectors] = {}
    for name, value in (features or {}).items():
        found = _interpret(name, value, ids)
        _check_known(name, found.ids.index if isinstance(found, Vectors) else found.index, ids)
        if isinstance(found, Vectors):
            vectors[name] = found
        else:
            columns[name] = found
    return Content(vectors, columns)


def from_columns(features: Mapping[str, Any] | None, frame: pd.DataFrame, key: str) -> dict[str, Any]:
    """Replaces names of columns by what the columns say per id: the first value that is neither missing nor empty.

    Args:
        features: As for ``gather``, or the name of a column of the frame.
        frame: The interactions.
        key: The column of the ids.

    Raises:
        ConfigError: If there is no such column.
        ValueError: If an id has two different values.
    """
    return {
        name: _column(frame, value, key) if isinstance(value, str) else value
        for name, value in (features or {}).items()
    }


def _column(frame: pd.DataFrame, column: str, key: str) -> pd.Series:
    if column not in frame.columns:
        raise ConfigError(unknown_name(column, map(str, frame.columns), kind="column"))
    values = frame[column].astype(object).set_axis(pd.Index(frame[key], tupleize_cols=False))
    values = values[values.notna() & ~values.map(_is_blank).astype(bool)]
    pairs = pd.DataFrame({"id": values.index, "value": values.map(_hashable).to_numpy(dtype=object)}).drop_duplicates()
    twice = pairs[pairs["id"].duplicated(keep=False)]
    if len(twice):
        first = twice.iloc[0]["id"]
        raise ValueError(
            f"expected one value of the column {column!r} for every {key}, got several for {first!r}; "
            "give the features as a mapping from id to value"
        )
    return values[~values.index.duplicated()]


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _hashable(value: Any) -> Hashable:
    return value if isinstance(value, Hashable) else tuple(np.ravel(value).tolist())


def _check_known(name: str, index: pd.Index, ids: Ids) -> None:
    new = index[ids.find(index) < 0]
    if len(ids) and len(index) and len(new) == len(index):
        raise ValueError(
            f"expected features[{name!r}] of the {ids.name}s, got {len(index)} rows whose ids match none of the "
            f"{len(ids)} {ids.name}s: {_example(index)} against {_example(ids.index)}"
        )
    if len(new):
        log.info("features[%r]: %d of %d ids are new %ss", name, len(new), len(index), ids.name)


def _example(index: pd.Index) -> str:
    first = index.tolist()[0]
    return f"{first!r} ({type(first).__name__})"


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
    if type(present.iloc[0]).__module__.partition(".")[0] == "PIL":
        raise TypeError(f"expected paths of pictures in features[{name!r}], got PIL images; save them, and give paths")
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
