"""A prepared data set: Parquet tables and vectors by id, written whole and read back as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graphrec.config import ConfigError, unknown_name
from graphrec.data.catalog import Catalog
from graphrec.data.content import PATH_MODALITIES
from graphrec.data.dataset import Dataset, Split, Vectors
from graphrec.data.files import ReaderOptions, load_array, load_graph, read_parquet, reading, require_file
from graphrec.data.interactions import Ids, Interactions
from graphrec.data.splits import given

if TYPE_CHECKING:
    import pyarrow as pa

INTERACTIONS, ITEMS, USERS = "interactions.parquet", "items.parquet", "users.parquet"
KEYS = ("user", "item")
USER_PREFIX = "user_"


class PreparedOptions(ReaderOptions):
    """A folder that ``prepare`` wrote.

    Args:
        vectors: Modalities of items with vectors in ``<modality>.npy``, ids in ``<modality>.ids.parquet``.
        user_vectors: The same of users, in ``user_<modality>.npy``.
        neighbors: Modalities with a kNN graph in ``<modality>.neighbors.npz``.
        notes: Labels that tables must show.
    """

    kind: Literal["prepared"] = "prepared"
    vectors: tuple[str, ...] = ()
    user_vectors: tuple[str, ...] = ()
    neighbors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def choose(self, features: Sequence[str]) -> Self:
        """Returns the options that read exactly these modalities' vectors."""
        for name in features:
            if name not in self.vectors:
                raise ConfigError(unknown_name(name, self.vectors, kind="features"))
        return self.model_copy(update={"vectors": tuple(features)})


def write_prepared(folder: Path, data: Dataset, *, rating: pd.DataFrame | None = None) -> PreparedOptions:
    """Writes a data set into a folder.

    ``interactions.parquet`` has ``user``, ``item``, ``split`` (0 train, 1 valid, 2 test) and, where there are some,
    ``weight``, ``time`` and ``rating``; ``items.parquet`` and ``users.parquet`` have all ids in row order and what is
    known about them, paths being relative to the folder that the folder of the data set is or becomes.

    Args:
        folder: An existing folder.
        data: The data set.
        rating: The ratings behind the interactions, with the columns ``user``, ``item`` and ``rating``, for those who
            want them; of several for a pair the last is written, and the reader leaves them where they are.

    Raises:
        ValueError: If ids are neither all integers nor all texts.
    """
    _write(folder / INTERACTIONS, _interactions_table(data, rating))
    _write(folder / ITEMS, _catalog_table(data.items, "item"))
    _write(folder / USERS, _catalog_table(data.people, "user"))
    for name, entry in data.vectors.items():
        _write_vectors(folder, name, entry, "item")
    for name, entry in data.user_vectors.items():
        _write_vectors(folder, USER_PREFIX + name, entry, "user")
    _write_graphs(folder, data)
    return PreparedOptions(
        vectors=tuple(data.vectors),
        user_vectors=tuple(data.user_vectors),
        neighbors=tuple(data.neighbors),
        notes=data.notes,
    )


def read_prepared(folder: str | Path, options: PreparedOptions | None = None, *, name: str | None = None) -> Dataset:
    """Reads what ``write_prepared`` wrote: the same ids, split, catalogues and vectors.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or the tables do not fit together.
    """
    folder, options = Path(folder), options or PreparedOptions()
    items, people = (_read_catalog(folder / file, kind, folder) for file, kind in ((ITEMS, "item"), (USERS, "user")))
    train, valid, test = _read_parts(folder / INTERACTIONS, people.ids, items.ids)
    return Dataset(
        name=name or folder.name,
        split=Split(train, valid),
        test=test,
        items=items,
        people=people,
        vectors={key: _read_vectors(folder, key, "item") for key in options.vectors},
        user_vectors={key: _read_vectors(folder, USER_PREFIX + key, "user") for key in options.user_vectors},
        neighbors={key: load_graph(folder / f"{key}.neighbors.npz") for key in options.neighbors},
        notes=options.notes,
    )


def _interactions_table(data: Dataset, rating: pd.DataFrame | None) -> pa.Table:
    import pyarrow as pa

    parts = (data.split.train, data.split.valid, data.test)
    rows = {key: np.concatenate([getattr(part, key) for part in parts]) for key in KEYS}
    columns: dict[str, Any] = {
        key: _id_array(ids.index.tolist(), key).take(pa.array(rows[key]))
        for key, ids in zip(KEYS, (data.split.users, data.split.items), strict=True)
    }
    columns["split"] = np.repeat(np.arange(len(parts), dtype=np.int8), [len(part) for part in parts])
    times = [part.time for part in parts if part.time is not None]
    if len(times) == len(parts):
        columns["time"] = np.concatenate(times)
    if any(part.weight is not None for part in parts):
        columns["weight"] = np.concatenate([_weight(part) for part in parts])
    if rating is not None:
        columns["rating"] = _known_ratings(rating, data, rows["user"] * data.num_items + rows["item"])
    return _table(columns)


