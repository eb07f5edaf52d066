"""``graphrec data``: data sets by name, described and prepared."""

from __future__ import annotations

from typing import Annotated

import typer

from graphrec.cli.common import OUT, DataRoot, readable

data_app = typer.Typer(no_args_is_help=True, help="Data sets.")


@data_app.command("describe")
def describe_data(
    dataset: Annotated[str, typer.Argument(help="A name with a card, a folder, a table, or synthetic:20000.")],
    data_root: DataRoot = None,
) -> None:
    """Shows the statistics of a data set, its splits, and what is known about its items and users."""
    from rich.table import Table

    from graphrec.data.sources import describe, load_dataset

    table = Table("part", "property", "value")
    for part, name, value in describe(load_dataset(dataset, root=data_root)).itertuples(index=False):
        table.add_row(part, name, readable(value))
    OUT.print(table)
