"""A tower that makes vectors of hashes; as a program, a process that encodes texts until something kills it.

python -m tests.features.fake_tower ROOT COUNT [forward|fsync|replace|none] [NUMBER]
"""

import hashlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from graphrec.features.engine import encode
from graphrec.features.store.store import Store


def vector_of(content, dim=6):
    numbers = np.frombuffer(hashlib.sha256(b"vector of " + content).digest(), np.uint8)[:dim]
    return numbers.astype(np.float32) / 256 + 0.001


class SharedSpace:
    """An encoder whose modalities share a space: texts by the hash of their words."""

    name, space = "shared", "shared"

    def __init__(self, dim=6):
        self.dim = dim

    def encode(self, values):
        words = [[vector_of(word.encode(), self.dim) for word in value.split()] for value in values]
        return np.stack([np.mean(vectors, axis=0) for vectors in words])


class HashTower:
    """The vector of a text or file is a hash of its content; counts what it is asked for.

    Texts and files that begin with ``broken`` cannot be read, those with ``infinite`` have no finite vector, and
    those with ``fatal`` make the model raise.
    """

    def __init__(self, kind="text", *, name="fake:hash", batch_size=8, weights="w", dim=6):
        self.name, self.space, self.dim, self.kind, self.batch_size = name, "fake", dim, kind, batch_size
        self.weights = weights
        self.read_values, self.batches = [], []
        self.lock = threading.Lock()

    def fingerprint(self):
        return hashlib.sha256(self.weights.encode()).hexdigest()

    def size(self, value):
        return len(value) if self.kind == "text" else 0

    def read(self, value):
        with self.lock:
            self.read_values.append(value)
        if self.kind == "text":
            content = value.encode()
        else:
            content = Path(value).read_bytes() if isinstance(value, str | Path) else value.tobytes()
        if content.startswith(b"broken"):
            raise ValueError("it is broken")
        return content

    def forward(self, inputs):
        self.batches.append(list(inputs))
        if any(content.startswith(b"fatal") for content in inputs):
            raise RuntimeError("the model fell over")
        vectors = np.stack([vector_of(content, self.dim) for content in inputs])
        vectors[[content.startswith(b"infinite") for content in inputs]] = np.inf
        return vectors

    @property
    def forwarded(self):
        return [content for batch in self.batches for content in batch]


def texts(count):
    return [f"text {number} " + "x" * (number * 7 % 31) for number in range(count)]


def bytes_of(folder):
    """Returns the content of every file of the shelves, by its path."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file() and "index.sqlite" not in path.name)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _dies_at(function, number, *, after=False):
    calls = []

    def call(*arguments):
        calls.append(1)
        if len(calls) == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


def main():
    root, count, moment, number = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    tower = HashTower()
    if moment == "forward":
        tower.forward = _dies_at(tower.forward, number)
    elif moment == "fsync":
        os.fsync = _dies_at(os.fsync, number)
    elif moment == "replace":
        Path.replace = _dies_at(Path.replace, number, after=True)
    elif moment == "slowly":
        forward = tower.forward
        tower.forward = lambda inputs: (time.sleep(number / 1000), forward(inputs))[1]
    found = encode(tower, texts(count), store=Store(root))
    sys.stdout.write(f"{len(tower.forwarded)} {len(found.failed)}\n")


if __name__ == "__main__":
    main()
