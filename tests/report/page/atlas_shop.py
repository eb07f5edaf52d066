"""A small shop with titles, genres and pictures, and runs on it: what maps and lists are tested on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
from PIL import Image

from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset
from graphrec.pipeline import benchmark
from graphrec.report.page.study import Study, make_study
from graphrec.runs import scan_runs
from graphrec.testing import block_data

GENRES = ("Drama", "Comedy, Drama", "Action")
COLOURS = ("firebrick", "seagreen", "navy")
HOSTILE = "</script><b>& </style>"
SETTINGS = {
    "training": {"max_epochs": 3, "batch_size": 64, "learning_rate": 0.01, "metric": "Recall@5"},
    "graph": {"neighbors": 4},
    "evaluation": {"ks": [5, 10]},
    "seeds": [0],
    "models": {
        "ease": {"model": {"name": "ease", "regularization": 5}},
        "hetero": {"model": {"name": "hetero-lightgcn"}},
    },
}


def goods(folder: Path) -> Dataset:
    """Returns block data whose items have a title, genres by block, and a picture that 5 and 6 lack."""
    data = block_data()
    rows = range(data.num_items)
    for block, colour in enumerate(COLOURS):
        Image.new("RGB", (60, 90), colour).save(folder / f"{block}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    pictures = [None if row == 5 else folder / ("broken.png" if row == 6 else f"{row % 3}.png") for row in rows]
    titles = [HOSTILE if row == 7 else f"Item number {row}" for row in rows]
    genres = [GENRES[block] for block in data.truth.item]
    frame = pd.DataFrame({"title": titles, "genres": genres, "image": pictures}, dtype=object)
    return replace(data, items=Catalog(data.split.items, frame))


def shop(folder: Path, *, reference: str | None = "ease") -> Study:
    """Returns a study of EASE and HeteroLightGCN."""
    benchmark(SETTINGS, folder / "runs", data=goods(folder))
    return make_study(scan_runs(folder / "runs")[0], folder, reference=reference)
