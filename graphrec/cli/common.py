"""What all commands share: the consoles, one line for bad input, and how values are shown."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from typer.core import TyperGroup

from graphrec.runtime import MissingExtraError, rank

OUT = Console() if sys.stdout.isatty() else Console(width=140)  # a table in a file is not to be cut
ERR = Console(stderr=True)
# ConfigError and others are ValueErrors
BAD_INPUT = (ValueError, KeyError, FloatingPointError, OSError, MemoryError, MissingExtraError)
DataRoot = Annotated[Path | None, typer.Option("--data-root", help="The folder of the named data sets.")]


class Commands(TyperGroup):
    """Commands that answer bad input with one line and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; with ``--debug`` errors keep their traceback."""
        try:
            return super().invoke(ctx)
        except BAD_INPUT as error:
            if ctx.params.get("debug"):
                raise
            ERR.print(f"error: {_message(error)}", style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from error


def quiet(debug: bool) -> None:
    """Shows the stages of the library on stderr, and silences noise of third parties that nobody can act on."""
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.script", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.script", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # our own limit says which picture
    stages = logging.getLogger("graphrec")
    stages.handlers = [RichHandler(console=ERR, show_time=False, show_path=False, show_level=False, markup=False)]
    stages.setLevel(logging.DEBUG if debug else logging.INFO if rank() == 0 else logging.WARNING)
    stages.propagate = False


def readable(value: Any) -> str:
    """Returns a value as a person reads it: few decimals, thousands apart."""
    if isinstance(value, float):
        return f"{value:,.4f}" if value < 100 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def plain(text: str) -> None:
    """Prints a line as it is, without markup and without wrapping."""
    OUT.print(text, markup=False, highlight=False, soft_wrap=True)


def _message(error: BaseException) -> str:
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return " ".join(str(error).split()) or type(error).__name__
