"""Cards: what a data set is, where it comes from, which files it has and what must be found in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from graphrec.config import Config, ConfigError, load_yaml, unknown_name
from graphrec.data.dataset import Dataset
from graphrec.data.lightgcn import LightGCNOptions, read_lightgcn
from graphrec.data.mmrec import MMRecOptions, read_mmrec
from graphrec.data.movielens import MovieLensOptions, read_movielens_100k
from graphrec.runtime import DATA_VARIABLE, data_root, package_folder

CARD_FILE = "dataset.yaml"
READERS: dict[str, Callable[..., Dataset]] = {
    "mmrec": read_mmrec,
    "lightgcn": read_lightgcn,
    "movielens-100k": read_movielens_100k,
}


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


class DatasetCard(Config):
    """One data set, as a YAML file states it.

    Args:
        name: The name it is loaded by, and that of its folder under the data root.
        title: The name for people.
        description: What is in it and how it is split.
        licence: The licence of the data, as its source states it.
        sources: Where it comes from.
        citation: The paper to cite.
        reader: The format and its options.
        files: SHA-256 by file name; for a folder (a name ending in ``/``) that of its sorted ``hash  name`` lines.
        counts: What must be found; checked on every load.
    """

    name: str
    title: str
    description: str
    licence: str = "not stated"
    sources: tuple[str, ...] = ()
    citation: str = ""
    reader: Annotated[MMRecOptions | LightGCNOptions | MovieLensOptions, Field(discriminator="kind")]
    files: dict[str, str] = Field(default_factory=dict)
    counts: Counts | None = None


def card_names() -> tuple[str, ...]:
    """Returns the names of the data sets that graphrec has a card for, sorted."""
    return tuple(sorted(path.stem for path in package_folder("datasets").glob("*.yaml")))


def load_card(name: str | Path) -> DatasetCard:
    """Reads a card by the name of a data set, or from the path of a YAML file.

    Raises:
        ConfigError: If the name is unknown or the card is not valid.
        FileNotFoundError: If there is no such file.
    """
    path = name if isinstance(name, Path) else package_folder("datasets") / f"{name}.yaml"
    if not path.is_file() and not isinstance(name, Path):
        raise ConfigError(unknown_name(name, card_names(), kind="data set"))
    return DatasetCard.parse(load_yaml(path), where=path.name)


def find_folder(card: DatasetCard, root: str | Path | None = None) -> Path:
    """Returns the folder of a data set under the data root.

    Raises:
        FileNotFoundError: If there is none; the message says how to name another root.
    """
    folder = data_root(root) / card.name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {str(folder)!r} for the data set {card.name!r}; name the folder that holds it with --data-root "
            f"(root= in Python) or the variable {DATA_VARIABLE}; its files are {', '.join(card.files)}"
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


def _check_counts(name: str, expected: Counts, found: Counts) -> None:
    wrong = [
        f"{getattr(expected, key)} {key}, got {getattr(found, key)}"
        for key in Counts.model_fields
        if getattr(expected, key) != getattr(found, key)
    ]
    if wrong:
        raise ValueError(f"expected {name!r} to have {'; '.join(wrong)}; the files differ from those of its card")
