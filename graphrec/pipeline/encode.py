"""Raw content to feature tables, modality by modality, with what a person wants to know about each."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphrec.config import ConfigError
from graphrec.data.dataset import Dataset
from graphrec.data.files import write_bytes
from graphrec.features.table import FeatureTable
from graphrec.features.tables import USER, FeatureConfig
from graphrec.runtime import logger

log = logger(__name__)


@dataclass(frozen=True, eq=False)
class EncodedModality:
    """One modality after encoding.

    Args:
        name: The modality; ``user_text`` and the like for users.
        table: Its vectors, aligned to the items or users.
        seconds: How long it took.
    """

    name: str
    table: FeatureTable
    seconds: float

    @property
    def unreadable(self) -> list[tuple[Any, str]]:
        """The ids whose value could not be read, with the reason."""
        return [(self.table.ids.ids([row]).tolist()[0], reason) for row, reason in self.table.unreadable.items()]

    def write(self, folder: Path) -> list[Path]:
        """Writes ``<name>.npy``, float32 ``(num_present, dim)``, and ``<name>.ids.csv``, the id of every row.

        Where values could not be read, ``<name>.unreadable.csv`` says which and why.
        """
        buffer = io.BytesIO()
        np.save(buffer, self.table.values, allow_pickle=False)
        kind, present = self.table.ids.name, self.table.ids.ids(self.table.rows).tolist()
        contents = {"npy": buffer.getvalue(), "ids.csv": _csv([kind], [[identity] for identity in present])}
        if self.unreadable:
            contents["unreadable.csv"] = _csv([kind, "reason"], self.unreadable)
        paths = {ending: folder / f"{self.name}.{ending}" for ending in contents}
        for ending, content in contents.items():
            write_bytes(paths[ending], content)
        return list(paths.values())


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return lines.getvalue().encode("utf-8", "surrogatepass")


def encode(data: Dataset, config: FeatureConfig | None = None) -> Iterator[EncodedModality]:
    """Encodes the content of a data set and yields every modality as it is done; a warm store makes it a lookup.

    Args:
        data: The data set.
        config: How each modality is made; the light encoders of ``text`` and ``image`` by default.

    Raises:
        ConfigError: If there is nothing to encode, or a modality, a column or an encoder is unknown.
        UnreadableError: If a value cannot be read and ``strict`` is set, or no value of a modality can be read.
        ValueError: If vectors do not match the items.
    """
    config = config or FeatureConfig()
    items, users = config.made_of(data)
    if not items and not users:
        columns = ", ".join((*data.items.columns, *(f"{USER}{name}" for name in data.people.columns))) or "none"
        raise ConfigError(
            f"expected something to encode in {data.name!r}, got no encoder for any of its columns ({columns}); name "
            "one, as in text=light or image=open_clip:ViT-B-32/laion2b_s34b_b79k"
        )
    for name in items:
        yield _timed(name, data, config.model_copy(update={"modalities": (name,)}), users=False)
    for name in users:
        only = {name.removeprefix(USER): config.user_encoders[name.removeprefix(USER)]}
        yield _timed(name, data, config.model_copy(update={"user_encoders": only}), users=True)


def _timed(name: str, data: Dataset, config: FeatureConfig, *, users: bool) -> EncodedModality:
    log.info("%s …", name)
    began = time.perf_counter()
    tables = config.user_tables(data) if users else config.tables(data)
    return EncodedModality(name, tables[name], time.perf_counter() - began)
