"""``graphrec data``: data sets by name, listed, shown, prepared, given their pictures, checked and described."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphrec.cli.common import OUT, plain, readable
from graphrec.config import ConfigError

if TYPE_CHECKING:
    from graphrec.data.cards import DatasetCard

data_app = typer.Typer(no_args_is_help=True, help="Data sets.")
NONE = "none"
SHOWN = 5  # ids of what failed for one reason

Root = Annotated[Path | None, typer.Option("--root", "--data-root", help="The folder of the named data sets.")]
Name = Annotated[str, typer.Argument(metavar="NAME[:VARIANT]", help="A data set with a card; see: graphrec data list")]


@data_app.command("describe")
def describe_data(
    dataset: Annotated[str, typer.Argument(help="A name with a card, a folder, a table, or synthetic:20000.")],
    root: Root = None,
) -> None:
    """Shows the statistics of a data set, its splits, and what is known about its items and users."""
    from rich.table import Table

    from graphrec.data.sources import describe, load_dataset

    table = Table("part", "property", "value")
    for part, name, value in describe(load_dataset(dataset, root=root)).itertuples(index=False):
        table.add_row(part, name, readable(value))
    OUT.print(table)


@data_app.command("prepare")
def prepare_data(
    name: Name,
    root: Root = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="A folder that has the raw files, packed or unpacked.")
    ] = None,
    threshold: Annotated[
        str | None, typer.Option(help="The lowest rating that counts, or 'none'; as in the card by default.")
    ] = None,
    k_core: Annotated[
        str | None, typer.Option(help="The fewest interactions of a user or item that stays, or 'none'.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="mmrec, random, temporal-user, given, …; as in the card.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of the split; as in the card.")] = None,
    optional: Annotated[bool, typer.Option("--optional", help="Download what the card calls optional too.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at counts other than the card's.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Make anew what was prepared in another way.")] = False,
) -> None:
    """Downloads, parses, filters and splits a data set; run again, it goes on where it stopped."""
    from graphrec.data.cards import CARD_FILE, load_card
    from graphrec.data.prepare import prepare_dataset

    asked = {"threshold": _number(threshold, "--threshold", float), "k_core": _number(k_core, "--k-core", int)}
    recipe = {key: value for key, (given, value) in asked.items() if given}
    recipe |= {key: value for key, value in (("split", split), ("seed", seed)) if value is not None}
    folder = prepare_dataset(name, root, source=source, recipe=recipe, optional=optional, strict=strict, force=force)
    counts = load_card(folder / CARD_FILE).counts
    sizes = ", ".join(f"{readable(value)} {key}" for key, value in (counts.model_dump() if counts else {}).items())
    plain(f"{folder}: {sizes}")


@data_app.command("pictures")
def fetch_pictures(
    name: Annotated[str, typer.Argument(metavar="NAME[:VARIANT]", help="A prepared data set, or the folder of one.")],
    root: Root = None,
    column: Annotated[str, typer.Option(help="image, audio or video: what the addresses lead to.")] = "image",
    workers: Annotated[int, typer.Option(min=1, help="How many files are fetched at the same time.")] = 8,
    limit: Annotated[int | None, typer.Option(min=0, help="The most addresses that are asked for.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Ask again for what was gone (404, 410) before.")] = False,
) -> None:
    """Downloads the pictures whose addresses a prepared data set gives; run again, it goes on where it stopped."""
    from graphrec.data.by_address import FAILED, fetch_addresses
    from graphrec.data.media_download import MEDIA

    found = fetch_addresses(name, root, column=column, workers=workers, limit=limit, retry=retry)
    plain(
        f"{found.folder}: {readable(found.present)} of {readable(found.addressed)} items with an address have their "
        f"{column} ({readable(found.new)} new)"
    )
    for reason, ids in sorted(found.failures.items(), key=lambda entry: -len(entry[1])):
        more = ", …" if len(ids) > SHOWN else ""
        plain(f"{readable(len(ids))} failed, {reason}: {', '.join(map(str, ids[:SHOWN]))}{more}")
    if found.known:
        noted = f"{MEDIA[column].folder}/{FAILED}"
        plain(f"{readable(found.known)} were gone before and not asked for, see {noted}; ask again with --retry")


@data_app.command("list")
def list_data(root: Root = None) -> None:
    """Lists the data sets that have a card, and which of them are there."""
    from rich.table import Table
    from rich.text import Text

    from graphrec.data.cards import card_names, load_card

    table = Table("name", "title", "licence", "here", "needs a login", "variants")
    for name in card_names():
        card = load_card(name)
        login = "yes" if any(entry.login and not entry.optional for entry in card.downloads) else ""
        variants = "" if card.variants is None else str(len(card.variants.names))
        table.add_row(name, Text(card.title), Text(card.licence), _here(card, root), login, variants)
    OUT.print(table)


@data_app.command("show")
def show_data(name: Name) -> None:
    """Shows the card of a data set: what it is, its licence, where it comes from, and how it is prepared."""
    from rich.table import Table
    from rich.text import Text

    from graphrec.data.cards import load_card

    table = Table(show_header=False)
    for key, value in _rows(load_card(name)):
        table.add_row(key, Text(value))  # brackets in a card are no markup
    OUT.print(table)


@data_app.command("verify")
def verify_data(
    name: Annotated[str, typer.Argument(metavar="NAME[:VARIANT]", help="A data set with a card, or a folder of one.")],
    root: Root = None,
) -> None:
    """Checks the files of a data set against the SHA-256 in its card, its own card where it has been prepared."""
    from graphrec.data.cards import CARD_FILE, find_card, load_card, verify

    own = Path(name) / CARD_FILE
    card, folder = (load_card(own), own.parent) if own.is_file() else find_card(name, root)
    verify(card, folder)
    plain(f"{folder}: {len(card.files)} files are those of the card")


def _number(text: str | None, option: str, kind: type[int] | type[float]) -> tuple[bool, Any]:
    """Returns whether an option was given, and its number or None."""
    if text is None or text.lower() == NONE:
        return text is not None, None
    try:
        return True, kind(text)
    except ValueError:
        raise ConfigError(f"expected a number or 'none' for {option}, got {text!r}") from None


def _here(card: DatasetCard, root: Path | None) -> str:
    from graphrec.data.cards import CARD_FILE
    from graphrec.runtime import data_root

    if card.variants is not None:
        folders = [data_root(root) / f"{card.name}-{variant}" for variant in card.variants.names]
        found = [folder.name.removeprefix(f"{card.name}-") for folder in folders if (folder / CARD_FILE).is_file()]
        return ", ".join(found)
    folder = data_root(root) / card.name
    if (folder / CARD_FILE).is_file():
        return "prepared"
    return "files" if card.files and all((folder / name).exists() for name in card.files) else ""


def _rows(card: DatasetCard) -> list[tuple[str, str]]:
    rows = [("name", card.name), ("title", card.title), ("description", card.description), ("licence", card.licence)]
    rows += [("source", source) for source in card.sources]
    rows += [("citation", card.citation)]
    rows += [("column", f"{name}: {meaning}") for name, meaning in card.columns.items()]
    for entry in card.downloads:
        optional = " (optional)" if entry.optional else ""
        rows.append(("file", f"{entry.file}{optional}: {entry.url or entry.login}\nsha256 {entry.sha256}"))
    if card.variants is not None:
        rows.append(("variants", f"{', '.join(card.variants.names)}; {card.variants.default} by default"))
    if card.raw is not None:
        recipe = card.prepare.model_dump(exclude_none=True)
        rows.append(("recipe", ", ".join(f"{key}={value}" for key, value in recipe.items())))
    for title, counts in (("expected", card.expected), ("counts", card.counts)):
        if counts is not None:
            values = counts.model_dump(exclude_none=True)
            rows.append((title, ", ".join(f"{key}: {readable(value)}" for key, value in values.items())))
    return [(key, value) for key, value in rows if value]
