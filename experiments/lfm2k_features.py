"""Last.fm 2K: each of the three given features alone and together, and the tags encoded anew by MiniLM.

    GRAPHREC_DATA=… python experiments/lfm2k_features.py --out experiments/results

``text`` are the given vectors (MiniLM of crowd tags), ``tags`` the same tags encoded here. Settings are those of
``configs/benchmark-lfm2k.yaml`` without weights of single modalities: relations couple with .1, FREEDOM and collective
EASE weigh all alike. The epoch is chosen on validation; the test set is scored once per run. What is finished is kept
in ``lfm2k_features.csv``: a stopped run goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
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

GIVEN = ("text", "vggish", "whisper")
SETS: dict[str, tuple[str, ...]] = {
    "nothing": (), **{name: (name,) for name in GIVEN}, "tags (MiniLM)": ("tags",), "all given": GIVEN,
    "audio": ("vggish", "whisper"),
}  # fmt: skip
METRICS = ("Recall@20", "NDCG@20")
SINGLE = {"relations", "coupling", "weights"}  # settings of single modalities
WITHOUT = {"nothing": {"collective-ease": "ease", "freedom": None, "hetero-lightgcn": "lightgcn"}}
MODELS = ("collective-ease", "freedom", "hetero-lightgcn")


def prepared(data: Dataset, names: tuple[str, ...]) -> Prepared:
    """Returns the data with a graph of these modalities; ``tags`` is the catalogue's text by MiniLM."""
    encoders = {"tags": {"encoder": minilm(), "kind": "text", "columns": ["text"]}} if "tags" in names else {}
    features = FeatureConfig.parse({"encoders": encoders, "modalities": list(names)})
    return prepare(data, features, GraphConfig(modalities=names))


def one_run(label: str, place: Prepared, seed: int) -> dict[str, Any]:
    """Trains a model and scores the test set once."""
    settings = load_yaml(package_folder("configs") / "benchmark-lfm2k.yaml")
    entry = settings["models"][label]
    model = {key: value for key, value in entry["model"].items() if key not in SINGLE}
    training = merge(settings["training"], entry.get("training", {}))
    run = execute(RunConfig.parse({"label": label, "seed": seed, "model": model, "training": training}), place, None)
    valid = run.record.valid.mean() if run.record.valid is not None else {}
    found = run.evaluate().mean()
    return {f"valid {name}": valid.get(name) for name in METRICS} | {name: found[name] for name in METRICS}


def agreement(data: Dataset) -> str:
    """Returns how alike the tags encoded here and the given vectors are: cosine, and shared ten nearest neighbours."""
    place = prepared(data, ("tags", "text"))
    tables = [place.tables[name] for name in ("tags", "text")]
    rows = np.intersect1d(tables[0].rows, tables[1].rows)
    ours, given = (table.dense()[rows].astype(np.float64) for table in tables)
    ours, given = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (ours, given))
    near = []
    for part in (ours, given):
        similar = part @ part.T
        np.fill_diagonal(similar, -np.inf)
        near.append(np.argsort(-similar, axis=1)[:, :10])
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)])
    cosine = (ours * given).sum(axis=1)
    cosines = f"mean cosine {cosine.mean():.4f}"
    return f"- tags by MiniLM against the given vectors: {cosines}, {shared:.0%} of the ten nearest neighbours shared"


def table(results: pd.DataFrame) -> str:
    """Returns the results as Markdown: a row per set of features, a column per model and metric."""
    columns = [(model, metric) for model in MODELS for metric in METRICS]
    lines = ["| features | " + " | ".join(f"{model} {metric}" for model, metric in columns) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for name in SETS:
        part = results[results["features"] == name]
        lines.append(f"| {name} | " + " | ".join(_cell(part, *column) for column in columns) + " |")
    return "**lfm2k, test set, full ranking**\n\n" + "\n".join(lines) + "\n"


def _cell(part: pd.DataFrame, model: str, metric: str) -> str:
    values = part[part["column"] == model][metric]
    if not len(values):
        return ""
    return f"{values.mean():.4f}" + (f" ± {values.std():.4f}" if len(values) > 1 else "")


def main() -> None:
    """Runs what is not finished and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="folder of the data sets; by default GRAPHREC_DATA, else ./data")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "lfm2k_features.csv"
    data = load_dataset("lfm2k", root=arguments.data_root)
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {(row["features"], row["column"], row["seed"]) for row in rows}
    for name, names in SETS.items():
        place = prepared(data, names)
        for column in MODELS:
            label = WITHOUT.get(name, {}).get(column, column)
            for seed in arguments.seeds if "ease" not in column else [0]:
                if label is not None and (name, column, seed) not in done:
                    about = {"features": name, "column": column, "model": label, "seed": seed}
                    rows.append(about | one_run(label, place, seed))
                    print(rows[-1], flush=True)
                    pd.DataFrame(rows).to_csv(path, index=False)
    results = pd.DataFrame(rows)
    notes = [
        "- without features: EASE, LightGCN; FREEDOM needs some",
        f"- {results['seed'].nunique()} seeds; closed forms have none",
        agreement(data),
    ]
    text = table(results) + "\n" + "\n".join(notes) + "\n"
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
