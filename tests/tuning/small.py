"""A small study for tests; as a process of its own it stops for ever in its second trial, so that it can be killed.

python -m tests.tuning.small FOLDER MARKER
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from graphrec.testing import block_data
from graphrec.tuning import trial, tune

METRIC = "Recall@5"
RULES = {"trials": 6, "startup_trials": 2, "warmup_epochs": 2}
CONFIG = {
    "model": {"name": "lightgcn", "embedding_dim": 8, "objective": {"temperature": 1.0}},
    "graph": {"neighbors": 4},
    "training": {"max_epochs": 4, "metric": METRIC, "batch_size": 64},
    "evaluation": {"metrics": ["recall"], "ks": [5]},
}
SPACE = ["model.num_layers", "model.l2", "training.learning_rate"]  # what that leaves open


def small(folder, **options):
    """Tunes LightGCN on the block data; rules laid over those above."""
    rules = {**RULES, **options.pop("tuning", {})}
    options = {"config": CONFIG, "data": block_data(), **options}
    return tune(folder=folder, tuning=rules, **options)


def told(study):
    """Returns what a study found, without how long it took, lost trials left out."""
    frame = study.trials[study.trials["state"] != "lost"]
    return frame.drop(columns=["number", "seconds", "retry_of"]).reset_index(drop=True)


def on_call(function, number, then):
    """Returns the function, but with something else happening in the call of that number, counted from 1."""
    calls = []

    def wrapper(*arguments, **options):
        calls.append(1)
        return then() if len(calls) == number else function(*arguments, **options)

    return wrapper


def main(folder: Path, marker: Path) -> None:
    """Runs a study that hangs in its second trial, after writing a marker."""

    def hang():
        marker.touch()
        time.sleep(600)

    trial.execute = on_call(trial.execute, 2, hang)
    small(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
