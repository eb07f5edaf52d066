"""Files as they lie in a folder: tables, arrays and graphs, each with an error that says what was expected."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from graphrec.config import Config, ConfigError


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


def read_columns(
    path: Path, columns: Sequence[str], *, separator: str = ",", names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Reads a delimited text file and checks that it has the columns.

    Args:
        path: The file.
        columns: The columns that must be there; others stay.
        separator: Between columns.
        names: The column names of a file without a header, which is then read as Latin-1, as MovieLens is written.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a column is missing.
    """
    header: int | None = 0 if names is None else None
    encoding = "utf-8" if names is None else "latin-1"
    frame = pd.read_csv(
        require_file(path),
        sep=separator,
        header=header,
        names=None if names is None else list(names),
        encoding=encoding,
    )
    return require_columns(frame, columns, path)


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
    values = np.load(require_file(path), allow_pickle=False)
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
    matrix = sp.csr_array(sp.load_npz(require_file(path)))
    if matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix.data).all():
        raise ValueError(f"expected a square kNN graph with finite weights in {path}, got shape {matrix.shape}")
    return matrix


def join_texts(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Returns the texts of the columns joined line by line, HTML entities decoded, empty parts left out."""
    texts = frame[list(columns)].fillna("").astype(str).to_numpy(dtype=object)
    parts = ([html.unescape(text).strip() for text in row] for row in texts)
    return pd.Series(["\n".join(filter(None, row)) for row in parts], index=frame.index, dtype=object)
