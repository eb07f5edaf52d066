"""What the flagship costs beside tuned FREEDOM: seconds to the best epoch, both in one run on the same machine.

    GRAPHREC_DATA=… python experiments/flagship/cost.py --data amazon-baby --seeds 0 1 2

The settings are the shipped ones of the flagship and the tuned ones of FREEDOM; the two take turns, so that what else
the machine does falls on both. Counted are the epochs up to the one that validation chose, without evaluations, and
what is set up before (the flagship's linear channel, solved once per graph, is charged to every seed). The test set is
not scored. Prints a line per run and the ratio of the means; a Markdown table goes to ``--out``.
"""

from __future__ import annotations

import argparse
import gc
import logging
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from graphrec import Dataset, fit, load_dataset
from graphrec.config import load_yaml

ROOT = Path(__file__).resolve().parents[2]
TUNED = ROOT / "experiments" / "results" / "tuned"
LINE = "| {} | {} | {:.0f} | {:.0f} | {:.2f} | {:.0f} | {:.4f} |"


class Cost(NamedTuple):
    """Of one run: seconds before and up to the best epoch, that epoch, seconds of an epoch, validation Recall@20."""

    setup: float
    training: float
    epoch: int
    per_epoch: float
    recall: float


def cost(data: Dataset, path: Path, seed: int) -> Cost:
    """Trains once with the settings of a file."""
    values = load_yaml(path)
    model = dict(values["model"])
    training = {**values["training"], "trackers": []}
    run = fit(model.pop("name"), data, seed=seed, config=model, training=training, features=values.get("features", {}))
    result = run.result
    seconds = [row["seconds"] for row in result.history]
    found = Cost(
        run.record.seconds["model"],
        sum(seconds[: result.best_epoch]),
        result.best_epoch,
        float(np.mean(seconds)),
        result.best_value,
    )
    del run
    gc.collect()  # with its graph goes the solution that was kept for it
    return found


def main() -> None:
    """Trains both models in turns and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="amazon-baby")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", type=Path, help="the flagship's settings; those shipped for the data by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "experiments" / "results" / "flagship")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("graphrec").setLevel(logging.WARNING)
    torch.set_num_threads(options.threads)
    data = load_dataset(options.data)
    models = {
        "freedom": TUNED / options.data / "freedom" / "best.yaml",
        "hetero-lightgcn": options.config or ROOT / "configs" / f"flagship-{options.data}.yaml",
    }
    found: dict[str, list[Cost]] = {name: [] for name in models}
    lines = [
        "| model | seed | set-up, s | training to the best, s | an epoch, s | best epoch | validation Recall@20 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for seed in options.seeds:
        for name, path in models.items():
            one = cost(data, path, seed)
            found[name].append(one)
            lines.append(LINE.format(name, seed, one.setup, one.training, one.per_epoch, one.epoch, one.recall))
            print(lines[-1], flush=True)
    plain, flagship = (np.mean([one.setup + one.training for one in rows]) for rows in found.values())
    lines.append(f"\n- {options.data}: set-up and training of the flagship take {flagship / plain:.2f} times FREEDOM's")
    print(lines[-1])
    options.out.mkdir(parents=True, exist_ok=True)
    name = f"cost-{options.data}.md" if options.config is None else f"cost-{options.data}-{options.config.stem}.md"
    (options.out / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
