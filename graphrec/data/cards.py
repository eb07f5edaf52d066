"""Cards: what a data set is, where it comes from, which files it has and what must be found in them."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from graphrec.config import Config, ConfigError, load_yaml, unknown_name
from graphrec.data.archive import safe_name
from graphrec.data.dataset import Dataset
from graphrec.data.formats import RawOptions
from graphrec.data.lightgcn import LightGCNOptions, read_lightgcn
from graphrec.data.mmrec import MMRecOptions, read_mmrec
from graphrec.data.movielens import MovieLensOptions, read_movielens_100k
from graphrec.data.prepared import PreparedOptions, read_prepared
from graphrec.data.splits import SPLITS, Ratios, SplitConfig
from graphrec.runtime import DATA_VARIABLE, data_root, package_folder

CARD_FILE = "dataset.yaml"
READERS: dict[str, Callable[..., Dataset]] = {
    "mmrec": read_mmrec,
    "lightgcn": read_lightgcn,
    "movielens-100k": read_movielens_100k,
    "prepared": read_prepared,
}
Reader = Annotated[
    MMRecOptions | LightGCNOptions | MovieLensOptions | PreparedOptions,
    Field(discriminator="kind"),
]
UNVERIFIED = "unverified"
GIVEN = "given"
VARIANT_SEPARATOR = ":"


class Counts(Config):
    """What a reader must find, ids without an interaction included."""

    users: int
    items: int
    train: int
    valid: int
    test: int

    @classmethod
    def of(cls, dataset: Dataset) -> Counts:
        """Returns the counts of a data set."""
        train, valid = dataset.split.train, dataset.split.valid
        return cls(
            users=dataset.num_users,
            items=dataset.num_items,
            train=len(train),
            valid=len(valid),
            test=len(dataset.test),
        )


class Download(Config):
    """One file of a data set as its source offers it.

    Args:
        file: Its name in the folder of raw files.
        url: Where it is; empty where a person must fetch it.
        sha256: 64 hexadecimal digits, or ``unverified``: pinned at the first download and checked ever after.
        extract: Whether it is an archive to unpack.
        login: What a person must do to get it, where there is no open address.
        optional: Whether the data set can be prepared without it.
    """

    file: str
    url: str = ""
    sha256: str = Field(UNVERIFIED, pattern=rf"^({UNVERIFIED}|[0-9a-f]{{64}})$")
    extract: bool = False
    login: str = ""
    optional: bool = False

    @field_validator("file")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        return str(safe_name(value))

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        if bool(self.url) == bool(self.login):
            raise ValueError(f"expected a url or a login for {self.file!r}, got {'both' if self.url else 'neither'}")
        return self


class Variants(Config):
    """Parts of a source that are data sets of their own, such as Amazon's categories; asked for as ``NAME:VARIANT``.

    Args:
        key: What ``{key}`` in addresses, file names and options of the card stands for.
        default: The variant that the bare name means.
        names: All variants.
    """

    key: str
    default: str
    names: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_default(self) -> Self:
        for name in (self.default, *self.names):
            if len(safe_name(name).parts) > 1:
                raise ValueError(f"expected names of variants without '/', got {name!r}")
        if self.default not in self.names:
            raise ValueError(unknown_name(self.default, self.names, kind="variant"))
        return self


class Recipe(Config):
    """How raw interactions become a benchmark; by default MMRec's: 5-core, 8:1:1 per user with its counts, seed 0.

    Args:
        threshold: The lowest rating that counts as an interaction; none: all do.
        k_core: Users and items with fewer interactions are removed until none is left; none: all stay.
        split: The name of a split (see ``SplitConfig``), or ``given`` for the parts that the source states.
        ratios: Shares of train, valid and test, for the splits that take them.
        seed: The seed, for the splits that draw.
    """

    threshold: float | None = None
    k_core: int | None = Field(5, ge=1)
    split: str = "mmrec"
    ratios: Ratios | None = None
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        if self.split != GIVEN:
            self.split_config()
        elif self.k_core is not None:
            raise ValueError(f"expected k_core: null with split: given, got {self.k_core}; a given split stays whole")
        return self

    def split_config(self) -> SplitConfig:
        """Returns the split with its seed."""
        if self.split not in SPLITS:
            raise ValueError(unknown_name(self.split, [*SPLITS, GIVEN], kind="split"))
        return SplitConfig(name=self.split, ratios=self.ratios, seed=self.seed)


class Expected(Config):
    """Counts of the raw data, before anything is dropped, and where they were read."""

    users: int | None = None
    items: int | None = None
    interactions: int | None = None
    source: str = Field(min_length=1)


class DatasetCard(Config):
    """One data set, as a YAML file states it.

    Args:
        name: The name it is loaded by, and that of its folder under the data root.
        title: The name for people.
        description: What is in it and how it is split.
        licence: The licence of the data, as its source states it.
        sources: Where it comes from.
        citation: The paper to cite.
        reader: The format of its folder and how it is read as it lies there.
        downloads: Its files as its source offers them, in order.
        raw: The format of those files and how they are parsed, for ``prepare_dataset``.
        variants: Parts of the source that are data sets of their own.
        prepare: The default recipe from raw interactions to a benchmark.
        expected: Counts of the raw data; with variants those of the default one.
        columns: What the columns mean.
        files: SHA-256 by file name; for a folder (a name ending in ``/``) that of its sorted ``hash  name`` lines.
        counts: What must be found; checked on every load.
    """

    name: str
    title: str
    description: str
    licence: str = "not stated"
    sources: tuple[str, ...] = ()
    citation: str = ""
    reader: Reader | None = None
    downloads: tuple[Download, ...] = ()
    raw: RawOptions | None = None
    variants: Variants | None = None
    prepare: Recipe = Recipe()
    expected: Expected | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    counts: Counts | None = None

    @field_validator("name")
    @classmethod
    def _is_one_folder(cls, value: str) -> str:
        if len(safe_name(value).parts) > 1:
            raise ValueError(f"expected a name without '/', got {value!r}; it names the folder below the data root")
        return value

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if self.reader is None and self.raw is None:
            raise ValueError("expected a reader or raw (or both), got neither; say how the files are read")
        return self

    def choose(self, variant: str | None = None) -> DatasetCard:
        """Returns the card of one variant, by default the default one; a card without variants as it is.

        Its name is ``NAME-VARIANT``, and ``{key}`` is filled in wherever it stands.

        Raises:
            ConfigError: If there is no such variant.
        """
        if self.variants is None:
            if variant is not None:
                raise ConfigError(f"expected {self.name!r} without a variant, got {variant!r}; it has none")
            return self
        chosen = self.variants.default if variant is None else variant
        if chosen not in self.variants.names:
            raise ConfigError(unknown_name(chosen, self.variants.names, kind=f"variant of {self.name}"))
        values = _fill(self.model_dump(mode="json", exclude={"variants"}), f"{{{self.variants.key}}}", chosen)
        values["name"] = f"{self.name}-{chosen}"
        values["expected"] = values["expected"] if chosen == self.variants.default else None
        return DatasetCard.parse(values, where=values["name"])


def card_names() -> tuple[str, ...]:
    """Returns the names of the data sets that graphrec has a card for, sorted."""
    return tuple(sorted(path.stem for path in package_folder("datasets").glob("*.yaml")))


def load_card(name: str | Path) -> DatasetCard:
    """Reads a card by the name of a data set, or from the path of a YAML file; ``NAME:VARIANT`` is a variant's card.

    Raises:
        ConfigError: If the name is unknown or the card is not valid.
        FileNotFoundError: If there is no such file.
    """
    if isinstance(name, Path):
        return DatasetCard.parse(load_yaml(name), where=name.name)
    base, separator, variant = name.partition(VARIANT_SEPARATOR)
    if base not in card_names():
        raise ConfigError(unknown_name(base, card_names(), kind="data set"))
    card = load_card(package_folder("datasets") / f"{base}.yaml")
    return card.choose(variant) if separator else card


def find_card(name: str, root: str | Path | None = None) -> tuple[DatasetCard, Path]:
    """Returns the card to read a data set by and the folder it lies in: its own card where it has been prepared.

    Args:
        name: A name with a card, perhaps ``NAME:VARIANT``.
        root: The folder that holds the named data sets.

    Raises:
        ConfigError: If the name or the variant is unknown.
        FileNotFoundError: If the data set is not there; the message says how to get it.
    """
    card = load_card(name)
    card = card.choose() if card.variants is not None else card
    folder = data_root(root) / card.name
    if (folder / CARD_FILE).is_file():
        return load_card(folder / CARD_FILE), folder
    if card.reader is None:
        raise FileNotFoundError(
            f"expected the data set {card.name!r} prepared in {str(data_root(root))!r} (choose another root with "
            f"--data-root, root= in Python, or {DATA_VARIABLE}), got none; {prepare_hint(name, root)}"
        )
    return card, find_folder(card, root)


def find_folder(card: DatasetCard, root: str | Path | None = None) -> Path:
    """Returns the folder of a data set under the data root.

    Raises:
        FileNotFoundError: If there is none; the message says how to name another root.
    """
    folder = data_root(root) / card.name
    if not folder.is_dir():
        hint = f"; or {prepare_hint(card.name, root)}" if card.downloads else ""
        raise FileNotFoundError(
            f"no folder {str(folder)!r} for the data set {card.name!r}; name the folder that holds it with --data-root "
            f"(root= in Python) or the variable {DATA_VARIABLE}; its files are {', '.join(card.files)}{hint}"
        )
    return folder


def read_card(card: DatasetCard, folder: Path, *, features: Sequence[str] | None = None) -> Dataset:
    """Reads the data set of a card and checks its counts.

    Args:
        card: The card.
        folder: The folder of its files.
        features: The modalities whose vectors are read; by default all that the card does not call optional.

    Raises:
        FileNotFoundError: If a file is missing.
        ConfigError: If there are no such features.
        ValueError: If the files are not what the card says.
    """
    if card.reader is None:
        raise ValueError(f"expected a card with a reader, got {card.name!r} with raw files; {prepare_hint(card.name)}")
    options = card.reader if features is None else card.reader.choose(features)
    dataset = READERS[options.kind](folder, options, name=card.name)
    if card.counts is not None:
        _check_counts(card.name, card.counts, Counts.of(dataset))
    return dataset


def verify(card: DatasetCard, folder: Path) -> None:
    """Checks every file of a card against its SHA-256.

    Raises:
        ValueError: If a file is missing or different; the message lists all of them.
    """
    problems = [f"{name} is missing" for name in card.files if not (folder / name).exists()]
    present = [name for name in card.files if (folder / name).exists()]
    problems += [f"{name} differs" for name in present if file_hash(folder / name) != card.files[name]]
    if problems:
        raise ValueError(
            f"expected the files of {card.name!r} in {str(folder)!r} as in its card: {'; '.join(problems)}"
        )


def file_hash(path: Path) -> str:
    """Returns the SHA-256 of a file, or of the sorted ``hash  name`` lines of the files in a folder."""
    if path.is_dir():
        lines = [f"{file_hash(entry)}  {entry.name}\n" for entry in sorted(path.iterdir()) if entry.is_file()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def prepare_hint(name: str, root: str | Path | None = None) -> str:
    """Returns what to do about a data set that has not been prepared."""
    return f"prepare it with: graphrec data prepare {name} --root {shlex.quote(str(data_root(root)))}"


def _fill(value: Any, placeholder: str, text: str) -> Any:
    if isinstance(value, str):
        return value.replace(placeholder, text)
    if isinstance(value, dict):
        return {key: _fill(entry, placeholder, text) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_fill(entry, placeholder, text) for entry in value]
    return value


def _check_counts(name: str, expected: Counts, found: Counts) -> None:
    wrong = [
        f"{getattr(expected, key)} {key}, got {getattr(found, key)}"
        for key in Counts.model_fields
        if getattr(expected, key) != getattr(found, key)
    ]
    if wrong:
        raise ValueError(f"expected {name!r} to have {'; '.join(wrong)}; the files differ from those of its card")
