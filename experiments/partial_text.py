"""Amazon-Baby with the real titles of about half of the items: does partial text help, and what stands for the rest?

    GRAPHREC_DATA=… python experiments/partial_text.py --out experiments/results

MiniLM encodes the 3,416 titles and descriptions that are known; the given kNN graphs are not used. EASE and LightGCN
have no text; collective EASE, FREEDOM and HeteroLightGCN have it under every policy for the missing ones. LightGCN is
what FREEDOM and HeteroLightGCN are without text. Settings are those of ``configs/benchmark-baby.yaml`` with larger
batches and steps; what depends on the text (its weight) was chosen on validation under ``absent`` and kept for all
policies, see ``--choose``; the epoch is chosen on validation. The test set is scored once per run. What is finished is
kept in ``partial_text.csv``: a stopped run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ml100k import minilm

from graphrec import load_dataset
from graphrec.config import load_yaml, merge
from graphrec.data.dataset import Dataset
from graphrec.features.tables import FeatureConfig
from graphrec.graph.build import GraphConfig
from graphrec.pipeline import RunConfig
from graphrec.pipeline.prepare import Prepared, prepare
from graphrec.pipeline.train import execute
from graphrec.runtime import package_folder

POLICIES = ("absent", "drop", "mean", "token", "neighbors", "propagate")
FASTER = {"batch_size": 8192, "learning_rate": 0.006, "evaluate_every": 5, "patience": 3, "max_epochs": 150}
SHARED = FASTER | {"negatives": 1024, "shared_negatives": True, "evaluate_every": 3}
METRICS = ("Recall@20", "NDCG@20")
WITHOUT_TEXT = ("ease", "lightgcn")
MODELS: dict[str, dict[str, Any]] = {
    "ease": {"model": {"name": "ease", "regularization": 400}},
    "lightgcn": {"model": {"name": "lightgcn", "num_layers": 2, "l2": 0.03}, "training": FASTER},
    "collective-ease": {
        "model": {"name": "collective-ease", "regularization": 400, "content_weight": 10, "center": True}
    },
    "freedom": {"model": {"name": "freedom", "edge_keep": 0.2, "l2": 0.03}, "training": FASTER},
    "hetero-lightgcn": {
        "model": {
            "name": "hetero-lightgcn",
            "symmetric": False,
            "min_homophily": 0,
            "linear": {"weight": 0},
            "coupling": {"title": 0.1},
            "edge_keep": 0.5,
            "objective": {"loss": "softmax", "temperature": 0.5},
            "alignment": {"weight": 0.0002, "temperature": 0.5},
            "l2": 0.2,
        },
        "training": SHARED,
    },
}
CHOICES = {
    "collective-ease": [{"content_weight": weight} for weight in (3, 10, 30, 100, 300)]
    + [{"content_weight": weight, "center": True} for weight in (10, 30)],
    "hetero-lightgcn": [{"coupling": {"title": weight}} for weight in (0.1, 0.3, 0.9)],
}


def prepared(data: Dataset, policy: str | None) -> Prepared:
    """Returns the data with its graph: titles under a policy for the missing ones, or no text at all."""
    if policy is None:
        return prepare(data, FeatureConfig(modalities=()), GraphConfig(modalities=()))
    encoder = {"title": {"encoder": minilm(), "kind": "text", "columns": ["text"]}}
    features = FeatureConfig.parse({"encoders": encoder, "modalities": ["title"]})
    return prepare(data, features, GraphConfig.parse({"modalities": ["title"], "missing": policy}))


def one_run(label: str, place: Prepared, seed: int, *, score: bool = True, **changes: Any) -> dict[str, Any]:
    """Trains a model and scores validation, and the test set once where it is asked for."""
    entry = merge(MODELS[label], {"model": changes})
    training = merge(
        load_yaml(package_folder("configs") / "benchmark-baby.yaml")["training"], entry.get("training", {})
    )
    config = RunConfig.parse({"label": label, "seed": seed, "model": entry["model"], "training": training})
    began = time.perf_counter()
    run = execute(config, place, None)
    valid = run.record.valid.mean() if run.record.valid is not None else {}
    found = run.evaluate().mean() if score else {}
    return {
        **{f"valid {name}": valid.get(name) for name in METRICS},
        **{name: found.get(name) for name in METRICS},
        "epoch": None if run.result is None else run.result.best_epoch,
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(results: pd.DataFrame) -> str:
    """Returns the results as Markdown: a row per model and policy."""
    lines = [
        "| model | text for items without a title | valid Recall@20 | Recall@20 | NDCG@20 |",
        "|---|---|---:|---:|---:|",
    ]
    for (model, policy), part in results.groupby(["model", "policy"], sort=False):
        cells = [_cell(part[name]) for name in ("valid Recall@20", *METRICS)]
        lines.append(f"| {model} | {policy} | " + " | ".join(cells) + " |")
    note = f"- {results['seed'].nunique()} seed(s); test set scored once per run"
    return "**amazon-baby, MiniLM of the 3,416 known titles, full ranking**\n\n" + "\n".join(lines) + f"\n\n{note}\n"


def _cell(values: pd.Series) -> str:
    return f"{values.mean():.4f}" + (f" ± {values.std():.4f}" if len(values) > 1 else "")


def choose(data: Dataset) -> None:
    """Prints validation scores of the settings that depend on the text, under ``absent``; the test set stays unseen."""
    place = prepared(data, "absent")
    for label, options in CHOICES.items():
        for changes in options:
            print(label, changes, one_run(label, place, 0, score=False, **changes), flush=True)


def main() -> None:
    """Runs what is not finished and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="folder of the data sets; by default GRAPHREC_DATA, else ./data")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--choose", action="store_true", help="only compare settings on validation")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = load_dataset("amazon-baby", root=arguments.data_root)
    if arguments.choose:
        choose(data)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "partial_text.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {(row["model"], row["policy"], row["seed"]) for row in rows}
    for seed in arguments.seeds:
        for policy in ("none", *POLICIES):
            labels = [name for name in MODELS if (name in WITHOUT_TEXT) == (policy == "none")]
            labels = [
                name for name in labels if "ease" not in name or (seed == arguments.seeds[0] and policy != "token")
            ]
            todo = [name for name in labels if (name, policy, seed) not in done]
            place = prepared(data, None if policy == "none" else policy) if todo else None
            for label in todo:
                rows.append({"model": label, "policy": policy, "seed": seed} | one_run(label, place, seed))
                print(rows[-1], flush=True)
                pd.DataFrame(rows).to_csv(path, index=False)
    path.with_suffix(".md").write_text(table(pd.DataFrame(rows)), encoding="utf-8")
    print(table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
