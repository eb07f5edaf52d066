"""Writing files whole or not at all, and reading them with errors that help. Never a pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.data.files import write_bytes, write_text

if TYPE_CHECKING:
    import pyarrow as pa


class RunFolderError(ValueError):
    """A folder that holds no run, a damaged one, or one of another version."""


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes one JSON object per line, atomically."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Appends one JSON object to a file of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def write_parquet(path: Path, table: pa.Table) -> None:
    """Writes a Parquet file atomically."""
    import pyarrow as pa
    from pyarrow import parquet

    buffer = pa.BufferOutputStream()
    parquet.write_table(table, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue().to_pybytes())


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file whose top level is a mapping.

    Raises:
        RunFolderError: If the file is missing or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(values, dict):
        raise _damaged(path, f"expected a mapping, got {type(values).__name__}")
    return values


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a file of JSON lines; an empty list where there is none.

    Raises:
        RunFolderError: If a line is damaged.
    """
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def read_parquet(path: Path) -> pa.Table:
    """Reads a Parquet file.

    Raises:
        RunFolderError: If the file is missing or damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def share(source: Path, target: Path) -> None:
    """Makes ``target`` the same file as ``source``: a hard link where the disk allows it, else a copy.

    Files of run folders are only ever replaced, never changed in place, so a link stays what it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)
    partial.replace(target)


def _damaged(path: Path, error: object) -> RunFolderError:
    return RunFolderError(f"cannot read {path}: {error}; the run folder is incomplete or damaged")
