"""Measures full-rank evaluation against the bare cost of its matrix product and torch.topk.

    GRAPHREC_DATA=… python experiments/speed_evaluation.py --threads 2

Both are run in turn in one process, on Amazon-Baby's official split with random embeddings, in blocks of users; the
medians are compared. "Bare" is the product and the top k of every block and nothing else; "ours" is ``evaluate``:
the same, plus masking, exact ties, hits and six metrics at three cut-offs, from interactions to the frame of values.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from graphrec.data.interactions import Interactions
from graphrec.evaluation.ranking import BLOCK_CELLS, evaluate
from graphrec.runtime import data_root, generator


@dataclass(frozen=True)
class InnerProduct:
    """Random embeddings as a scorer: ``user (num_users, d)``, ``item (num_items, d)``."""

    user: Tensor
    item: Tensor

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items."""
        return self.user[users] @ self.item.T


def load(root: str | None) -> tuple[Interactions, Interactions]:
    """Returns training and test of Amazon-Baby."""
    frame = pd.read_csv(data_root(root) / "amazon-baby" / "baby.inter", sep="\t")
    everything = Interactions.from_frame(frame, user="userID", item="itemID")
    label = frame["x_label"].to_numpy()
    return everything.take(label == 0), everything.take(label == 2)


def bare(scorer: InnerProduct, users: Tensor, k: int, block: int) -> None:
    """Runs the product and torch.topk of every block."""
    for start in range(0, len(users), block):
        scorer.score(users[start : start + block]).topk(k, dim=1)


def seconds(task: Callable[[], object], clock: Callable[[], float]) -> float:
    """Returns how long a task takes on that clock."""
    began = clock()
    task()
    return clock() - began


def main() -> None:
    """Prints a line per block size: bare, ours, ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="folder of the data sets; by default GRAPHREC_DATA, else ./data")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--blocks", type=int, nargs="*", default=[], help="default: the library's own block size")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds, for a machine that others use too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.cpu_time else time.perf_counter

    train, test = load(arguments.data_root)
    draw = generator(0)
    user = torch.randn(train.num_users, arguments.dim, generator=draw)
    item = torch.randn(train.num_items, arguments.dim, generator=draw)
    scorer, users = InnerProduct(user, item), torch.from_numpy(test.user).unique()
    k, ks = arguments.k, sorted({min(10, arguments.k), min(20, arguments.k), arguments.k})
    print(f"{len(users)} users x {len(item)} items, d = {arguments.dim}, k = {k}, {arguments.threads} threads")
    for block in arguments.blocks or [BLOCK_CELLS // len(item)]:
        plain, full = [], []
        for _ in range(arguments.repeats):
            plain.append(seconds(lambda size=block: bare(scorer, users, k, size), clock))
            full.append(
                seconds(lambda size=block: evaluate(scorer, seen=train, truth=test, ks=ks, block_size=size), clock)
            )
        one, other = statistics.median(plain), statistics.median(full)
        print(f"block {block:5d}: bare {one:.3f} s   ours {other:.3f} s   ratio {other / one:.2f}")


if __name__ == "__main__":
    main()
