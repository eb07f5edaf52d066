"""From the files of a public data set to a folder that is read in a moment: parsed, filtered, split, written once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from graphrec import __version__
from graphrec.config import dump_yaml, merge
from graphrec.data.cards import (
    CARD_FILE,
    GIVEN,
    Counts,
    DatasetCard,
    Expected,
    Recipe,
    file_hash,
    load_card,
    read_card,
)
from graphrec.data.catalog import Catalog
from graphrec.data.content import PATH_MODALITIES
from graphrec.data.dataset import Dataset, Vectors
from graphrec.data.fetch import RawFiles, fetch, instructions, is_empty
from graphrec.data.interactions import Ids, Interactions
from graphrec.data.prepared import write_prepared
from graphrec.data.raw import RawData
from graphrec.data.sources import CARD_SUFFIXES, from_dataframe
from graphrec.data.splits import TEST, TRAIN, VALID, hold_out_valid
from graphrec.runtime import data_root, logger, working

log = logger(__name__)
MANIFEST, RAW, PARTIAL, LOCK = "manifest.json", "raw", ".partial", ".lock"
FORM = 1  # of the folder; a new one makes anew what an older graphrec wrote
ADDRESSES = ("http://", "https://")


@dataclass(frozen=True, eq=False)
class _Made:
    """A data set ready to be written, and what its manifest says of how it came about."""

    data: Dataset
    about: Mapping[str, Any]
    rating: pd.DataFrame | None = None


def prepare_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    source: str | Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    optional: bool = False,
    strict: bool = False,
    force: bool = False,
) -> Path:
    """Downloads, parses, filters and splits a data set, and writes it where ``load_dataset`` finds it.

    ``ROOT/NAME`` gets ``interactions.parquet``, ``items.parquet``, ``users.parquet``, vectors, a ``dataset.yaml`` card
    and ``manifest.json``, which says what they were made from and how. The raw files stay in ``ROOT/NAME/raw``. A
    folder that was made from the same files in the same way is left alone.

    Args:
        name: A name with a card, ``NAME:VARIANT`` where it has variants, such as ``"amazon-2014:Baby"``; or the path of
            a card of your own.
        root: The folder that holds the named data sets; by default GRAPHREC_DATA, else ``./data``.
        source: A folder that holds the raw files, packed or unpacked; what is there is not downloaded.
        recipe: What differs from the card's recipe, see ``Recipe``: ``threshold``, ``k_core``, ``split``, ``seed``.
        optional: Whether files that the card calls optional are downloaded too.
        strict: Whether counts other than the card's are an error, not a warning.
        force: Whether a folder prepared in another way is made anew.

    Returns:
        The folder.

    Raises:
        ConfigError: If the name, the variant or the recipe is unknown or wrong.
        FileNotFoundError: If files are missing that a person must fetch; the message says how.
        OSError: If a download fails; calling again goes on with it.
        ValueError: If files are not those of the card, cannot be parsed, or leave nothing to split; or if the folder
            was prepared in another way.
    """
    card = load_card(Path(name) if Path(name).suffix in CARD_SUFFIXES else name)
    card = card.choose() if card.variants is not None else card
    folder = data_root(root) / card.name
    chosen = Recipe.parse(merge(card.prepare.model_dump(), recipe or {}), where="recipe")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        if source is None and is_empty(folder / RAW) and _manifest(folder).get("settings") == chosen.model_dump():
            return folder  # its raw files have been removed since
        raw = fetch(card, folder / RAW, source=None if source is None else Path(source), optional=optional)
        if _is_prepared(folder, card, chosen, raw, force):
            log.info("%s is prepared already", folder)
            return folder
        with working(f"preparing {card.name}"):
            made = _from_raw(card, raw, chosen, strict) if card.raw is not None else _from_reader(card, raw, recipe)
            _write(folder, card, _portable(made, folder), _key(card, chosen, raw), raw)
    return folder


def _is_prepared(folder: Path, card: DatasetCard, recipe: Recipe, raw: RawFiles, force: bool) -> bool:
    manifest = _manifest(folder)
    if not manifest:
        return False
    if manifest.get("key") == _key(card, recipe, raw):
        return bool(manifest.get("folder") == _relative(str(raw.folder), folder))  # else paths lead where files were
    if not force:
        settings = ", ".join(f"{name}={value}" for name, value in manifest.get("settings", {}).items())
        raise ValueError(
            f"expected no data set in {str(folder)!r} or the same one, got one from other files or settings "
            f"({settings}); make it anew with --force, or choose another root"
        )
    return False


def _manifest(folder: Path) -> dict[str, Any]:
    """Returns the manifest of a prepared folder, empty where there is none or what it describes is not whole."""
    if not (folder / CARD_FILE).is_file():
        return {}
    try:
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _key(card: DatasetCard, recipe: Recipe, raw: RawFiles) -> str:
    reading = card.raw if card.raw is not None else card.reader
    parts = {
        "form": FORM,
        "name": card.name,
        "reading": None if reading is None else reading.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "files": [(entry.file, entry.sha256) for entry in raw.files],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _from_raw(card: DatasetCard, files: RawFiles, recipe: Recipe, strict: bool) -> _Made:
    from graphrec.data.formats import FORMATS

    options: Any = card.raw
    try:
        raw: RawData = FORMATS[options.kind](files.folder, options)
    except FileNotFoundError as error:
        raise FileNotFoundError(" ".join(filter(None, (f"{error}.", instructions(card))))) from None
    found = _raw_counts(raw)
    _check_expected(card, found, strict)
    about = {
        "settings": recipe.model_dump(mode="json"),
        "raw": found,
        "expected": None if card.expected is None else card.expected.model_dump(exclude_none=True),
        "skipped": dict(raw.skipped),
    }
    return _Made(build(raw, recipe, name=card.name), about, _ratings(raw.interactions))


def _from_reader(card: DatasetCard, files: RawFiles, recipe: Mapping[str, Any] | None) -> _Made:
    if recipe:
        raise ValueError(f"expected no {', '.join(recipe)} for {card.name!r}: its files are a finished split")
    data = read_card(card, files.folder)
    return _Made(data, {"settings": {}, "raw": None, "expected": None, "skipped": {}})


def build(raw: RawData, recipe: Recipe, *, name: str) -> Dataset:
    """Turns what a parser found into a data set: threshold, k-core, split.

    With a k-core, items and users that nobody met leave like those that too few met.

    Args:
        raw: What the parser found.
        recipe: The rules.
        name: The data set's name.

    Raises:
        ValueError: If a column is missing, nothing is left, or a part of the split is empty.
    """
    frame, items, people, vectors = raw.interactions, raw.items, raw.people, dict(raw.vectors)
    if recipe.k_core is not None:
        items, people = items[items.index.isin(frame["item"])], people[people.index.isin(frame["user"])]
        vectors = {key: _met(entry, frame["item"]) for key, entry in vectors.items()}
    if recipe.split == GIVEN:
        frame = _with_valid(frame, recipe.seed, name)
    return from_dataframe(
        frame,
        rating=None if recipe.threshold is None else "rating",
        time=_time(frame, name),
        threshold=recipe.threshold,
        k_core=recipe.k_core,
        split="split" if recipe.split == GIVEN else recipe.split_config(),
        features=vectors,
        items=items,
        people=people,
        name=name,
    )


def read_own_folder(folder: Path) -> Dataset:
    """Reads a folder of your own tables and files as it stands: nothing is left out, 8:1:1 per user, seed 0.

    Where the table of interactions has a column ``split``, that is the split.

    Args:
        folder: With ``interactions`` and perhaps ``items`` and ``users`` as CSV, TSV or Parquet, and folders
            ``images``, ``audio`` and ``video``; see ``graphrec.data.formats.custom``.

    Raises:
        ValueError: If a table cannot be read, or leaves nothing to split.
    """
    from graphrec.data.formats.custom import CustomOptions, read_custom

    raw = read_custom(folder, CustomOptions())
    split = GIVEN if "split" in raw.interactions else "random"
    data = build(raw, Recipe(k_core=None, split=split), name=folder.resolve().name)
    return replace(data, items=_without_addresses(data.items))


def _met(vectors: Vectors, items: pd.Series) -> Vectors:
    known = vectors.ids.index.isin(items)
    return Vectors(Ids(vectors.ids.index[known], name="item"), vectors.values[known])


def _time(frame: pd.DataFrame, name: str) -> str | None:
    if "time" not in frame:
        return None
    unknown = int(frame["time"].isna().sum())
    if unknown:
        log.warning("%s: %d of %d times are unknown, so none is used", name, unknown, len(frame))
    return None if unknown else "time"


def _with_valid(frame: pd.DataFrame, seed: int, name: str) -> pd.DataFrame:
    """Returns the interactions with a validation part drawn from training, where the source gives none."""
    if "split" not in frame:
        raise ValueError(f"expected parts in the files of {name!r} for split=given, got none; choose another split")
    train = frame["split"] == TRAIN
    if (frame["split"] == VALID).any() or not (frame["split"] == TEST).any():
        return frame
    drawn = hold_out_valid(Interactions.from_frame(frame[train]).deduplicate(), seed=seed).valid.to_frame()
    pairs = pd.MultiIndex.from_frame(frame[["user", "item"]])
    chosen = train.to_numpy() & pairs.isin(pd.MultiIndex.from_frame(drawn[["user", "item"]]))
    log.info("%s: drew %d of %d training interactions for validation", name, len(drawn), int(train.sum()))
    return frame.assign(split=frame["split"].where(~chosen, VALID))


def _ratings(frame: pd.DataFrame) -> pd.DataFrame | None:
    """Returns the ratings by time, where there are any; the last one of a pair is written."""
    if "rating" not in frame:
        return None
    ordered = frame.sort_values("time", kind="stable") if "time" in frame else frame
    return ordered[["user", "item", "rating"]]


def _raw_counts(raw: RawData) -> dict[str, int]:
    frame = raw.interactions
    return {
        "users": int(frame["user"].nunique()),
        "items": int(frame["item"].nunique()),
        "interactions": len(frame),
        "described_users": len(raw.people),
        "described_items": len(raw.items),
    }


def _check_expected(card: DatasetCard, found: Mapping[str, int], strict: bool) -> None:
    expected: Expected | None = card.expected
    if expected is None:
        return
    wanted = {key: value for key in ("users", "items", "interactions") if (value := getattr(expected, key)) is not None}
    wrong = [
        f"{value} {key}, got {found[key]}"
        for key, value in wanted.items()
        if value not in (found[key], found.get(f"described_{key}"))
    ]
    if wrong:
        message = f"expected {card.name!r} to have {'; '.join(wrong)} ({expected.source})"
        if strict:
            raise ValueError(f"{message}; leave out --strict to go on with what is there")
        log.warning("%s", message)


def _portable(made: _Made, folder: Path) -> _Made:
    """Returns the data set with paths relative to its folder where they lie inside, addresses in a column apart."""
    items = _without_addresses(made.data.items)
    frame = items.frame.copy()
    for name in [name for name in PATH_MODALITIES if name in frame]:
        paths = [None if value is None else _relative(str(value), folder) for value in items.values(name)]
        frame[name] = pd.Series(paths, index=frame.index, dtype=object)
    return replace(made, data=replace(made.data, items=Catalog(items.ids, frame)))


def _without_addresses(items: Catalog) -> Catalog:
    """Returns the catalogue with the addresses of files in columns such as ``image_url``; nothing is fetched."""
    frame = items.frame.copy()
    for name in [name for name in PATH_MODALITIES if name in frame]:
        address = frame[name].map(_is_address).astype(bool)
        if address.any():
            frame[f"{name}_url"] = frame[name].where(address, None)
        frame[name] = frame[name].where(~address, None)
    empty = [name for name in PATH_MODALITIES if name in frame and not frame[name].notna().any()]
    return Catalog(items.ids, frame.drop(columns=empty))


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(ADDRESSES)


def _relative(value: str, folder: Path) -> str:
    path, base = Path(value).absolute(), folder.absolute()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()


def _write(folder: Path, card: DatasetCard, made: _Made, key: str, raw: RawFiles) -> None:
    """Writes all files beside the old ones, then puts them in their place; the card comes last and makes it valid."""
    partial = folder / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    reader = write_prepared(partial, made.data, rating=made.rating)
    counts = Counts.of(made.data)
    manifest = {
        "name": card.name,
        "graphrec": __version__,
        "key": key,
        "folder": _relative(str(raw.folder), folder),
        "files": [asdict(entry) for entry in raw.files],
        **made.about,
        "prepared": counts.model_dump(),
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    names = sorted(path.name for path in partial.iterdir())
    values = {field: getattr(card, field) for field in ("name", "title", "description", "licence", "citation")}
    values |= {"sources": list(card.sources), "columns": dict(card.columns), "reader": reader.model_dump(mode="json")}
    values |= {"files": {name: file_hash(partial / name) for name in names}, "counts": counts.model_dump()}
    (partial / CARD_FILE).write_text(dump_yaml(values), encoding="utf-8")
    (folder / CARD_FILE).unlink(missing_ok=True)
    for name in (*names, CARD_FILE):
        (partial / name).replace(folder / name)
    partial.rmdir()
