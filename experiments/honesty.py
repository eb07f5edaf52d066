"""How often is a multimodal win declared where the features are pure noise? At 5 %, at most 15 times in 200.

    python experiments/honesty.py                   # -> results/honesty.json

200 small synthetic catalogues, generation seeds 0 to 199, each with Gaussian noise in place of what items show. On
every one, two models are compared on the test set by ``graphrec.evaluation.significance.compare`` as it is, which is
what tables and ``graphrec compare`` go by: with one comparison the correction changes nothing. Four pairs:

- ``trained``: HeteroLightGCN with the noise against itself without modalities, which is LightGCN. Three seeds; the L2
  weight is chosen from the same two for either, on validation with the first seed, and the epoch on validation.
- ``closed``: collective EASE on the noise against EASE, each the best of nine settings on validation.
- ``null``: HeteroLightGCN against itself, every run of either with noise of its own. Nothing can be better, so both
  sides must be declared better equally often, together in 5 % of cases.
- ``draws``: the same, with one draw of noise for all seeds of a model, as real features are one draw. A test of users
  and seeds could not tell a lucky draw from a good model, if there were such draws.

The catalogues have no cold items: a model without content never recommends those, and any content, even noise, does,
which is a difference and no mistake. Settings were fixed on generation seeds from 1000. The test scores of every user
are kept in ``runs/honesty.jsonl``, and compared at the end: a stopped run goes on where it stopped, and another test is
tried without training again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from graphrec import generate
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Vectors
from graphrec.evaluation.ranking import Evaluation
from graphrec.evaluation.significance import LEVEL, Comparison, Scores, compare
from graphrec.pipeline import RunConfig
from graphrec.pipeline.prepare import Prepared, prepare
from graphrec.pipeline.result import Run
from graphrec.pipeline.train import execute

REPETITIONS = 200
ALLOWED = 15  # of 200 at 5 %
SIZE = {"num_interactions": 2_500, "num_users": 150, "num_items": 200, "cold": 0.0, "missing": 0.5}
DIM = 16  # of the noise
SEEDS = (0, 1, 2)
METRICS = ("Recall@20", "NDCG@20")  # the first is the one that the answer of the toolkit is about
EVALUATION = {"metrics": ["recall", "ndcg"], "ks": [20]}
TRAINING = {"max_epochs": 40, "batch_size": 1024, "learning_rate": 0.02, "evaluate_every": 5, "patience": 2}
HETERO = {
    "name": "hetero-lightgcn",
    "embedding_dim": 16,
    "symmetric": False,
    "linear": {"weight": 0},
    "min_homophily": 0,  # noise takes part: what is tested is whether it can win
}
L2 = (0.01, 0.03)
EASE = [{"name": "ease", "regularization": value} for value in (3, 10, 30, 60, 100, 200, 300, 600, 1000)]
COLLECTIVE = [
    {"name": "collective-ease", "regularization": value, "content_weight": weight}
    for value in (30, 100, 300)
    for weight in (3, 30, 300)
]
Pair = tuple[Sequence[Evaluation], Sequence[Evaluation]]


def catalogue(repetition: int, folder: Path) -> Dataset:
    """Returns the interactions of a synthetic catalogue, without what its items show."""
    data = generate(seed=repetition, folder=folder, **SIZE)
    return replace(data, items=Catalog.empty(data.split.items), truth=None)


def noisy(data: Dataset, repetition: int, draw: int) -> Prepared:
    """Returns the data with one draw of noise as its only modality."""
    values = np.random.default_rng([repetition, draw]).standard_normal((data.num_items, DIM), dtype=np.float32)
    return prepare(replace(data, vectors={"noise": Vectors(data.split.items, values)}))


def one_run(model: Mapping[str, Any], place: Prepared, seed: int = 0) -> Run:
    """Trains a model; the test set is not scored."""
    training = {} if "ease" in model["name"] else TRAINING | {"trackers": []}
    settings = {"seed": seed, "model": dict(model), "training": training, "evaluation": EVALUATION}
    return execute(RunConfig.parse(settings), place, None)


def best(options: Sequence[Mapping[str, Any]], place: Prepared) -> tuple[Mapping[str, Any], Run]:
    """Returns the setting that is best on validation, with its run."""
    runs = [one_run(model, place) for model in options]
    values = [run.record.valid.mean()[METRICS[0]] for run in runs if run.record.valid is not None]
    chosen = int(np.argmax(values))
    return options[chosen], runs[chosen]


def tuned(model: Mapping[str, Any], place: Prepared) -> list[Evaluation]:
    """Returns the test scores of all seeds, with the L2 weight that is best on validation."""
    chosen, first = best([model | {"l2": value} for value in L2], place)
    return [first.evaluate(), *(one_run(chosen, place, seed).evaluate() for seed in SEEDS[1:])]


def trained(data: Dataset, repetition: int) -> Pair:
    """HeteroLightGCN with noise against LightGCN."""
    place = noisy(data, repetition, 0)
    return tuned(HETERO, place), tuned(HETERO | {"relations": []}, place)


def closed(data: Dataset, repetition: int) -> Pair:
    """Collective EASE with noise against EASE."""
    place = noisy(data, repetition, 0)
    return [best(COLLECTIVE, place)[1].evaluate()], [best(EASE, place)[1].evaluate()]


def null(data: Dataset, repetition: int) -> Pair:
    """HeteroLightGCN against itself, noise of its own for every run."""
    return _alike(data, repetition, [[2 * seed + side for seed in SEEDS] for side in (0, 1)])


def draws(data: Dataset, repetition: int) -> Pair:
    """HeteroLightGCN against itself, noise of its own for either model."""
    return _alike(data, repetition, [[side] * len(SEEDS) for side in (0, 1)])


def _alike(data: Dataset, repetition: int, sides: Sequence[Sequence[int]]) -> Pair:
    model = HETERO | {"l2": L2[-1]}
    places = {draw: noisy(data, repetition, draw) for side in sides for draw in side}
    first, second = (
        [one_run(model, places[draw], seed).evaluate() for seed, draw in zip(SEEDS, side, strict=True)]
        for side in sides
    )
    return first, second


PARTS: dict[str, Callable[[Dataset, int], Pair]] = {"trained": trained, "closed": closed, "null": null, "draws": draws}


def repeat(part: str, repetition: int, folder: Path) -> dict[str, Any]:
    """Returns the test scores of one pair of models on one catalogue: by metric and model a row per run."""
    began = time.perf_counter()
    pair = PARTS[part](catalogue(repetition, folder), repetition)
    scores = {metric: [[list(run.by_id()[metric].round(6)) for run in runs] for runs in pair] for metric in METRICS}
    return {"part": part, "repetition": repetition, "seconds": round(time.perf_counter() - began, 2)} | scores


def decision(row: Mapping[str, Any], metric: str) -> Comparison:
    """Returns what the toolkit says about a pair; closed forms have no seeds."""
    first, second = ([pd.Series(run) for run in runs] for runs in row[metric])
    if row["part"] == "closed":
        return compare(Scores.solved(first[0], metric), Scores.solved(second[0], metric), metric)
    return compare(dict(zip(SEEDS, first, strict=True)), dict(zip(SEEDS, second, strict=True)), metric)


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns how often either side was declared better, by part and metric."""
    parts = {part: [row for row in rows if row["part"] == part] for part in PARTS}
    found = {part: {metric: _counts(own, metric) for metric in METRICS} for part, own in parts.items() if own}
    return {"level": LEVEL, "generation_seeds": [0, REPETITIONS - 1], "allowed": ALLOWED, "parts": found}


