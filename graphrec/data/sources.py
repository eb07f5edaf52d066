"""Where a data set comes from: a name, a folder, a file, or a DataFrame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graphrec.config import ConfigError, resolve, unknown_name
from graphrec.data.cards import CARD_FILE, VARIANT_SEPARATOR, card_names, find_card, load_card, read_card
from graphrec.data.content import from_columns, gather
from graphrec.data.dataset import Dataset
from graphrec.data.files import read_columns, read_parquet, require_file
from graphrec.data.interactions import Ids, Interactions
from graphrec.data.splits import PARTS, SPLITS, Repeats, SplitConfig, merge_repeats, split_given

SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}
TABLE_SUFFIXES = (*SEPARATORS, ".parquet")
CARD_SUFFIXES = (".yaml", ".yml")
SYNTHETIC = "synthetic"
GENERATOR = "graphrec.data.synthetic:generate"
OWN_FOLDER = "graphrec.data.prepare:read_own_folder"


def load_dataset(
    source: str | Path,
    *,
    root: str | Path | None = None,
    features: Sequence[str] | None = None,
    drop_unseen: bool = False,
) -> Dataset:
    """Loads a data set by name or from a path.

    Args:
        source: A name with a card, such as ``"amazon-baby"``, or ``"amazon-2014:Baby"`` where it has variants;
            ``"synthetic"`` or ``"synthetic:200"`` for the embedded catalogue with about that many interactions; a
            folder with a ``dataset.yaml`` card, or such a card, its files beside it; a folder of your own tables and
            files, see ``graphrec.data.formats.custom``; or a CSV, TSV or Parquet table with the columns ``user`` and
            ``item``, perhaps ``rating`` (all count), ``time``, the items' ``text`` and ``image`` (a path beside the
            table), and ``split`` (0, 1, 2 or train, valid, test), else split 8:1:1 per user, seed 0.
        root: The folder that holds the named data sets; by default GRAPHREC_DATA, else ``./data``.
        features: The modalities whose vectors are read, those a card calls optional included; by default all others.
        drop_unseen: Whether valid and test interactions with ids that training never saw are dropped, which labels
            the data set.

    Raises:
        ConfigError: If the name, or a name in ``features``, is unknown.
        FileNotFoundError: If the data or one of its files is missing.
        ValueError: If the data is not what was expected.
    """
    dataset = _load(source, root, features)
    return dataset.drop_unseen() if drop_unseen else dataset


def from_dataframe(
    df: pd.DataFrame,
    *,
    user: str = "user",
    item: str = "item",
    rating: str | None = None,
    time: str | None = None,
    threshold: float | None = None,
    repeats: Repeats = "sum",
    k_core: int | None = None,
    split: str | SplitConfig | None = None,
    features: Mapping[str, Any] | None = None,
    user_features: Mapping[str, Any] | None = None,
    items: pd.DataFrame | None = None,
    people: pd.DataFrame | None = None,
    name: str = "dataframe",
) -> Dataset:
    """Builds a data set from a DataFrame of interactions.

    Ids that only the features or catalogues know become items (users) without an interaction; ids that the threshold
    or the k-core removes take their features along.

    Args:
        df: One row per interaction.
        user: The column of user ids.
        item: The column of item ids.
        rating: The column of ratings, if any.
        time: The column of times, if any.
        threshold: The lowest rating that counts as an interaction; without it all count.
        repeats: How repeated pairs become one: ``"sum"`` counts them as a weight, ``"first"`` and ``"last"`` keep one
            by time.
        k_core: Users and items with fewer interactions are removed until none is left.
        split: The name of a split (see ``SplitConfig``), its configuration, or the column that says 0, 1, 2 or train,
            valid, test; by default 8:1:1 per user at random, seed 0.
        features: What is known about items by modality, see ``graphrec.data.content.gather``; a string names a
            column of ``df``, such as ``{"text": "title", "image": "path"}``.
        user_features: The same about users.
        items: Further item attributes, indexed by item id.
        people: Further user attributes, indexed by user id.
        name: The name shown in tables.

    Raises:
        ConfigError: If there is no such split or column of features.
        TypeError: If a feature has a form that cannot be read.
        ValueError: If a column or value is missing, no rating reaches the threshold, the k-core is empty, features
            cannot be aligned, have ids that match none of the interactions' or a name that is none for a modality, or
            a part of the split is empty.
    """
    found = Interactions.from_frame(df, user=user, item=item, weight=rating, time=time)
    labels = _labels(df, split)
    kept = _kept(found, threshold)
    if labels is None:
        kept = _core(merge_repeats(kept, repeats, name=name), k_core)
    elif k_core is not None:
        raise ValueError(f"expected no k_core with a split given by the column {split!r}, got {k_core}; filter before")
    features, user_features = from_columns(features, df, item), from_columns(user_features, df, user)
    about_items = gather(features, items, found.items).without(_gone(found.items, kept.items))
    about_people = gather(user_features, people, found.users).without(_gone(found.users, kept.users))
    kept = kept.reindex(users=about_people.extend(kept.users), items=about_items.extend(kept.items))
    if labels is None:
        parts = _split_config(split).apply(kept)
    else:
        parts = split_given(kept, labels[found.positive(threshold)], repeats=repeats, name=name)
    return Dataset(
        name=name,
        split=parts[0],
        test=parts[1],
        items=about_items.catalog(kept.items),
        people=about_people.catalog(kept.users),
        vectors=about_items.vectors,
        user_vectors=about_people.vectors,
    )


def read_table(
    path: str | Path,
    *,
    user: str = "user",
    item: str = "item",
    rating: str | None = None,
    time: str | None = None,
    separator: str | None = None,
) -> pd.DataFrame:
    """Reads a CSV, TSV or Parquet table of interactions for ``from_dataframe``.

    Args:
        path: The file; its suffix says the format.
        user: The column of user ids.
        item: The column of item ids.
        rating: The column of ratings, if any.
        time: The column of times, if any.
        separator: Between the columns of a text file, where the suffix does not say it.

    Returns:
        The table with the columns named ``user``, ``item``, ``rating`` and ``time``; other columns stay. In
        text files ids keep their form: ``NA`` and ``001`` are strings, and only what is empty is missing.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read, a column is missing or the format is unknown.
    """
    path = Path(path)
    named = {"user": user, "item": item, "rating": rating, "time": time}
    renamed = {old: new for new, old in named.items() if old is not None}
    if path.suffix == ".parquet" and separator is None:
        frame = read_parquet(path, list(renamed))
    else:
        frame = read_columns(path, list(renamed), separator=separator or _separator(path), ids=[user, item])
    hidden = [new for old, new in renamed.items() if old != new and new in frame.columns and new not in renamed]
    return frame.drop(columns=hidden).rename(columns=renamed)


def describe(dataset: Dataset) -> pd.DataFrame:
    """Describes a data set: statistics, split sizes, unseen ids, and what is known about how many items and users.

    Returns:
        A table with the columns ``part``, ``property`` and ``value``.
    """
    rows: list[tuple[str, str, Any]] = [("data set", "name", dataset.name)]
    rows += [("interactions", key, value) for key, value in dataset.statistics().items()]
    rows += [("vectors", name, _shape(entry.values, dataset.num_items)) for name, entry in dataset.vectors.items()]
    rows += [
        ("user vectors", name, _shape(entry.values, dataset.num_users)) for name, entry in dataset.user_vectors.items()
    ]
    rows += [("neighbours", name, f"{graph.nnz} edges") for name, graph in dataset.neighbors.items()]
    for part, catalog in (("item content", dataset.items), ("user content", dataset.people)):
        rows += [(part, name, _share(int(catalog.present(name).sum()), len(catalog.ids))) for name in catalog.columns]
    rows += [("note", str(number), note) for number, note in enumerate(dataset.notes, start=1)]
    return pd.DataFrame(rows, columns=["part", "property", "value"])


def _load(source: str | Path, root: str | Path | None, features: Sequence[str] | None) -> Dataset:
    name = source if isinstance(source, str) else None
    if name is not None and name.partition(":")[0] == SYNTHETIC:
        _no_features(features, name)
        return _synthetic(name)
    if name is not None and name.partition(VARIANT_SEPARATOR)[0] in card_names():
        card, folder = find_card(name, root)
        return read_card(card, folder, features=features)
    return _load_path(Path(source), features)


def _load_path(path: Path, features: Sequence[str] | None) -> Dataset:
    if _is_own_folder(path):
        _no_features(features, path.name)
        return resolve(OWN_FOLDER, {}, kind="data set")(path)
    if path.is_dir() or path.suffix in CARD_SUFFIXES:
        file = require_file(path / CARD_FILE if path.is_dir() else path)
        return read_card(load_card(file), file.parent, features=features)
    if path.suffix in TABLE_SUFFIXES:
        _no_features(features, path.name)
        return _from_table(path)
    if len(path.parts) > 1:
        raise FileNotFoundError(f"no file or folder {str(path)!r} with a data set ({CARD_FILE}, CSV, TSV or Parquet)")
    raise ConfigError(f"{unknown_name(path.name, (*card_names(), SYNTHETIC), kind='data set')}; or the path of one")


def _is_own_folder(path: Path) -> bool:
    """Returns whether a folder without a card holds a table of interactions."""
    return not (path / CARD_FILE).is_file() and any((path / f"interactions{end}").is_file() for end in TABLE_SUFFIXES)


def _synthetic(name: str) -> Dataset:
    size = name.partition(":")[2]
    generate = resolve(GENERATOR, {}, kind="data set")
    if not size:
        return generate()
    if not size.isdecimal():
        raise ConfigError(f"expected a number of interactions as in 'synthetic:200', got {name!r}")
    return generate(int(size))


def _from_table(path: Path) -> Dataset:
    frame = read_table(path)
    rating, time, split = (column if column in frame.columns else None for column in ("rating", "time", "split"))
    content = {
        column: column for column in ("text", "image") if column in frame.columns and frame[column].notna().any()
    }
    if "image" in content:
        frame = frame.assign(image=frame["image"].map(lambda value: _beside(path, value)))
    return from_dataframe(frame, rating=rating, time=time, split=split, features=content, name=path.stem)


def _beside(table: Path, value: object) -> str | None:
    """Returns a picture's path, taken relative to the folder of the table; None where there is none."""
    return str(table.parent / value) if isinstance(value, str) and value.strip() else None


