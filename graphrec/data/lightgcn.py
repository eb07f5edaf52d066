"""LightGCN's text format: a line ``user item item …`` per user, a file per part of the split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Split
from graphrec.data.files import ReaderOptions, require_file
from graphrec.data.interactions import Ids, Interactions
from graphrec.data.splits import hold_out_valid, merge_repeats


class LightGCNOptions(ReaderOptions):
    """A folder in LightGCN's form: a line ``user item item …`` per user; a user's list may be empty.

    Args:
        train: The training interactions.
        valid: The validation interactions; where there is no such file, they are drawn from the training ones.
        test: The test interactions.
        valid_fraction: The share of every user's training interactions to draw, see ``hold_out_valid``.
        seed: The seed of that draw.
    """

    kind: Literal["lightgcn"] = "lightgcn"
    train: str = "train.txt"
    valid: str = "valid.txt"
    test: str = "test.txt"
    valid_fraction: float = Field(0.1, gt=0, lt=1)
    seed: int = 0


def read_lightgcn(folder: str | Path, options: LightGCNOptions | None = None, *, name: str | None = None) -> Dataset:
    """Reads a folder in LightGCN's form (https://arxiv.org/abs/2002.02126).

    Without a validation file a part of the training interactions is drawn by the seed.

    Args:
        folder: The folder of the files.
        options: The files and how to read them.
        name: The data set's name; the folder's by default.

    Raises:
        FileNotFoundError: If the training or test file is missing.
        ValueError: If a line holds something else than integers, a pair is in two parts of the split, or a part is
            empty.
    """
    folder, options = Path(folder), options or LightGCNOptions()
    name = name or folder.name
    valid = options.valid if (folder / options.valid).is_file() else None
    parts = [read_lists(folder / file) for file in (options.train, valid, options.test) if file is not None]
    users, items = (Ids.from_values(np.concatenate(ids), name=kind) for ids, kind in _vocabularies(parts))
    met = [
        merge_repeats(Interactions(users.rows(user), items.rows(item), users, items), name=name)
        for user, item, _ in parts
    ]
    train, test = met[0], met[-1]
    drawn = len(parts) == 2
    split = hold_out_valid(train, fraction=options.valid_fraction, seed=options.seed) if drawn else Split(*met[:2])
    notes = (f"validation drawn from train by seed {options.seed}",) if drawn else ()
    return Dataset(name, split, test, Catalog.empty(items), Catalog.empty(users), notes=notes)


def read_lists(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Reads lines of ``user item item …``.

    Returns:
        Users and items of every interaction, each ``(num_interactions,)``, and the user of every line, those with an
        empty list included.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds something else than integers.
    """
    text = require_file(path).read_text(encoding="utf-8-sig")
    lengths = np.fromiter((len(line.split()) for line in text.splitlines()), dtype=np.int64)
    lengths = lengths[lengths > 0]
    try:
        numbers = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"expected lines of integers 'user item item …' in {path}: {error}") from None
    starts = np.cumsum(lengths) - lengths
    is_item = np.ones(len(numbers), dtype=bool)
    is_item[starts] = False
    return np.repeat(numbers[starts], lengths - 1), numbers[is_item], numbers[starts]


def _vocabularies(parts: Sequence[tuple[NDArray[np.int64], ...]]) -> tuple[tuple[list[NDArray[np.int64]], str], ...]:
    return ([users for _, _, users in parts], "user"), ([items for _, items, _ in parts], "item")
