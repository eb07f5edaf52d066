"""Large text files read line by line: plain or gzip, bad lines counted by reason, memory bounded."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from graphrec.data.archive import safe_name
from graphrec.data.files import require_file
from graphrec.runtime import logger, working

log = logger(__name__)
LONGEST_LINE = 1 << 24  # bytes: the longest real lines (metadata with all their links) are below one megabyte
LONGEST_LITERAL = 1 << 20  # characters: parsing Python takes a hundred times as much memory
BATCH = 50_000  # rows: what is in memory as text at a time


class Skips:
    """Counts lines that could not be read by file and reason, and remembers the first of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._first: dict[str, int] = {}

    def add(self, path: Path, reason: str, line: int) -> None:
        """Counts one line."""
        key = f"{path.name}: {reason}"
        self.counts[key] = self.counts.get(key, 0) + 1
        self._first.setdefault(key, line)

    def report(self) -> dict[str, int]:
        """Logs a warning for every reason, with the number of the first line, and returns the counts."""
        for key, count in self.counts.items():
            where = f", the first at line {self._first[key]}" if self._first.get(key) else ""
            log.warning("%s: skipped %d%s", key, count, where)
        return dict(self.counts)


@dataclass(frozen=True)
class Form:
    """How the columns of a text file stand.

    Args:
        separator: Between columns; one character where fields may be quoted.
        quoted: Whether fields may stand in double quotes, as in CSV.
        encodings: Tried in this order for every line.
    """

    separator: str = ","
    quoted: bool = True
    encodings: tuple[str, ...] = ("utf-8",)


CSV = Form()
TSV = Form("\t", quoted=False)


@dataclass(frozen=True)
class Batch:
    """Rows of a table by column.

    Args:
        columns: The values of every column asked for, each ``(num_rows,)``; empty texts for a column that is not there.
        numbers: The line of every row.
    """

    columns: list[list[str]]
    numbers: list[int]

    def __iter__(self) -> Iterator[list[str]]:
        return iter(self.columns)


def find_file(folder: Path, name: str) -> Path:
    """Returns a raw file of that name, plain or as ``.gz``, in the folder or, unpacked, up to two below.

    Raises:
        FileNotFoundError: If there is none; the message lists what the folder holds.
        ValueError: If the name leaves the folder, or is in several folders below.
    """
    found = _find(folder, name)
    return require_file(folder / name) if found is None else found


def find_optional(folder: Path, name: str | None) -> Path | None:
    """Returns a raw file of that name as ``find_file``, or None where there is none."""
    return None if not name else _find(folder, name)


def read_lines(path: Path, skips: Skips, encodings: Sequence[str] = ("utf-8",)) -> Iterator[tuple[int, str]]:
    """Yields the lines of a plain or gzip file with their numbers, empty ones left out.

    Lines of more than 16 megabytes and lines of another encoding are skipped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a compressed file is cut off or broken.
    """
    number = 0
    with working(f"Reading {path.name}"), _open(require_file(path)) as stream:
        try:
            for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), start=1):
                if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    _drain(stream)
                    skips.add(path, "longer than 16 megabytes", number)
                    continue
                text = _decode(line, encodings)
                if text is None:
                    skips.add(path, f"not {' or '.join(encodings)}", number)
                elif text.strip("\r\n"):
                    yield number, text.removeprefix("\ufeff") if number == 1 else text
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"cannot read {path} after line {number}: {error}; get the file again") from None


