"""The flagship where content is missing, and on items that no training user touched.

    GRAPHREC_DATA=… python experiments/flagship/robustness.py --out experiments/results/flagship

On lfm2k with the text vectors alone and the settings of ``configs/flagship-lfm2k.yaml``, which were chosen with all of
them present.

- missing: a share of the items, drawn by the seed, loses its text (absence in the graph); collective EASE with the
  same content weight beside it. The test set of the data.
- cold: a split in which a tenth of the items is only in the test part and a tenth only in the validation part; every
  model ranks all items, and the cold ones among themselves. Negatives are drawn from items seen in training; the epoch
  is chosen by the validation part, whose items are as cold.

The test set is scored once per run. What is finished is kept in the CSV file: a stopped run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from graphrec import evaluate, fit, load_dataset
from graphrec.config import load_yaml
from graphrec.data.dataset import Dataset, Vectors
from graphrec.data.interactions import Ids, Interactions
from graphrec.data.splits import cold_item

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "flagship-lfm2k.yaml"
TEXT, METRICS = "text", ("Recall@20", "NDCG@20")
MODELS = ("popularity", "collective-ease", "hetero-lightgcn")
KEYS = ["study", "model", "removed", "seed"]


@dataclass(frozen=True)
class Among:
    """Scores of some items, the others out of reach."""

    scorer: Any
    items: Tensor

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores ``(len(users), num_items)``, minus infinity for other items."""
        scores: Tensor = self.scorer.score(users)
        closed = torch.full((scores.size(1),), -torch.inf)
        closed[self.items] = 0.0
        return scores + closed


def without(data: Dataset, share: float, seed: int) -> Dataset:
    """Returns the data with that share of the text vectors removed."""
    vectors = data.vectors[TEXT]
    kept = np.random.default_rng(seed).permutation(len(vectors.ids))[round(share * len(vectors.ids)) :]
    return replace(data, vectors={TEXT: Vectors(Ids(vectors.ids.ids(kept)), vectors.values[kept])})


def with_cold_items(data: Dataset, seed: int) -> Dataset:
    """Returns the data split anew, so that validation and test have items of their own."""
    parts = (data.split.train, data.split.valid, data.test)
    user, item = (np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "item"))
    whole = Interactions(user=user, item=item, users=parts[0].users, items=parts[0].items)
    split, test = cold_item(whole, seed=seed)
    return replace(data, split=split, test=test, vectors={TEXT: data.vectors[TEXT]})


def settings_of(model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the settings of a model and of its training."""
    values = load_yaml(CONFIG)
    flagship = {key: value for key, value in values["model"].items() if key != "name"}
    if model == "hetero-lightgcn":
        return flagship, values["training"]
    linear = flagship["linear"]
    own = {"regularization": linear["regularization"], "content_weight": linear["content"][TEXT], "modalities": [TEXT]}
    return (own if model == "collective-ease" else {}), values["training"]


def one_run(full: Dataset, run: tuple[str, str, float, int]) -> list[dict[str, Any]]:
    """Trains one model and scores the test set once."""
    study, model, share, seed = run
    data = with_cold_items(full, seed) if study == "cold" else without(full, share, seed)
    config, training = settings_of(model)
    if study == "cold":
        training = training | {"seen_negatives": True}
    trained = fit(model, data, seed=seed, config=config, training=training)
    scorers = {study: trained.scorer}
    if study == "cold":
        cold = torch.from_numpy(np.flatnonzero(data.split.train.item_degree() == 0))
        scorers["cold, among the cold"] = Among(trained.scorer, cold)
    found = []
    for name, scorer in scorers.items():
        mean = evaluate(scorer, seen=data.split.train, truth=data.test, ks=[20], metrics=["recall", "ndcg"]).mean()
        found.append(dict(zip(KEYS, (name, model, share, seed), strict=True)) | {key: mean[key] for key in METRICS})
    return found


def plan(seeds: list[int]) -> list[tuple[str, str, float, int]]:
    """Returns study, model, share removed and seed of every run."""
    missing = [
        ("missing", model, share, seed) for seed in seeds for share in (0.0, 0.3, 0.6, 0.9) for model in MODELS[1:]
    ]
    return missing + [("cold", model, 0.0, seed) for seed in seeds for model in MODELS]


def table(results: pd.DataFrame) -> str:
    """Returns the two tables in Markdown; mean ± standard deviation over the seeds that draw what is removed."""
    grouped = results.groupby(KEYS[:3])[list(METRICS)].agg(["mean", "std"])
    lines = ["| study | model | text removed | Recall@20 | NDCG@20 |", "|---|---|---:|---:|---:|"]
    for (study, model, share), row in grouped.iterrows():
        cells = [f"{row[name, 'mean']:.4f} ± {row[name, 'std']:.4f}" for name in METRICS]
        lines.append(f"| {study} | {model} | {share:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n- lfm2k, test set, text alone; {results['seed'].nunique()} seeds\n"


def main() -> None:
    """Runs what is not finished, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/flagship"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    options.out.mkdir(parents=True, exist_ok=True)
    path, full = options.out / "robustness.csv", load_dataset("lfm2k")
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    for run in plan(options.seeds):
        if not any(tuple(row[key] for key in KEYS) == run for row in rows):
            rows += one_run(full, run)
            pd.DataFrame(rows).to_csv(path, index=False)
            print(rows[-1], flush=True)
    text = table(pd.DataFrame(rows))
    (options.out / "robustness.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
