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

from graphrec.config import ConfigError, apply_overrides, load_yaml, unknown_name
from graphrec.runtime import PLAIN_ERRORS, package_folder, rank

OUT = Console() if sys.stdout.isatty() else Console(width=140)  # a table in a file is not to be cut
ERR = Console(stderr=True)
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings such as model.num_layers=3.")]
DataRoot = Annotated[Path | None, typer.Option("--data-root", help="The folder of the named data sets.")]


class Commands(TyperGroup):
    """Commands that answer bad input with one line and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; with ``--debug`` errors keep their traceback."""
        try:
            return super().invoke(ctx)
        except PLAIN_ERRORS as error:
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


def find_config(name: str) -> Path:
    """Returns the path of a YAML file, or of one that graphrec brings by its name.

    Raises:
        ConfigError: If there is neither.
    """
    if Path(name).is_file():
        return Path(name)
    folder = package_folder("configs")
    known = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if name in known:
        return known[name]
    if len(Path(name).parts) > 1 and Path(name).stem in known and Path(name).parent.name == "configs":
        return known[Path(name).stem]
    raise ConfigError(unknown_name(name, known, kind="configuration") + "; or the path of a YAML file")


def run_settings(target: str) -> tuple[dict[str, Any], str]:
    """Returns the settings that a YAML file, its name, or the name of a model stands for, and how to call them."""
    from graphrec.models import MODELS

    if target in MODELS or (":" in target and not Path(target).is_file()):
        return {"model": {"name": target}}, "config"
    try:
        path = find_config(target)
    except ConfigError as error:
        raise ConfigError(f"{error}; or {unknown_name(target, MODELS, kind='model')}") from None
    values = load_yaml(path)
    if "models" in values:
        raise ConfigError(
            f"expected the settings of one run, but {path.name} has several models; see graphrec benchmark"
        )
    return values, path.name


def with_root(values: dict[str, Any], root: Path | None) -> dict[str, Any]:
    """Returns the settings with the folder of the named data sets, in every data set of a benchmark."""
    if root is None:
        return values
    named = values.get("datasets")
    paths = ["data.root"] if not isinstance(named, dict) else [f"datasets.{name}.data.root" for name in named]
    return apply_overrides(values, [f"{path}={root}" for path in paths])


def _message(error: BaseException) -> str:
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return " ".join(str(error).split()) or type(error).__name__