def read_records(path: Path, skips: Skips) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the records of JSON lines, or of lines with a Python dictionary as in Amazon's metadata of 2014.

    A Python literal is parsed by ``ast.literal_eval``, never evaluated. Lines that hold neither are skipped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a compressed file is cut off or broken.
    """
    for number, line in read_lines(path, skips):
        record = _parse_record(line)
        if record is None:
            skips.add(path, "no JSON object", number)
        else:
            yield number, record


def read_batches(
    path: Path,
    columns: Sequence[str],
    skips: Skips,
    *,
    form: Form = CSV,
    names: Sequence[str] | None = None,
    optional: Sequence[str] = (),
) -> Iterator[Batch]:
    """Yields the rows of a table in batches of at most 50,000, every value a text as it is written.

    Rows with another number of columns than the header are skipped.

    Args:
        path: The file, plain or gzip.
        columns: The columns that are wanted, in this order.
        skips: Counts the rows that cannot be read.
        form: How the columns stand.
        names: The names of the columns, for a file without a header.
        optional: Those of the columns that may be missing.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty or a column is missing; the message says which columns there are.
    """
    rows = _rows(path, form, skips)
    if names is None:
        _, names = next(rows, (0, []))
        names = [name.strip() for name in names]
    missing = [column for column in columns if column not in names and column not in optional]
    if missing:
        raise ValueError(f"expected the columns {list(columns)} in {path}, missing {missing}; it has {_some(names)}")
    places = [names.index(column) if column in names else None for column in columns]
    yield from _batches(path, rows, places, len(names), skips)


def header(path: Path, form: Form = CSV) -> list[str]:
    """Returns the first row of a table; an empty list for an empty file."""
    return [name.strip() for name in next(_rows(path, form, Skips()), (0, []))[1]]


def first_known(names: Sequence[str], known: Sequence[str], path: Path) -> str:
    """Returns the first of the known names that the columns of a file have.

    Raises:
        ValueError: If there is none.
    """
    for name in known:
        if name in names:
            return name
    raise ValueError(f"expected one of the columns {list(known)} in {path}; it has {_some(names)}")


def _find(folder: Path, name: str) -> Path | None:
    safe_name(name)
    plain = name.removesuffix(".gz")
    for candidate in dict.fromkeys((name, plain, f"{plain}.gz")):
        if (folder / candidate).is_file():
            return folder / candidate
        below = [path for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{candidate}") if path.is_file()]
        if len(below) > 1:
            raise ValueError(
                f"expected one file {candidate!r} below {str(folder)!r}, got {_some(list(map(str, below)))}"
            )
        if below:
            return below[0]
    return None


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"  # what is in the file counts, not what it is called
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def _drain(stream: BinaryIO) -> None:
    while (rest := stream.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
        pass


def _decode(line: bytes, encodings: Sequence[str]) -> str | None:
    for encoding in encodings:
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _parse_record(line: str) -> dict[str, Any] | None:
    parsers: tuple[Callable[[str], Any], ...] = (json.loads, _literal)
    for parse in parsers:
        try:
            record = parse(line.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return record if isinstance(record, dict) else None
    return None


def _literal(text: str) -> Any:
    if not text.startswith("{") or len(text) > LONGEST_LITERAL:
        raise ValueError("no dictionary")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of backslashes in texts, which mean nothing here
        return ast.literal_eval(text)


def _rows(path: Path, form: Form, skips: Skips) -> Iterator[tuple[int, list[str]]]:
    lines = read_lines(path, skips, form.encodings)
    if not form.quoted:
        yield from ((number, line.rstrip("\r\n").split(form.separator)) for number, line in lines)
        return
    last, before, ended = 0, 0, False

    def texts() -> Iterator[str]:
        nonlocal last, ended
        for number, line in lines:
            last = number
            yield line
        ended = True

    reader = csv.reader(texts(), delimiter=form.separator)
    while True:
        try:
            for row in reader:
                if ended:  # the file was over before the row was: it holds all lines since its quote
                    skips.add(path, "a quote without an end", before + 1)
                else:
                    yield last, row
                before = last
        except csv.Error as error:
            skips.add(path, f"no CSV ({error})", before + 1)
            before = last
        else:
            return


def _batches(
    path: Path, rows: Iterator[tuple[int, list[str]]], places: Sequence[int | None], width: int, skips: Skips
) -> Iterator[Batch]:
    kept: list[list[str]] = []
    numbers: list[int] = []
    for number, row in rows:
        if len(row) != width:
            skips.add(path, f"not {width} columns", number)
            continue
        kept.append(row)
        numbers.append(number)
        if len(kept) == BATCH:
            yield _columns(kept, numbers, places)
            kept, numbers = [], []
    if kept:
        yield _columns(kept, numbers, places)


def _columns(rows: list[list[str]], numbers: list[int], places: Sequence[int | None]) -> Batch:
    return Batch([[""] * len(rows) if place is None else [row[place] for row in rows] for place in places], numbers)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:20])
    return f"{shown or 'none'}{' …' if len(names) > 20 else ''}"
