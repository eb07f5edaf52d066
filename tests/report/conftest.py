"""Run folders written by hand: what a table needs, with values drawn from a seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from graphrec.data.interactions import Ids
from graphrec.evaluation.ranking import Evaluation
from graphrec.runs import RunFolder

NUM_USERS = 50
METRICS = ["Recall@20", "NDCG@20", "MRR@20"]


def drawn(seed: int, shift: float, label: str = "") -> Evaluation:
    """Returns values of every user that hang on the user, on the seed, and on chance."""
    users = np.random.default_rng(0).random((NUM_USERS, 3)) * 0.5
    rng = np.random.default_rng([seed, *label.encode()])
    values = np.clip(users + shift + rng.normal(0, 0.002) + rng.normal(0, 0.05, users.shape), 0, 1)
    frame = pd.DataFrame(values, columns=METRICS, index=pd.RangeIndex(NUM_USERS, name="user"))
    return Evaluation(frame, Ids([f"u{row}" for row in range(NUM_USERS)]))


@pytest.fixture
def scores():
    """Returns the function that draws the values of a label, seed and shift."""
    return drawn


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a run folder."""

    def written(label: str, seed: int = 0, shift: float = 0.0, *, name: str = "", **changes) -> RunFolder:
        folder = RunFolder(tmp_path / (name or f"{label}-{seed}"))
        found = changes.pop("values", None) or drawn(seed, shift, label)
        about = {"name": "tiny", "identity": "a", "notes": ["unseen ids dropped: 3 valid, 4 test"]}
        about |= {key: changes.pop(key) for key in ("identity",) if key in changes}
        folder.begin({"model": {"name": label, "seed": seed, **changes.pop("model", {})}}, about)
        if changes.pop("keep_users", True):
            folder.write_users("test", found)
        metrics = {"label": label, "seed": seed, "kind": "model", "refit": False, "closed_form": False}
        metrics |= {"metric": "Recall@20", "best_epoch": 2, "test": found.mean(), "test_users": NUM_USERS}
        folder.write_metrics(metrics | {"valid": {"Recall@20": 0.3}} | changes)
        return folder

    return written


@pytest.fixture
def runs(write):
    """Returns a benchmark with a known ceiling, three trained models, one of them refit, and a closed form."""
    return [
        write("oracle", shift=0.4, kind="oracle", seed=0),
        *(write("base", seed) for seed in (0, 1, 2)),
        *(write("good", seed, 0.2) for seed in (0, 1, 2)),
        write("ease", 9, 0.05, closed_form=True),
        *(write("final", seed, 0.1, refit=True) for seed in (0, 1, 2)),
    ]
