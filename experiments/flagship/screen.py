"""One training run of the flagship, judged on validation: a line of the research log.

    python experiments/flagship/screen.py amazon-baby model.linear.weight=0.2 training.negatives=1024

The settings are those of ``configs/flagship-<data set>.yaml`` with the overrides; another model by ``--config``. The
test set is not scored. Prints the best epoch by validation Recall@20 with its NDCG@20 and the seconds to it, and with
``--log FILE`` appends that line to a file.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path

import torch

from graphrec import fit, load_dataset
from graphrec.config import apply_overrides, load_yaml
from graphrec.evaluation.ranking import evaluate
from graphrec.pipeline.result import Run

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
METRICS = ("recall", "ndcg")


def validation(run: Run) -> dict[str, float]:
    """Returns Recall@20 and NDCG@20 on validation, of the weights of the best epoch."""
    data = run.data
    return evaluate(run.scorer, seen=data.split.train, truth=data.split.valid, metrics=METRICS, ks=(20,)).mean()


def main() -> None:
    """Trains once and prints the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("graphrec").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    values = load_yaml(options.config or CONFIGS / f"flagship-{options.data}.yaml")
    values = apply_overrides(values, options.overrides)
    choice = {key: value for key, value in values.get("data", {}).items() if key != "name"}
    data = load_dataset(options.data, **choice)
    settings = {key: values[key] for key in ("training", "graph", "features") if key in values}
    name, config = values["model"]["name"], {key: value for key, value in values["model"].items() if key != "name"}
    for seed in options.seeds:
        began = time.perf_counter()
        run = fit(name, data, seed=seed, config=config, **settings)
        spent = time.perf_counter() - began
        result, found = run.result, validation(run)
        curve = [row[key] for row in result.history for key in row if key == "Recall@20"]
        to_best = sum(row["seconds"] for row in result.history[: result.best_epoch])
        line = (
            f"{options.data} seed {seed} {' '.join(options.overrides)} | valid R@20 {found['Recall@20']:.4f} "
            f"N@20 {found['NDCG@20']:.4f} | epoch {result.best_epoch} of {result.epochs}, {to_best:.0f} s to it, "
            f"{spent:.0f} s in all | {' '.join(f'{value:.4f}' for value in curve[-8:])}"
        )
        print(line, flush=True)
        if options.log:
            with options.log.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
