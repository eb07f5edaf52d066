"""One value from several catalogue columns: texts by a template, and rows of values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphrec.config import unknown_name
from graphrec.data.catalog import Catalog

TOKEN = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{[^{}]*\}|[{}\[\]]|[^{}\[\]]+")
ESCAPED = {"{{": "{", "}}": "}", "[[": "[", "]]": "]"}


@dataclass(frozen=True)
class Part:
    """A stretch of a template that is written whole or not at all.

    Args:
        pieces: Literal texts and the names of columns, in order.
        is_column: Which of the pieces are names.
    """

    pieces: tuple[str, ...]
    is_column: tuple[bool, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns in it."""
        return tuple(piece for piece, column in zip(self.pieces, self.is_column, strict=True) if column)

    def write(self, row: Mapping[str, str | None]) -> str:
        """Returns the text of a row; empty if a column of the part is absent."""
        values = [row[piece] if column else piece for piece, column in zip(self.pieces, self.is_column, strict=True)]
        return "" if None in values else "".join(map(str, values))


def compose(catalog: Catalog, columns: Sequence[str] = (), template: str | None = None) -> list[str | None]:
    """Returns one text per row from several columns; ``None`` where all of them are absent.

    Without a template, the values that are present stand on lines of their own. In a template, ``{name}`` stands for a
    column, and what is absent takes its surroundings with it:

    - ``[...]`` is a part that is left out when any column in it is absent: ``"{title}[ ({year})]"``.
    - Outside of brackets, the text before a column goes with it: ``"{title} by {brand}: {description}"`` without a
      brand is ``"title: description"``. Text after the last column, and text before brackets, always stays.

    Space around the result is stripped. ``{{``, ``}}``, ``[[`` and ``]]`` are written as single ones. Lists are joined
    by ``", "``, and whole numbers lose their ``.0``. Names are names: formats (``{a:>10}``), conversions (``{a!r}``)
    and attributes (``{a.b}``) are refused, unless a column is called so.

    Args:
        catalog: The content.
        columns: The columns, in order; with a template, those it must use, or none for whatever it names.
        template: What to write.

    Raises:
        KeyError: If a column is unknown.
        ValueError: If the template has no columns, lacks one of ``columns``, or has stray or nested brackets.
    """
    parts = parse_template(template, catalog.columns) if template is not None else ()
    names = _distinct(name for part in parts for name in part.columns) if parts else _known(columns, catalog)
    if unused := [name for name in columns if name not in names]:
        raise ValueError(
            f"expected the columns {unused} in the template {template!r}; name them there or leave them out"
        )
    write: Callable[[Mapping[str, str | None]], str] = _lines if template is None else _writer(parts)
    return [None if row is None else write(row) or None for row in _texts(catalog, names)]


def gather(catalog: Catalog, columns: Sequence[str]) -> list[tuple[Any, ...] | None]:
    """Returns the values of several columns as one tuple per row, ``None`` where all of them are absent.

    That makes ``(latitude, longitude)`` for a place and rows of numbers for the numeric encoder.

    Raises:
        KeyError: If a column is unknown.
        ValueError: If there are no columns.
    """
    rows = zip(*(catalog.values(name) for name in _known(columns, catalog)), strict=True)
    return [None if all(value is None for value in row) else row for row in rows]


def as_texts(values: Sequence[Any]) -> list[str | None]:
    """Returns texts as they are, and numbers and lists as ``compose`` writes them; ``None`` where there is nothing.

    >>> as_texts([" a ", 1984.0, ["b", "c"], None])
    [' a ', '1984', 'b, c', None]
    """
    return [value if isinstance(value, str) else _text(value) for value in values]


def parse_template(template: str, known: Iterable[str]) -> tuple[Part, ...]:
    """Returns the parts of a template, in order; see ``compose`` for its rules.

    Raises:
        KeyError: If it names a column that is not known.
        ValueError: If it has no columns, or stray or nested brackets.
    """
    names, parts, pieces, inside = set(known), [], _Pieces(), False
    for token in TOKEN.findall(template):
        if token == ("]" if inside else "["):
            parts.append(pieces.take())
            inside = not inside
        elif token in ("{", "}", "[", "]"):
            raise ValueError(
                f"expected matching, unnested brackets in the template {template!r}, got a stray {token!r}; "
                f"write {token * 2!r} for the character itself"
            )
        elif token.startswith("{") and token not in ESCAPED:
            pieces.add(_column(token[1:-1], names), is_column=True)
            if not inside:
                parts.append(pieces.take())
        else:
            pieces.add(ESCAPED.get(token, token), is_column=False)
    if inside:
        raise ValueError(
            f"expected a ']' for every '[' in the template {template!r}; write '[[' for the character itself"
        )
    parts.append(pieces.take())
    if not any(part.columns for part in parts):
        raise ValueError(f"expected columns in braces in the template {template!r}, got none, e.g. '{{title}}'")
    return tuple(part for part in parts if part.pieces)


class _Pieces:
    """The pieces of the part that is being read."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, bool]] = []

    def add(self, piece: str, *, is_column: bool) -> None:
        self._pieces.append((piece, is_column))

    def take(self) -> Part:
        part = Part(tuple(piece for piece, _ in self._pieces), tuple(column for _, column in self._pieces))
        self._pieces.clear()
        return part


def _column(name: str, known: set[str]) -> str:
    if name in known or (name := name.strip()) in known:
        return name
    plain = re.split(r"[.:!]", name)[0].strip()
    if plain in known:
        raise KeyError(f"expected the name of a column alone, got {{{name}}}; write {{{plain}}}, without what follows")
    raise KeyError(unknown_name(name, known, kind="column"))


def _known(columns: Sequence[str], catalog: Catalog) -> tuple[str, ...]:
    if not len(columns) or isinstance(columns, str):
        raise ValueError(f"expected a list of the names of columns, got {columns!r}")
    for name in columns:
        if name not in catalog.columns:
            raise KeyError(unknown_name(name, catalog.columns, kind="column"))
    return _distinct(columns)


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _texts(catalog: Catalog, names: Sequence[str]) -> list[dict[str, str | None] | None]:
    """Returns the values of every row as texts by column; ``None`` where all are absent."""
    columns = [[_text(value) for value in catalog.values(name)] for name in names]
    rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    return [row if any(value is not None for value in row.values()) else None for row in rows]


def _lines(row: Mapping[str, str | None]) -> str:
    return "\n".join(value for value in row.values() if value is not None)


def _writer(parts: Sequence[Part]) -> Callable[[Mapping[str, str | None]], str]:
    return lambda row: "".join(part.write(row) for part in parts).strip()


def _text(value: Any) -> str | None:
    """Returns a value as text; ``None`` if it is absent or blank."""
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        entries = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
        return ", ".join(text for entry in entries if (text := _text(entry)) is not None) or None
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    if isinstance(value, float | np.floating) and np.isfinite(value) and value == int(value):
        return str(int(value))  # a column of whole numbers with gaps is one of floats
    return str(value).strip() or None
