"""What a finished run says beside its accuracy: measures of its lists, and slices, from the lists that it kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import pandas as pd

from graphrec.data.interactions import Interactions
from graphrec.evaluation import beyond
from graphrec.evaluation.lists import Lists
from graphrec.evaluation.slices import SliceMetrics, item_slices, slice_items, slice_users, user_slices
from graphrec.graph.modalities import feature_tables, modality_masks

if TYPE_CHECKING:
    from graphrec.pipeline.result import Run

Part = Literal["valid", "test"]


def beyond_accuracy(run: Run, ks: Sequence[int] | None = None, part: Part = "test") -> beyond.BeyondAccuracy:
    """Returns novelty, popularity, diversity, coverage, exposure, fairness … of the lists of a run.

    What every measure means is in ``graphrec.evaluation.beyond.MEASURES``.

    Args:
        run: The run.
        ks: The cut-offs; the length of the lists by default.
        part: ``"test"``, which is scored if it never was, or ``"valid"``.

    Raises:
        ValueError: If that part has no lists, or a cut-off is beyond them.
    """
    lists, known, truth = _lists(run, part)
    features = feature_tables(run.graph, run.data.split.items)
    return beyond.beyond_accuracy(lists, known, ks or (lists.depth,), truth=truth, features=features)


def slices(
    run: Run,
    metrics: Sequence[str] = ("recall", "ndcg"),
    ks: Sequence[int] | None = None,
    part: Part = "test",
    columns: Sequence[str] = (),
) -> SliceMetrics:
    """Returns the accuracy of a run on slices: items by popularity and modality, users by activity, any column.

    Args:
        run: The run.
        metrics: Keys of ``METRICS``.
        ks: The cut-offs; the length of the lists by default.
        part: ``"test"``, which is scored if it never was, or ``"valid"``.
        columns: Columns of the item catalogue to slice by as well.

    Raises:
        KeyError: If there is no such column.
        ValueError: If that part has no lists, a cut-off is beyond them, or a metric is unknown.
    """
    lists, known, truth = _lists(run, part)
    ks = ks or (lists.depth,)
    items = item_slices(known, modalities=modality_masks(run.graph), catalog=run.data.items, columns=columns)
    found = [slice_items(lists, truth, items, metrics, ks), slice_users(lists, truth, user_slices(known), metrics, ks)]
    return SliceMetrics(pd.concat([one.values for one in found]), pd.concat([one.counts for one in found]))


def _lists(run: Run, part: Part) -> tuple[Lists, Interactions, Interactions]:
    """Returns the lists of a part, the interactions that the model knew, and those held out."""
    if part == "test":
        return Lists.of(run.evaluate()), run.trained_on, run.data.test
    if part != "valid":
        raise ValueError(f"expected the part 'valid' or 'test', got {part!r}")
    if run.record.valid is None:
        raise ValueError(f"expected a run with validation scores, got {run!r} without; take part='test'")
    return Lists.of(run.record.valid), run.data.split.train, run.data.split.valid
