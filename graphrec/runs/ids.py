"""External ids of any common type as Parquet columns, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from graphrec.data.interactions import Ids

if TYPE_CHECKING:
    import pyarrow as pa


class Coded(NamedTuple):
    """Ids as plain integers (``int``), texts (``str``), or texts that name the type of each (``json``)."""

    kind: str
    values: list[int] | list[str]


_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "int": int,
    "str": str,
    "float": float,
    "bool": bool,
    "bytes": bytes.fromhex,
    "timestamp": pd.Timestamp,
    "tuple": lambda parts: tuple(_untagged(part) for part in parts),
}


def encode(values: Sequence[Any]) -> Coded:
    """Encodes ids.

    >>> encode(["b", "a"]), encode([(1, "x")])
    (Coded(kind='str', values=['b', 'a']), Coded(kind='json', values=['["tuple", [["int", 1], ["str", "x"]]]']))

    Raises:
        ValueError: If an id has a type that cannot be written without a pickle.
    """
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if all(type(value) is int and -(2**63) <= value < 2**63 for value in plain):
        return Coded("int", plain)
    if all(type(value) is str for value in plain):
        return Coded("str", plain)
    return Coded("json", [json.dumps(_tagged(value), ensure_ascii=False) for value in plain])


def decode(coded: Coded) -> list[Any]:
    """Returns the ids that ``encode`` was given."""
    return [_untagged(json.loads(str(value))) for value in coded.values] if coded.kind == "json" else list(coded.values)


def to_table(ids: Ids) -> pa.Table:
    """Returns a table with the ids in column ``id`` and their kind in its metadata.

    Raises:
        ValueError: If the ids would not come back as they are.
    """
    import pyarrow as pa

    coded = encode(ids.index.tolist())
    if Ids(decode(coded), name=ids.name) != ids:
        raise ValueError(f"expected {ids.name} ids that can be written to a file, got {ids.index.dtype}; make them str")
    column = pa.array(coded.values, pa.int64() if coded.kind == "int" else pa.string())
    return pa.table({"id": column}, metadata={"kind": coded.kind, "name": ids.name})


def from_table(table: pa.Table) -> Ids:
    """Returns the ids of a table made by ``to_table``."""
    metadata = table.schema.metadata
    coded = Coded(metadata[b"kind"].decode(), table.column("id").to_pylist())
    return Ids(decode(coded), name=metadata[b"name"].decode())


def _tagged(value: Any) -> list[Any]:
    if isinstance(value, pd.Timestamp):
        return ["timestamp", value.isoformat()]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, tuple):
        return ["tuple", [_tagged(part) for part in value]]
    if type(value) in (int, str, float, bool):
        return [type(value).__name__, value]
    raise ValueError(
        f"expected ids that are numbers, texts, dates, bytes or tuples of them, got {value!r} of type "
        f"{type(value).__name__}; turn the ids into texts"
    )


def _untagged(tagged: list[Any]) -> Any:
    kind, value = tagged
    return _DECODERS[kind](value)
