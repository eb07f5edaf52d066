"""Compares what may stand for a missing modality, with 0 to 90 % of it removed at random.

    GRAPHREC_DATA=… python experiments/missing_modalities.py --out experiments/results

On lfm2k with its text vectors alone. The share is removed from items drawn by the seed, the same for every policy and
model. Models have the settings of ``configs/benchmark-lfm2k.yaml``, which were chosen with all vectors present, in
batches four times and steps three times as large (half the time; on validation better for HeteroLightGCN, slightly
worse for VBPR and FREEDOM); the epoch is chosen on validation. A zero is left out where it scores exactly like an
absent node, as a test holds. The test set is scored once per run, over all items, with the original training
interactions masked whatever a policy drops. What is finished is kept in ``missing_modalities.csv``: a stopped run goes
on where it stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from graphrec import evaluate, fit, load_dataset
from graphrec.config import load_yaml
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Vectors
from graphrec.data.interactions import Ids
from graphrec.graph.build import GraphConfig, drop_incomplete
from graphrec.runtime import package_folder

TEXT = "text"
POLICIES = ("absent", "drop", "zero", "mean", "token", "neighbors", "propagate")
MODELS = ("vbpr", "freedom", "hetero-lightgcn", "collective-ease")
LEFT_OUT = {("collective-ease", "token"), ("vbpr", "zero"), ("hetero-lightgcn", "zero"), ("collective-ease", "zero")}
FASTER = {"batch_size": 8192, "evaluate_every": 5, "patience": 3}
LEARNING_RATE = 3  # times that of the settings
METRICS = ("Recall@20", "NDCG@20")
KEYS = ["model", "removed", "policy", "seed"]


def without(data: Dataset, share: float, seed: int) -> Dataset:
    """Returns the data with that share of the text vectors removed."""
    vectors = data.vectors[TEXT]
    kept = np.random.default_rng(seed).permutation(len(vectors.ids))[round(share * len(vectors.ids)) :]
    return replace(data, vectors={TEXT: Vectors(Ids(vectors.ids.ids(kept)), vectors.values[kept])})


def plan(models: list[str], shares: list[float], seeds: list[int]) -> Iterator[tuple[str, float, str, int]]:
    """Yields model, share removed, policy and seed; with nothing removed all policies are one."""
    for seed in seeds:
        for share in shares:
            for model in models:
                for policy in POLICIES if share else ("absent",):
                    if (model, policy) not in LEFT_OUT:
                        yield model, share, policy, seed


def one_run(full: Dataset, settings: dict[str, Any], run: tuple[str, float, str, int]) -> dict[str, Any]:
    """Trains one model under one policy and scores the test set once."""
    label, share, policy, seed = run
    graph = {"missing": policy}
    data = drop_incomplete(without(full, share, seed), GraphConfig.parse(graph))
    entry = settings["models"][label]
    model = {key: value for key, value in entry["model"].items() if key not in ("name", "weights")}
    training = settings["training"] | entry.get("training", {}) | FASTER
    training["learning_rate"] *= LEARNING_RATE
    began = time.perf_counter()
    trained = fit(entry["model"]["name"], data, seed=seed, config=model, training=training, graph=graph)
    found = evaluate(trained.scorer, seen=full.split.train, truth=full.test, ks=[20], metrics=["recall", "ndcg"]).mean()
    seconds = round(time.perf_counter() - began, 1)
    return dict(zip(KEYS, run, strict=True)) | {name: found[name] for name in METRICS} | {"seconds": seconds}


def table(results: pd.DataFrame) -> str:
    """Returns a Markdown table per metric: a row per model and policy, a column per share removed."""
    blocks = []
    for metric in METRICS:
        columns = sorted(results["removed"].unique())
        lines = ["| model | policy | " + " | ".join(f"{share:.0%} removed" for share in columns) + " |"]
        lines.append("|---|---|" + "---:|" * len(columns))
        for model in MODELS:
            part = results[results["model"] == model]
            best = part.groupby(["removed", "policy"])[metric].mean().round(4).groupby("removed").max()
            for policy in (name for name in POLICIES if name in set(part["policy"])):
                cells = [_cell(part, share, policy, metric, best) for share in columns]
                lines.append(f"| {model} | {policy} | " + " | ".join(cells) + " |")
        blocks.append(f"**lfm2k, text alone, test set, {metric}**\n\n" + "\n".join(lines))
    return "\n\n".join(blocks) + f"\n\n{_note(results)}\n"


def _note(results: pd.DataFrame) -> str:
    counts = ", ".join(f"{model} {results[results['model'] == model]['seed'].nunique()}" for model in MODELS)
    lines = (
        f"- seeds, which also draw what is removed: {counts}; mean ± standard deviation; a cell without ± is one seed"
    )
    return lines + "\n- the best mean of a model in bold, whether the difference is one or not"


def _cell(part: pd.DataFrame, share: float, policy: str, metric: str, best: pd.Series) -> str:
    values = part[(part["removed"] == share) & (part["policy"] == policy)][metric]
    if not len(values):
        return ""
    text = f"{values.mean():.4f}" + (f" ± {values.std():.4f}" if len(values) > 1 else "")
    return f"**{text}**" if share and round(values.mean(), 4) == best[share] else text


def plot(results: pd.DataFrame, path: Path) -> None:
    """Draws Recall@20 over the share removed, a panel per model and a line per policy."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = results[results["policy"] != "drop"].groupby(["model", "removed", "policy"])["Recall@20"].mean()
    figure, axes = plt.subplots(1, len(MODELS), figsize=(16, 4), sharey=True, layout="constrained")
    for axis, model in zip(axes, MODELS, strict=True):
        part = results[results["model"] == model]
        start = part[part["removed"] == 0]["Recall@20"].mean()
        for number, policy in enumerate(POLICIES):
            means = part[part["policy"] == policy].groupby("removed")["Recall@20"].mean()
            means = means[means.index > 0]
            if len(means):
                x, y = [0.0, *(100 * means.index)], [start, *means]
                axis.plot(x, y, marker="osv^Dx*"[number], color=f"C{number}", label=policy, linewidth=1.5)
        axis.set_title(model)
        axis.set_xlabel("text removed (%)")
        axis.grid(alpha=0.3)
        axis.set_ylim(shown.min() - 0.01, shown.max() + 0.01)  # drop falls far below
    axes[0].set_ylabel("Recall@20, test")
    handles, labels = axes[MODELS.index("freedom")].get_legend_handles_labels()  # it has all policies
    labels = [f"{label} (falls out of the picture)" if label == "drop" else label for label in labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(POLICIES))
    figure.savefig(path, dpi=110)


def main() -> None:
    """Runs what is not finished, and writes table and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="folder of the data sets; by default GRAPHREC_DATA, else ./data")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--removed", type=float, nargs="+", default=[0.0, 0.3, 0.6, 0.9])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "missing_modalities.csv"
    data = load_dataset("lfm2k", root=arguments.data_root, features=[TEXT])
    data = replace(data, items=Catalog.empty(data.split.items))  # the tags would be encoded in place of the vectors
    settings = load_yaml(package_folder("configs") / "benchmark-lfm2k.yaml")
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {tuple(row[key] for key in KEYS) for row in rows}
    for run in plan(arguments.models, arguments.removed, arguments.seeds):
        if run not in done:
            rows.append(one_run(data, settings, run))
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(path, index=False)
    results = pd.DataFrame(rows)
    path.with_suffix(".md").write_text(table(results), encoding="utf-8")
    plot(results, path.with_suffix(".png"))
    print(table(results))


if __name__ == "__main__":
    main()