def _counts(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    cells = [decision(row, metric) for row in rows]
    declared = [cell.p_value < LEVEL for cell in cells]
    first = sum(one and cell.difference > 0 for one, cell in zip(declared, cells, strict=True))
    outside = sum(not cell.low <= 0 <= cell.high for cell in cells)
    return {
        "repetitions": len(cells),
        "first_better": _share(first, len(cells)),
        "second_better": _share(sum(declared) - first, len(cells)),
        "either_better": _share(sum(declared), len(cells)),
        "interval_without_zero": _share(outside, len(cells)),
        "mean_difference": round(float(np.mean([cell.difference for cell in cells])), 5),
    }


def _share(count: int, of: int) -> dict[str, Any]:
    """Returns a count with the exact binomial interval of its rate (Clopper and Pearson)."""
    from scipy import stats

    low, high = stats.binomtest(count, of).proportion_ci(0.95, method="exact")
    return {"count": count, "rate": round(count / of, 4), "interval": [round(low, 4), round(high, 4)]}


def table(result: Mapping[str, Any]) -> str:
    """Returns the counts as Markdown."""
    lines = [
        "| pair | metric | repetitions | first better | second better | either, rate [95 %] | mean difference |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for part, metrics in result["parts"].items():
        for metric, found in metrics.items():
            first, second, either = (found[f"{side}_better"] for side in ("first", "second", "either"))
            rate = f"{either['rate']:.1%} [{either['interval'][0]:.1%}, {either['interval'][1]:.1%}]"
            cells = [part, metric, found["repetitions"], first["count"], second["count"], rate]
            lines.append(f"| {' | '.join(map(str, cells))} | {found['mean_difference']:+.4f} |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is not finished, and writes the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("experiments/results"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.runs.mkdir(parents=True, exist_ok=True)
    path = arguments.runs / "honesty.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    done = {(row["part"], row["repetition"]) for row in rows}
    path.write_text("".join(line for line in lines if line.endswith("\n")), encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch, path.open("a", encoding="utf-8") as file:
        for repetition in range(arguments.repetitions):
            for part in arguments.parts:
                if (part, repetition) not in done:
                    rows.append(repeat(part, repetition, Path(scratch)))
                    print(json.dumps(rows[-1]), file=file, flush=True)
    result = summary(rows)
    text = json.dumps(result, indent=1) + "\n"
    (arguments.out / "honesty.json").write_text(text, encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
