"""What does each modality bring? Every one replaced by noise, by shuffled rows, and removed.

    GRAPHREC_DATA=… python experiments/knock_out.py --out experiments/results

- ``noise``: vectors become Gaussian ones with the mean and deviation of every column; a given kNN graph becomes a
  random one in which every item has as many neighbours, and is as many items' neighbour, as before, and is its own
  where it was.
- ``shuffled``: the same content, given to the wrong items: the rows of vectors are permuted, and rows and columns of a
  kNN graph alike.
- ``removed``: the modality is not there. FREEDOM and collective EASE share its weight out among the others, as they
  always do. With nothing left collective EASE is EASE, and both graph models are LightGCN with their own objective,
  pruning and L2 weight.

Settings are those of ``configs/benchmark-lfm2k.yaml`` and ``configs/benchmark-baby.yaml``, in batches of 8192 with
learning rates three times as large; collective EASE on Amazon-Baby has the best of ``--choose`` on validation. All were
chosen with the content intact and are not tuned again for what is left: a difference holds for these settings. On lfm2k
HeteroLightGCN takes all three modalities here, coupled by .1 each, not the text alone, and in both it is the graph
part alone; ``flagship`` is the whole with the settings of ``configs/flagship-*.yaml``, against at most 512 negatives,
for the modalities that it uses; with nothing left it is LightGCN beside EASE. The epoch is chosen on validation;
the test set is scored once per run. Every model is compared with itself on the intact data, over the same test users
and seeds, p-values corrected by Holm over the rows of a model. Runs are kept in ``runs/knock-out``: a stopped study
goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from graphrec import benchmark, load_dataset
from graphrec.config import load_yaml, merge
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Vectors
from graphrec.report.formats import p_text
from graphrec.report.paired import compare_with, scores_of
from graphrec.runs import RunFolder
from graphrec.runtime import package_folder

DRAW = 0  # seeds noise and permutations, the same for all models and seeds
INTACT, NOTHING = "intact", "all removed"
HOW = ("noise", "shuffled", "removed")
METRICS = ("Recall@20", "NDCG@20")
FASTER = {"batch_size": 8192, "evaluate_every": 3, "patience": 3, "checkpoint_every": 10, "trackers": []}
LEARNING_RATE = 3  # times that of the settings
SETTINGS = {"lfm2k": "benchmark-lfm2k.yaml", "amazon-baby": "benchmark-baby.yaml"}
FLAGSHIP = "flagship"
MODELS = {
    "lfm2k": ("collective-ease", "freedom", "hetero-lightgcn", FLAGSHIP),
    "amazon-baby": ("collective-ease", "freedom", "hetero-lightgcn", FLAGSHIP),
}
OWN: dict[str, dict[str, Any]] = {
    "lfm2k": {"hetero-lightgcn": {"relations": None, "coupling": {"text": 0.1, "vggish": 0.1, "whisper": 0.1}}},
    "amazon-baby": {"collective-ease": {"name": "collective-ease", "regularization": 400, "content_weight": 10}},
}
TRIED = (3, 10, 30, 100, 300)  # content weights of collective EASE on Amazon-Baby


def noise_vectors(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """Returns Gaussian vectors with the mean and deviation of every column."""
    mean, deviation = vectors.values.mean(axis=0), vectors.values.std(axis=0)
    values = mean + deviation * rng.standard_normal(vectors.values.shape)
    return Vectors(vectors.ids, values.astype(np.float32))


def noise_neighbors(graph: sp.csr_array, rng: np.random.Generator) -> sp.csr_array:
    """Returns a random graph with the same degrees: neighbours change places until none is an item's own or twice."""
    row, column = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr)), graph.indices.copy()
    free = np.flatnonzero(row != column)  # lists that hold their own item, as FREEDOM's do, keep it
    column[free] = rng.permutation(column[free])
    while len(wrong := free[_wrong(row[free], column[free])]):
        for place, other in zip(wrong, rng.choice(free, len(wrong)), strict=True):
            column[place], column[other] = column[other], column[place]
    found = sp.csr_array((graph.data, column, graph.indptr), shape=graph.shape)
    found.sort_indices()
    return found


