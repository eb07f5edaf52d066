"""Files as they lie in a folder: read with an error that says what was expected, and written whole or not at all."""

from __future__ import annotations

import contextlib
import html
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from graphrec.config import Config, ConfigError

PLAIN_INTEGER = r"0|-?[1-9][0-9]{0,17}"  # what int64 holds and writes back as it was


class ReaderOptions(Config):
    """What a reader needs to know about a folder."""

    def choose(self, features: Sequence[str]) -> Self:
        """Returns the options that read exactly these modalities' vectors.

        Raises:
            ConfigError: If there are no vectors of that name.
        """
        if features:
            raise ConfigError(f"expected no features={list(features)}: this data set has no feature vectors")
        return self


def require_file(path: Path) -> Path:
    """Returns the path of an existing file.

    Raises:
        FileNotFoundError: If there is none; the message lists what the folder holds.
    """
    if path.is_file():
        return path
    if not path.parent.is_dir():
        raise FileNotFoundError(f"expected the file {path.name!r}, but there is no folder {str(path.parent)!r}")
    present = ", ".join(sorted(entry.name for entry in path.parent.iterdir())[:12]) or "nothing"
    raise FileNotFoundError(f"expected the file {path.name!r} in {str(path.parent)!r}, found {present}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what a library says about a file that it cannot read into one error that names the file.

    Raises:
        ValueError: If the file is empty, cut off, not of its format, or holds pickled objects.
    """
    try:
        yield
    except (ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        pickled = "pickle" in str(error)  # numpy says so of all that it does not know, and suggests to unpickle it
        reason = "it holds no plain NumPy array (pickled objects are never read)" if pickled else str(error)
        raise ValueError(f"cannot read {path}: {reason}") from None


def read_columns(
    path: Path,
    columns: Sequence[str],
    *,
    separator: str = ",",
    names: Sequence[str] | None = None,
    ids: Sequence[str] = (),
) -> pd.DataFrame:
    """Reads a delimited text file and checks that it has the columns.

    Args:
        path: The file.
        columns: The columns that must be there; others stay.
        separator: Between columns.
        names: The column names of a file without a header, which is then read as Latin-1, as MovieLens is written.
        ids: The columns of ids of a file with a header, whose values keep their form: ``NA`` and ``001`` are strings,
            only what is empty is missing, and a column is one of integers only if every value is written as one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read or a column is missing.
    """
    header: int | None = 0 if names is None else None
    encoding = "utf-8" if names is None else "latin-1"
    with reading(require_file(path)):
        frame = pd.read_csv(
            path,
            sep=separator,
            header=header,
            names=None if names is None else list(names),
            encoding=encoding,
        )
    frame = require_columns(frame, columns, path)
    return frame.assign(**_read_ids(path, ids, separator)) if ids else frame


def read_parquet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Reads a Parquet file and checks that it has the columns; others stay.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read or a column is missing.
    """
    with reading(require_file(path)):
        frame = pd.read_parquet(path)
    return require_columns(frame, columns, path)


def _read_ids(path: Path, columns: Sequence[str], separator: str) -> dict[str, pd.Series]:
    with reading(path):  # a second time: pandas turns off its names for missing values only for a whole file
        texts = pd.read_csv(path, sep=separator, usecols=list(columns), dtype="str", na_filter=False)
    return {column: _parse_ids(texts[column]) for column in columns}


def _parse_ids(column: pd.Series) -> pd.Series:
    if len(column) and pd.Series(column.unique()).str.fullmatch(PLAIN_INTEGER).all():
        return column.astype(np.int64)
    return column.where(column != "")


def require_columns(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Returns the frame read from a path if it has the columns.

    Raises:
        ValueError: If a column is missing.
    """
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise ValueError(
            f"expected the columns {list(columns)} in {path}, missing {absent}; its columns are {list(frame.columns)}"
        )
    return frame


def load_array(path: Path) -> NDArray[Any]:
    """Reads a two-dimensional array of numbers from a ``.npy`` file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else.
    """
    with reading(require_file(path)):
        values = np.load(path, allow_pickle=False)
    if not isinstance(values, np.ndarray):
        raise ValueError(f"cannot read {path}: expected one array, got an archive")
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ValueError(
            f"expected feature rows (num_items, dim) of numbers in {path}, got {values.dtype} {values.shape}"
        )
    return np.asarray(values)


def load_graph(path: Path) -> sp.csr_array:
    """Reads an item–item graph from an ``.npz`` file of SciPy.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not square or has weights that are not finite.
    """
    with reading(require_file(path)):
        matrix = sp.csr_array(sp.load_npz(path))
    if matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix.data).all():
        raise ValueError(f"expected a square kNN graph with finite weights in {path}, got shape {matrix.shape}")
    return matrix


def join_texts(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Returns the texts of the columns joined line by line, HTML entities decoded, empty parts left out."""
    texts = frame[list(columns)].fillna("").astype(str).to_numpy(dtype=object)
    parts = ([html.unescape(text).strip() for text in row] for row in texts)
    return pd.Series(["\n".join(filter(None, row)) for row in parts], index=frame.index, dtype=object)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically; after a full disk or an interruption the previous content is still there.

    Raises:
        OSError: If the file cannot be written; nothing is left behind.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        message = f"cannot write {path}: {error.strerror or error}; what was there before is unchanged"
        raise OSError(error.errno, message) from error


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")
