"""LightGCN's lists of items by user, as they were published: a training and a test file, and the original ids."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from graphrec.config import Config
from graphrec.data.formats.collect import TEST, TRAIN, VALID, Collector
from graphrec.data.formats.lines import Form, find_file, find_optional, read_batches
from graphrec.data.lightgcn import read_lists
from graphrec.data.raw import RawData

SPACES = Form(" ", quoted=False)


class ListsOptions(Config):
    """Files in LightGCN's form.

    Args:
        train: The training interactions, a line ``user item item …`` per user.
        valid: The validation interactions; need not be there, and are not at the source.
        test: The test interactions.
        item_list: The original ids of the items, ``org_id remap_id``; need not be there.
        user_list: The original ids of the users; need not be there.
    """

    kind: Literal["lightgcn"] = "lightgcn"
    train: str = "train.txt"
    valid: str | None = "valid.txt"
    test: str = "test.txt"
    item_list: str | None = "item_list.txt"
    user_list: str | None = "user_list.txt"


def read_lightgcn_raw(folder: Path, options: ListsOptions) -> RawData:
    """Reads the files of LightGCN (https://github.com/kuandeng/LightGCN, arXiv:2002.02126).

    Args:
        folder: The folder of the raw files.
        options: Their names.

    Returns:
        Events with ``split`` (there is no validation part without its file); items and people with
        ``original``, the id in the source (a place of Gowalla, a business of Yelp, a book of Amazon).

    Raises:
        FileNotFoundError: If the training or test file is missing.
        ValueError: If a line holds something else than integers.
    """
    collector = Collector(has_split=True)
    paths = {find_file(folder, options.train): TRAIN, find_file(folder, options.test): TEST}
    valid = find_optional(folder, options.valid)
    paths |= {} if valid is None else {valid: VALID}
    for path, part in paths.items():
        users, items = _pairs(path)
        for row, (user, item) in enumerate(zip(users, items, strict=True), start=1):
            collector.event(path, row, user, item, split=part)
    for name, describe in ((options.item_list, collector.item), (options.user_list, collector.person)):
        path_of_ids = find_optional(folder, name)
        if path_of_ids is None:
            continue
        for batch in read_batches(path_of_ids, ("org_id", "remap_id"), collector.skips, form=SPACES):
            for line, original, row_id in zip(batch.numbers, *batch, strict=True):
                describe(path_of_ids, line, row_id, {"original": original.strip()})
    return collector.finish(next(iter(paths)))


def _pairs(path: Path) -> tuple[list[int], list[int]]:
    users, items, _ = read_lists(path)
    return users.tolist(), items.tolist()
