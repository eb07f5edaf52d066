"""Runs to make pages of: a small benchmark, and folders written by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from graphrec.data.interactions import Ids
from graphrec.evaluation.ranking import Evaluation
from graphrec.pipeline import benchmark
from graphrec.runs import RunFolder
from graphrec.testing import block_data

NUM_USERS = 50
STATISTICS = {"num_users": NUM_USERS, "num_items": 9, "num_interactions": 300}


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Returns the folder of a benchmark on block data: popularity, LightGCN and HeteroLightGCN, two seeds."""
    folder = tmp_path_factory.mktemp("made")
    settings = {
        "training": {"max_epochs": 3, "batch_size": 64, "learning_rate": 0.01, "metric": "Recall@5"},
        "graph": {"neighbors": 4},
        "evaluation": {"ks": [5, 10]},
        "seeds": [0, 1],
        "models": {
            "popularity": {"model": {"name": "popularity"}},
            "gcn": {"model": {"name": "lightgcn"}},
            "hetero": {"model": {"name": "hetero-lightgcn", "learn_coupling": True}},
        },
    }
    benchmark(settings, folder, data=block_data())
    return folder


@pytest.fixture
def write(tmp_path):
    """Returns a function that writes a run whose users have random values around a mean."""

    def written(label: str, mean: float = 0.3, seed: int = 0, *, data: str = "tiny", noise: int = 0, **changes):
        folder = RunFolder(tmp_path / "runs" / data / label / f"seed-{seed}")
        rng = np.random.default_rng([noise, seed])
        values = np.clip(mean + 0.05 * rng.standard_normal((NUM_USERS, 2)), 0, 1)
        frame = pd.DataFrame(values, columns=["Recall@20", "NDCG@20"], index=pd.RangeIndex(NUM_USERS, name="user"))
        found = Evaluation(frame, Ids([f"u{row}" for row in range(NUM_USERS)]))
        about = {"name": data, "identity": data, "fingerprint": "f", "notes": [], "statistics": STATISTICS}
        folder.begin({"model": {"name": label}}, about)
        folder.write_users("test", found)
        metrics = {"label": label, "seed": seed, "kind": "model", "refit": False, "closed_form": False}
        metrics |= {"metric": "Recall@20", "best_epoch": None, "test": found.mean(), "test_users": NUM_USERS}
        folder.write_metrics(metrics | {"valid": {"Recall@20": mean}} | changes)
        return folder

    return written