def _weight(part: Interactions) -> NDArray[np.float32]:
    return np.full(len(part), np.nan, np.float32) if part.weight is None else part.weight


def _known_ratings(rating: pd.DataFrame, data: Dataset, pairs: NDArray[np.int64]) -> NDArray[Any]:
    """Returns the last rating of every pair."""
    user, item = data.split.users.find(rating["user"]), data.split.items.find(rating["item"])
    known = np.flatnonzero((user >= 0) & (item >= 0))
    of_pair = pd.Series(rating["rating"].to_numpy()[known], index=user[known] * data.num_items + item[known])
    return of_pair[~of_pair.index.duplicated(keep="last")].reindex(pairs).to_numpy()


def _catalog_table(catalog: Catalog, kind: str) -> pa.Table:
    columns: dict[str, Any] = {kind: _id_array(catalog.ids.index.tolist(), kind)}
    for name in catalog.columns:
        if name == kind:
            raise ValueError(f"expected no catalogue column {name!r}: it is the name of the id; choose another one")
        columns[name] = _values_array(catalog.values(name))
    return _table(columns)


def _values_array(values: list[Any]) -> pa.Array:
    """Returns the values as a column; those of mixed types, and paths, as texts."""
    import pyarrow as pa

    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    try:
        return pa.array([value.as_posix() if isinstance(value, Path) else value for value in plain])
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([None if value is None else str(value) for value in plain])


def _id_array(values: list[Any], kind: str) -> pa.Array:
    import pyarrow as pa

    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    types = {type(value) for value in values}
    if types <= {int}:
        return pa.array(values, pa.int64())
    if types <= {str}:
        return pa.array(values, pa.string())
    names = sorted(found.__name__ for found in types)
    raise ValueError(f"expected {kind} ids that are all integers or all texts, got {', '.join(names)}; make them texts")


def _write_vectors(folder: Path, name: str, entry: Vectors, kind: str) -> None:
    np.save(folder / f"{name}.npy", entry.values, allow_pickle=False)
    _write(folder / f"{name}.ids.parquet", _table({kind: _id_array(entry.ids.index.tolist(), kind)}))


def _write_graphs(folder: Path, data: Dataset) -> None:
    import scipy.sparse as sp

    for name, graph in data.neighbors.items():
        sp.save_npz(folder / f"{name}.neighbors.npz", graph)


def _read_vectors(folder: Path, name: str, kind: str) -> Vectors:
    ids = read_parquet(folder / f"{name}.ids.parquet", [kind])[kind]
    return Vectors(Ids(ids, name=kind), load_array(folder / f"{name}.npy"))


def _read_catalog(path: Path, kind: str, folder: Path) -> Catalog:
    from pyarrow import parquet

    with reading(require_file(path)):
        table = parquet.ParquetFile(path).read()
        values = {name: table.column(name).to_pylist() for name in table.column_names}
        ids = Ids(values.pop(kind), name=kind)
    columns = {name: pd.Series(_content(name, column, folder), dtype=object) for name, column in values.items()}
    return Catalog(ids, pd.DataFrame(columns, index=range(len(ids))))


def _content(name: str, values: list[Any], folder: Path) -> list[Any]:
    if name not in PATH_MODALITIES:
        return values
    return [None if value is None else folder / str(value) for value in values]


def _read_parts(path: Path, users: Ids, items: Ids) -> list[Interactions]:
    from pyarrow import parquet

    with reading(require_file(path)):
        table = parquet.ParquetFile(path, read_dictionary=list(KEYS)).read()
        user, item = (_rows(table.column(key), ids) for key, ids in zip(KEYS, (users, items), strict=True))
        rest = table.drop_columns(list(KEYS)).to_pandas()
        time = None if "time" not in rest else rest["time"].to_numpy()
        split, test = given(Interactions(user, item, users, items, time=time), rest["split"])
    parts = (split.train, split.valid, test)
    if "weight" not in rest:
        return list(parts)
    return [_weighted(part, rest["weight"][rest["split"] == code]) for code, part in enumerate(parts)]


def _rows(column: pa.ChunkedArray, ids: Ids) -> NDArray[np.int64]:
    """Returns the rows of ids, each different one being looked up once."""
    import pyarrow as pa

    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    whole = coded.unify_dictionaries().combine_chunks()
    return ids.rows(whole.dictionary.to_pylist())[whole.indices.to_numpy(zero_copy_only=False)]


def _weighted(part: Interactions, weight: pd.Series) -> Interactions:
    return replace(part, weight=weight.to_numpy(dtype=np.float32)) if weight.notna().all() else part


def _table(columns: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    return pa.table(dict(columns))


def _write(path: Path, table: pa.Table) -> None:
    from pyarrow import parquet

    parquet.write_table(table, path, compression="zstd")
