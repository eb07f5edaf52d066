"""Measures how long vectors take that the store already holds.

    python experiments/encode_warm.py --count 100000 --dim 512

Makes as many small files and their vectors in a temporary folder, and loads them by ``encode``, the way features are
made: paths to contents through the index of files, contents to rows, rows to vectors. "store alone" begins with the
contents. The pages of the files may be in memory, as after any first look at them; a disk's own speed is not measured.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphrec.features.encoder import Kind
from graphrec.features.engine import encode
from graphrec.features.store.shards import key_array
from graphrec.features.store.store import Store


class Numbers:
    """A stand-in for a model: the vector of a file is a random one of its content."""

    name, space, batch_size = "numbers", "numbers", 512

    def __init__(self, dim: int, kind: Kind) -> None:
        self.dim, self.kind = dim, kind

    def fingerprint(self) -> str:
        """Returns the same every time."""
        return "numbers"

    def size(self, value: Any) -> int:
        """Returns 0."""
        return 0

    def read(self, value: Any) -> int:
        """Returns the number that the file holds."""
        return int(Path(value).read_bytes() if self.kind == "image" else value)

    def forward(self, inputs: Sequence[int]) -> NDArray[np.float32]:
        """Returns a vector per number."""
        draws = [np.random.default_rng(number).standard_normal(self.dim, np.float32) for number in inputs]
        return np.stack(draws)


def write_files(folder: Path, count: int) -> list[Path]:
    """Writes as many files, a thousand to a folder, and waits until the index trusts their times."""
    paths = [folder / f"{number // 1000:04d}" / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(number).encode())
    time.sleep(2.5)
    return paths


def seconds(task: Callable[[], object], repeats: int) -> str:
    """Returns the median and the smallest of the seconds a task takes, and the median of its CPU seconds."""
    walls, works = [], []
    for _ in range(repeats):
        wall, work = time.perf_counter(), time.process_time()
        task()
        walls.append(time.perf_counter() - wall)
        works.append(time.process_time() - work)
    median, least, cpu = statistics.median(walls), min(walls), statistics.median(works)
    return f"median {median:.3f} s, least {least:.3f} s, on the CPU {cpu:.3f} s"


def main() -> None:
    """Prints a line per way to load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        paths = write_files(root / "files", arguments.count)
        values = {"image": paths, "text": [str(number) for number in range(arguments.count)]}
        for dtype in ("float32", "float16"):
            for kind in ("image", "text"):
                tower, store = Numbers(arguments.dim, kind), Store(root / "store")
                expected = encode(tower, values[kind], store=store, dtype=dtype).vectors
                shelf = store.shelf(tower, dtype)
                keys = key_array(hashlib.sha256(str(number).encode()).digest() for number in range(arguments.count))
                load: dict[str, Callable[[], NDArray[np.float32]]] = {
                    "end to end": lambda t=tower, k=kind, d=dtype: (
                        encode(t, values[k], store=Store(root / "store"), dtype=d).vectors
                    ),
                    "store alone": lambda s=shelf, k=keys: (view := s.view()).take(view.find(k)),
                }
                for name, task in load.items():
                    if not np.array_equal(task(), expected):
                        raise RuntimeError(f"{name} of {kind} returned other vectors than were encoded")
                    size = f"{arguments.count:,} x {arguments.dim} {dtype}"
                    print(f"{kind:5s} {size}  {name:11s}  {seconds(task, arguments.repeats)}", flush=True)


if __name__ == "__main__":
    main()