def _no_features(features: Sequence[str] | None, name: str) -> None:
    if features:
        raise ConfigError(
            f"expected no features={list(features)} for {name!r}, which has no feature files to choose from"
        )


def _labels(df: pd.DataFrame, split: str | SplitConfig | None) -> NDArray[Any] | None:
    if not isinstance(split, str) or split not in df.columns:
        return None
    codes: dict[Any, int] = {part: code for code, part in enumerate(PARTS)}
    return np.array([codes.get(label, label) for label in df[split]], dtype=object)


def _split_config(split: str | SplitConfig | None) -> SplitConfig:
    if isinstance(split, SplitConfig):
        return split
    if split is not None and split not in SPLITS:
        raise ConfigError(f"{unknown_name(split, SPLITS, kind='split')}; or the column that holds the parts")
    return SplitConfig(name=split or "random")


def _kept(found: Interactions, threshold: float | None) -> Interactions:
    positive = found.implicit(threshold)
    return positive if threshold is None else positive.compact()


def _core(interactions: Interactions, k: int | None) -> Interactions:
    if k is None:
        return interactions
    core = interactions.k_core(k)
    if not len(core):
        raise ValueError(f"expected a {k}-core with interactions, got none out of {len(interactions)}; use a smaller k")
    return core


def _gone(before: Ids, after: Ids) -> pd.Index:
    return before.index[after.find(before.index) < 0]


def _separator(path: Path) -> str:
    if path.suffix not in SEPARATORS:
        raise ValueError(
            f"expected a file ending in {', '.join(TABLE_SUFFIXES)}, got {path.name!r}; or name a separator"
        )
    return SEPARATORS[path.suffix]


def _shape(values: NDArray[Any], total: int) -> str:
    return f"{_share(len(values), total)}, {values.shape[1]} numbers each"


def _share(count: int, total: int) -> str:
    return f"{count} of {total} ({count / total:.1%})" if total else "0 of 0"
