"""MMRec's format: an ``.inter`` table with ``x_label``, features as ``.npy``, given kNN graphs as ``.npz``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field, model_validator

from graphrec.config import Config, ConfigError, unknown_name
from graphrec.data.catalog import Catalog, check_modalities
from graphrec.data.dataset import Dataset, Vectors
from graphrec.data.files import ReaderOptions, join_texts, load_array, load_graph, read_columns
from graphrec.data.interactions import Ids, Interactions
from graphrec.data.splits import split_given


class FeatureFile(Config):
    """One modality's vectors: a ``.npy`` array whose row r belongs to the item with id r. A bare name is its file.

    Args:
        file: The file's name.
        center: Whether the mean vector is subtracted.
        optional: Whether it is read only when asked for by name.
        note: A label that tables must show when these vectors are used.
    """

    file: str
    center: bool = False
    optional: bool = False
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, values: Any) -> Any:
        return {"file": values} if isinstance(values, str) else values


class ContentFile(Config):
    """A catalogue column read from a table of items.

    Args:
        file: The table's name.
        columns: The columns whose texts are joined.
        key: The column that names the item.
        through: A second table with the columns ``itemID`` and ``key``, where ``key`` is not the item id itself.
    """

    file: str
    columns: tuple[str, ...] = Field(min_length=1)
    key: str = "itemID"
    through: str | None = None


class MMRecOptions(ReaderOptions):
    """A folder in MMRec's form.

    Args:
        inter: The interactions: ``userID``, ``itemID``, ``x_label`` (0 train, 1 valid, 2 test), perhaps ``rating``
            and ``timestamp``.
        separator: Between the columns of ``inter``.
        threshold: Ratings below it are dropped; none: every row counts.
        features: Vectors by modality.
        neighbors: Given kNN graphs by modality: ``.npz`` files of SciPy CSR matrices in item-row order.
        content: Catalogue columns, such as ``text``.
    """

    kind: Literal["mmrec"] = "mmrec"
    inter: str
    separator: str = "\t"
    threshold: float | None = None
    features: dict[str, FeatureFile] = Field(default_factory=dict)
    neighbors: dict[str, str] = Field(default_factory=dict)
    content: dict[str, ContentFile] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        check_modalities([*self.features, *self.neighbors, *self.content])
        return self

    def choose(self, features: Sequence[str]) -> Self:
        """Returns the options that read exactly these modalities' vectors, optional ones included."""
        for name in features:
            if name not in self.features:
                raise ConfigError(unknown_name(name, self.features, kind="features"))
        chosen = {name: self.features[name].model_copy(update={"optional": False}) for name in features}
        return self.model_copy(update={"features": chosen})


def read_mmrec(folder: str | Path, options: MMRecOptions, *, name: str | None = None) -> Dataset:
    """Reads a folder in MMRec's form (https://arxiv.org/abs/2302.03497).

    The items are all that the interactions, the features or the given neighbours know, those without an interaction
    included. Row r of a feature file or a kNN graph belongs to the item with id r.

    Args:
        folder: The folder of the files.
        options: The files and how to read them.
        name: The data set's name; the folder's by default.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a column is missing, features or graphs do not match the items, a pair is in two parts of the
            split, or a part is empty.
    """
    folder = Path(folder)
    name = name or folder.name
    frame = read_columns(folder / options.inter, ["userID", "itemID", "x_label"], separator=options.separator)
    files = {key: entry for key, entry in options.features.items() if not entry.optional}
    arrays = {key: load_array(folder / entry.file) for key, entry in files.items()}
    graphs = {key: load_graph(folder / file) for key, file in options.neighbors.items()}
    items = _item_ids(frame["itemID"], arrays, graphs, name)
    rating, time = (column if column in frame else None for column in ("rating", "timestamp"))
    interactions = Interactions.from_frame(frame, user="userID", item="itemID", weight=rating, time=time, items=items)
    split, test = split_given(interactions, frame["x_label"], threshold=options.threshold, name=name)
    return Dataset(
        name=name,
        split=split,
        test=test,
        items=Catalog.from_columns(items, read_content(folder, options.content, items)),
        people=Catalog.empty(interactions.users),
        vectors={key: Vectors(items, _centred(arrays[key]) if files[key].center else arrays[key]) for key in files},
        neighbors=graphs,
        notes=tuple(f"{key} vectors: {entry.note}" for key, entry in files.items() if entry.note),
    )


def read_content(folder: Path, files: Mapping[str, ContentFile], items: Ids) -> dict[str, pd.Series]:
    """Reads catalogue columns keyed by item id; rows of items outside the vocabulary are left out.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a column is missing.
    """
    return {name: _content(folder, entry, items) for name, entry in files.items()}


def _content(folder: Path, entry: ContentFile, items: Ids) -> pd.Series:
    separator = "\t" if entry.file.endswith(".tsv") else ","
    frame = read_columns(folder / entry.file, [entry.key, *entry.columns], separator=separator)
    if entry.through is not None:
        keys = read_columns(folder / entry.through, ["itemID", entry.key])[["itemID", entry.key]]
        frame = keys.merge(frame, on=entry.key)
    key = "itemID" if entry.through else entry.key
    frame = frame[items.find(frame[key]) >= 0].drop_duplicates(key)
    return join_texts(frame, entry.columns).set_axis(frame[key])


def _item_ids(
    found: pd.Series, arrays: Mapping[str, NDArray[Any]], graphs: Mapping[str, sp.csr_array], name: str
) -> Ids:
    sizes = {f"{key} features": len(array) for key, array in arrays.items()}
    sizes |= {f"{key} neighbours": graph.shape[0] for key, graph in graphs.items()}
    if not sizes:
        return Ids.from_values(found, name="item")
    if found.dtype.kind not in "iu" or found.min() < 0:
        raise ValueError(f"expected item ids 0, 1, … in {name!r}: row r of its features belongs to item r")
    sizes["interactions"] = int(found.max()) + 1
    largest = max(sizes, key=lambda source: sizes[source])
    num_items = sizes[largest]
    for source, size in sizes.items():
        if size != num_items and source != "interactions":
            missing = ", ".join(map(str, range(size, min(size + 5, num_items))))
            raise ValueError(
                f"expected {num_items} feature rows (items of {name!r}, by its {largest}), got {size} {source} rows; "
                f"missing ids: {missing}{', …' if num_items - size > 5 else ''}"
            )
    return Ids(range(num_items), name="item")


def _centred(values: NDArray[Any]) -> NDArray[np.float32]:
    finite = np.isfinite(values).all(axis=1)  # rows that are not are reported by FeatureTable, with their ids
    return (values - values[finite].mean(axis=0, dtype=np.float64)).astype(np.float32)