def _wrong(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Returns where an item is its own neighbour, or the same neighbour once more."""
    repeated = pd.Series(row.astype(np.int64) * (row.max() + 1) + column).duplicated().to_numpy()
    return np.asarray(repeated | (row == column))


def shuffled_vectors(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """Returns the same vectors, given to other items."""
    return Vectors(vectors.ids, vectors.values[rng.permutation(len(vectors.ids))])


def shuffled_neighbors(graph: sp.csr_array, rng: np.random.Generator) -> sp.csr_array:
    """Returns the same graph between other items."""
    order = rng.permutation(graph.shape[0])
    found = sp.csr_array(graph[order][:, order])
    found.sort_indices()
    return found


def knocked_out(data: Dataset, modality: str, how: str) -> Dataset:
    """Returns the data with one modality replaced or removed."""
    rng = np.random.default_rng([DRAW, data.modalities.index(modality), HOW.index(how)])
    vectors, neighbors = dict(data.vectors), dict(data.neighbors)
    mend_vectors, mend_neighbors = {
        "noise": (noise_vectors, noise_neighbors),
        "shuffled": (shuffled_vectors, shuffled_neighbors),
        "removed": (None, None),
    }[how]
    if modality in vectors:
        given = vectors.pop(modality)
        vectors |= {modality: mend_vectors(given, rng)} if mend_vectors else {}
    if modality in neighbors:
        graph = neighbors.pop(modality)
        neighbors |= {modality: mend_neighbors(graph, rng)} if mend_neighbors else {}
    return replace(data, vectors=vectors, neighbors=neighbors)


def variants(data: Dataset) -> dict[str, Any]:
    """Returns what makes the data of every row, by its name."""
    found: dict[str, Any] = {INTACT: lambda: data}
    for modality in data.modalities:
        found |= {f"{modality} {how}": partial(knocked_out, data, modality, how) for how in HOW}
    return found | {NOTHING: lambda: replace(data, vectors={}, neighbors={})}


def entry_of(settings: Mapping[str, Any], name: str, label: str, left: Iterable[str]) -> dict[str, Any]:
    """Returns the settings of a model with the modalities that are left."""
    left = set(left)
    if label == FLAGSHIP:
        return flagship_entry(name, left)
    entry = dict(settings["models"].get(label, {}))
    model = entry.get("model", {}) | OWN[name].get(label, {})
    for key in ("weights", "coupling"):
        if key in model:
            model[key] = {modality: weight for modality, weight in model[key].items() if modality in left}
    if not left:
        model = without_content(model)
    training = merge(settings["training"], entry.get("training", {})) | FASTER
    training["learning_rate"] *= LEARNING_RATE
    return {"model": model} if "ease" in label else {"model": model, "training": training}


def flagship_entry(name: str, left: Iterable[str]) -> dict[str, Any]:
    """Returns the shipped settings of the flagship with the modalities that are left."""
    values = load_yaml(package_folder("configs") / f"flagship-{name}.yaml")
    model, training = values["model"], values["training"]
    for owner, key in ((model, "coupling"), (model["linear"], "content")):
        owner[key] = {modality: weight for modality, weight in owner[key].items() if modality in left}
    model["relations"] = list(model["coupling"])
    training["negatives"] = min(training["negatives"], 512)
    return {"model": model, "training": training}


def concerns(name: str, label: str, row: str) -> bool:
    """Returns whether a row changes anything for a model."""
    used = flagship_entry(name, [row.split()[0]])["model"]["relations"]
    return label != FLAGSHIP or row in (INTACT, NOTHING) or bool(used)


def without_content(model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a model is when there is no content at all."""
    if model["name"] == "collective-ease":
        return {"name": "ease", "regularization": model["regularization"]}
    kept = {key: value for key, value in model.items() if key in ("edge_keep", "objective", "l2")}
    return {"name": "hetero-lightgcn", "relations": [], **kept}


def run_row(data: Dataset, settings: Mapping[str, Any], folder: Path, labels: Sequence[str], seeds: list[int]) -> None:
    """Trains every model on the data of one row, as far as it is not done."""
    models = {label: entry_of(settings, data.name, label, data.modalities) for label in labels}
    if not models:
        return
    evaluation = {"metrics": ["recall", "ndcg"], "ks": [20]}
    found = benchmark({"models": models, "seeds": seeds, "evaluation": evaluation}, folder, data=data)
    for failure in found.failures:
        raise SystemExit(str(failure))


def finished(folder: Path, label: str) -> list[RunFolder]:
    """Returns the runs of a model in one row, seed by seed."""
    runs = [RunFolder(path) for path in sorted((folder / label).glob("seed-*"))]
    return [run for run in runs if run.is_complete() and run.metrics()["test"] is not None]


def results(root: Path, name: str, rows: Iterable[str]) -> pd.DataFrame:
    """Returns the scores of every run of a data set."""
    found = []
    for row in rows:
        for run in (run for label in MODELS[name] for run in finished(root / _slug(row), label)):
            about = run.metrics()
            valid = {f"valid {METRICS[0]}": about["valid"][METRICS[0]]}
            scores = {metric: about["test"][metric] for metric in METRICS}
            more = {"best_epoch": about["best_epoch"], "seconds": round(about["seconds"]["training"], 1)}
            found.append(
                {"data": name, "model": about["label"], "row": row, "seed": about["seed"]} | valid | scores | more
            )
    return pd.DataFrame(found)


def table(root: Path, name: str, rows: Sequence[str]) -> str:
    """Returns a Markdown table: a row per model and knock-out, against the same model on intact data."""
    lines = [
        "| model | content | Recall@20 | difference [95 %] | p | effect | NDCG@20 | difference [95 %] | p |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    counts = {}
    for label in MODELS[name]:
        runs = {row: finished(root / _slug(row), label) for row in rows}
        runs = {row: found for row, found in runs.items() if found}
        if INTACT not in runs:
            continue
        shared = set.intersection(*({run.metrics()["seed"] for run in found} for found in runs.values()))
        runs = {row: [run for run in found if run.metrics()["seed"] in shared] for row, found in runs.items()}
        counts[label] = len(shared)
        lines += _block(label, runs)
    seeds = ", ".join(f"{label} {count}" for label, count in counts.items() if "ease" not in label)
    notes = [
        f"- seeds: {seeds}; mean ± standard deviation; collective EASE has none",
        "- against the same model on intact data, per test user and seed; bold where p < .05, corrected by Holm over "
        "the rows of a model",
        f"- noise and permutations drawn once, seed {DRAW}; settings not tuned again",
    ]
    return f"**{name}, test set, full ranking**\n\n" + "\n".join(lines) + "\n\n" + "\n".join(notes) + "\n"


def _block(label: str, runs: Mapping[str, list[RunFolder]]) -> list[str]:
    found = {}
    for metric in METRICS:
        compared, notes = compare_with(
            {row: scores_of(own, "test", metric) for row, own in runs.items()}, INTACT, metric
        )
        if notes:
            raise SystemExit("; ".join(notes))
        found[metric] = compared
    return [_line(label, row, own, {metric: found[metric].get(row) for metric in METRICS}) for row, own in runs.items()]


def _line(label: str, row: str, runs: Sequence[RunFolder], found: Mapping[str, Any]) -> str:
    cells = [label, row]
    for metric in METRICS:
        cells.append(_mean([run.metrics()["test"][metric] for run in runs]))
        if found[metric] is None:
            cells += ["", "", ""]
        else:
            one, p_value = found[metric]
            text = f"{one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
            cells += [f"**{text}**" if p_value < 0.05 else text, p_text(p_value), f"{one.effect:+.3f}"]
    return "| " + " | ".join(cells[:-1]) + " |"  # the effect on NDCG tells nothing new


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.4f}" + (f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else "")


def _slug(row: str) -> str:
    return row.replace(" ", "-")


def choose(data: Dataset, settings: Mapping[str, Any]) -> None:
    """Prints the validation scores of collective EASE by content weight; the test set stays unseen."""
    for weight in TRIED:
        entry = merge(
            entry_of(settings, data.name, "collective-ease", data.modalities), {"model": {"content_weight": weight}}
        )
        folder = Path("runs/knock-out-choice") / data.name / str(weight)
        run = benchmark({"models": {"collective-ease": entry}}, folder, data=data, score_test=False).runs[0]
        print(data.name, weight, run.metrics()["valid"][METRICS[0]], flush=True)


def study(name: str, arguments: argparse.Namespace) -> pd.DataFrame:
    """Runs what is missing of one data set, writes its table and returns its scores."""
    data = load_dataset(name, root=arguments.data_root)
    data = replace(data, items=Catalog.empty(data.split.items))  # tags would be encoded in place of removed vectors
    settings = load_yaml(package_folder("configs") / SETTINGS[name])
    if arguments.choose:
        choose(data, settings)
        return pd.DataFrame()
    root, rows = arguments.runs / name, variants(data)
    labels = [label for label in MODELS[name] if label in arguments.models]
    for count in range(1, arguments.seeds + 1):  # all rows with the first seed before any with the second
        for row, make in rows.items():
            print(f"{name}, {row}, {count} seed(s)", flush=True)
            some = [label for label in labels if concerns(name, label, row)]
            run_row(make(), settings, root / _slug(row), some, list(range(count)))
    text = table(root, name, list(rows))
    (arguments.out / f"knock_out_{name}.md").write_text(text, encoding="utf-8")
    print(text)
    return results(root, name, rows)


def main() -> None:
    """Runs what is not finished and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="folder of the data sets; by default GRAPHREC_DATA, else ./data")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    parser.add_argument("--runs", type=Path, default=Path("runs/knock-out"))
    parser.add_argument("--data", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--models", nargs="+", default=["collective-ease", "freedom", "hetero-lightgcn", FLAGSHIP])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--choose", action="store_true", help="print validation scores of collective EASE, no more")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = pd.concat([study(name, arguments) for name in arguments.data])
    if len(found):
        path = arguments.out / "knock_out.csv"
        old = pd.read_csv(path) if path.exists() else found.iloc[:0]
        others = old[~old["data"].isin(arguments.data)]
        pd.concat([others, found]).to_csv(path, index=False)


if __name__ == "__main__":
    main()
