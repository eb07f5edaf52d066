"""Kills a benchmark with signal 9, resumes it, and looks for anything lost, run twice or different.

    python experiments/benchmark_kill.py                 # at random moments, 2 and 5 times, with 1 and 2 jobs
    python experiments/benchmark_kill.py --everywhere    # once before every single change of a file

Four small models and a fusion on synthetic data, one thread. Compared with an undisturbed benchmark: every cell is
finished; its test set was scored once; what was trained before the kill was not trained again, and what was scored not
written again (inode and time of its files); weights and test scores are the same bytes. ``--everywhere`` counts every
file that is opened for writing, renamed, linked or deleted in a smaller benchmark, and kills one process before each.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from graphrec import benchmark, generate
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Vectors
from graphrec.runs import RunFolder
from graphrec.runs.files import RunFolderError, read_json

CONFIG: dict[str, Any] = {
    "training": {"max_epochs": 30, "batch_size": 1024, "learning_rate": 0.01, "evaluate_every": 3, "patience": 20},
    "seeds": [0, 1, 2],
    "models": {
        "popularity": {"model": {"name": "popularity"}},
        "ease": {"model": {"name": "ease"}},
        "lightgcn": {"model": {"name": "lightgcn", "embedding_dim": 32}},
        "hetero-lightgcn": {"model": {"name": "hetero-lightgcn", "embedding_dim": 32}, "training": {"refit": True}},
    },
    "fusions": {"fusion": {"first": ["ease"], "second": ["lightgcn"], "weights": [0.3, 0.7]}},
}
SMALLER: dict[str, Any] = {
    **CONFIG,
    "training": CONFIG["training"] | {"max_epochs": 2, "evaluate_every": 1, "trackers": []},
    "seeds": [0],
    "models": {name: CONFIG["models"][name] for name in ("ease", "lightgcn", "hetero-lightgcn")},
}
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}
Stamp = tuple[int, int]


def data(num_interactions: int = 6_000) -> Dataset:
    """Returns a synthetic data set whose items show their true traits."""
    with tempfile.TemporaryDirectory() as pictures:
        made = generate(num_interactions, folder=Path(pictures), missing=0.5)
    vectors = {"traits": Vectors(made.split.items, made.truth.traits)}
    return replace(made, items=Catalog.empty(made.split.items), vectors=vectors)


def stamps(folder: Path) -> dict[Path, Stamp]:
    """Returns inode and time of what must not be written again: weights once trained, metrics once scored."""
    found = {}
    for path in folder.rglob("metrics.json"):
        names = ["model.safetensors", "closed_form.json", "config.yaml"]
        with contextlib.suppress(RunFolderError):
            names += ["metrics.json", "users-test.parquet"] if read_json(path)["test"] is not None else []
        for one in (path.with_name(name) for name in names):
            if one.exists() and (one.name != "config.yaml" or "metrics.json" in names):
                found[one.relative_to(folder)] = one.stat().st_ino, one.stat().st_mtime_ns
    return found


def cells(folder: Path) -> list[Path]:
    """Returns the finished and scored runs below a folder, relative to it."""
    runs = sorted(path.parent for path in folder.rglob("metrics.json"))
    return [path.relative_to(folder) for path in runs if RunFolder(path).metrics()["test"] is not None]


def problems_of(folder: Path, whole: Path, kept: Mapping[Path, Stamp]) -> list[str]:
    """Returns what is wrong with a benchmark that was killed and resumed."""
    found = [f"{path} was written again" for path, stamp in kept.items() if stamps(folder).get(path) != stamp]
    if (folder / "failures.json").exists():
        failures = read_json(folder / "failures.json")["failures"]
        found += [f"{one['label']}, seed {one['seed']} failed: {one['reason']}" for one in failures]
    done = set(cells(folder))
    for cell in cells(whole):
        if cell not in done:
            found.append(f"{cell} has no test scores")
            continue
        times = len(RunFolder(folder / cell).evaluations())
        found += [f"the test set of {cell} was scored {times} times"] if times != 1 else []
        for name in ("model.safetensors", "closed_form.json", "users-test.parquet", "lists-test.parquet"):
            one, other = folder / cell / name, whole / cell / name
            if other.exists() and (not one.exists() or one.read_bytes() != other.read_bytes()):
                found.append(f"{cell}/{name} differs from the undisturbed benchmark's")
    return found


def start(folder: Path, jobs: int) -> subprocess.Popen[bytes]:
    """Returns a process that goes on with the benchmark."""
    command = [sys.executable, "-W", "ignore", __file__, "--into", str(folder), "--jobs", str(jobs)]
    return subprocess.Popen(command, start_new_session=True)


def newest(folder: Path) -> float:
    """Returns when something was last written for a cell of a benchmark, in seconds; 0 if nothing was."""
    times = []
    for path in folder.glob("*/seed-*/**/*"):
        with contextlib.suppress(OSError):  # a partial file may be gone by now
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)


def wait_for_work(process: subprocess.Popen[bytes], folder: Path, began: float) -> float:
    """Waits until a process is at work on a cell, and returns when: importing the libraries takes longer than one."""
    while process.poll() is None and newest(folder) <= began:
        time.sleep(0.02)
    return time.time()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and its workers."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def undisturbed(folder: Path, jobs: int) -> float:
    """Runs the benchmark in one go and returns how long it was at work, in seconds."""
    process, began = start(folder, jobs), time.time()
    since = wait_for_work(process, folder, began)
    if process.wait():
        raise SystemExit("the undisturbed benchmark failed")
    return newest(folder) - since


def at_random(scratch: Path, jobs: int, kills: int, draw: random.Random, lasted: float) -> list[str]:
    """Kills a benchmark at random moments, resumes it to the end, and prints a row per process."""
    folder, whole = scratch / f"killed-{jobs}-{kills}", scratch / "whole"
    total, kept, problems = len(cells(whole)), {}, []
    for turn in range(1, kills + 2):
        process, began = start(folder, jobs), time.time()
        ended = "not"
        if turn <= kills:
            wait_for_work(process, folder, began)
            moment = draw.uniform(0.0, lasted / kills)  # all of them together come to half of the work
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=moment)
            ended = f"{moment:.2f} s" if process.poll() is None else "not"
            kill(process)
        process.wait()
        problems += [f"{path} was written again" for path, stamp in kept.items() if stamps(folder)[path] != stamp]
        kept = stamps(folder)
        print(
            f"| {jobs} | {kills} | {turn} | {ended} | {len(cells(folder))} of {total} | {len(problems)} |", flush=True
        )
    return problems + problems_of(folder, whole, kept)


def forked(folder: Path, made: Dataset, fatal: int) -> tuple[int, str]:
    """Runs the smaller benchmark in a forked process, killed before its change number ``fatal``.

    Returns:
        The number of changes made, and the last one.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            watch(folder, writer, fatal)
            benchmark(SMALLER, folder, data=made)
        except Exception:
            traceback.print_exc()
        os._exit(0)  # whatever comes after a benchmark is not watched
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as file:
        lines = file.read().splitlines()
    os.waitpid(child, 0)
    return len(lines), lines[-1] if lines else ""


def watch(folder: Path, writer: int, fatal: int) -> None:
    """Tells every change of a file to ``writer``, and kills this process before one of them."""
    made, root = 0, str(folder)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal made
        if not (event in CHANGES or (event == "open" and _writes(arguments, root))):
            return
        os.write(writer, f"{event} {str(arguments[0]).removeprefix(root)}\n".encode())
        made += 1
        if made == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _writes(arguments: Sequence[Any], root: str) -> bool:
    path, mode, flags = arguments
    return str(path).startswith(root) and (set(mode or "") & set("wax+") != set() or bool(flags & os.O_WRONLY))


def everywhere(scratch: Path, step: int) -> list[str]:
    """Kills a benchmark before every change of a file, and resumes each."""
    made, whole = data(1_500), scratch / "whole"
    total, _ = forked(whole, made, 0)
    if not cells(whole):
        raise SystemExit("the undisturbed benchmark failed")
    print(f"{total} changes of files, {len(cells(whole))} cells", flush=True)
    problems = []
    for fatal in range(1, total + 1, step):
        folder = scratch / f"killed-{fatal}"
        _, last = forked(folder, made, fatal)
        kept = stamps(folder)
        forked(folder, made, 0)
        found = [f"killed before change {fatal} ({last}): {problem}" for problem in problems_of(folder, whole, kept)]
        print("\n".join(found), end="\n" if found else "", flush=True)
        problems += found
    print(f"{len(range(1, total + 1, step))} kills, {len(problems)} problems")
    return problems


def main() -> int:
    """Runs the experiment; with ``--into``, is the process that is killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kills", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument("--everywhere", action="store_true")
    parser.add_argument("--step", type=int, default=1, help="with --everywhere, take every so manieth change")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.into:
        return 1 if benchmark(CONFIG, arguments.into, data=data(), jobs=arguments.jobs[0]).failures else 0
    with tempfile.TemporaryDirectory() as scratch:
        run = everywhere_or_random(Path(scratch), arguments)
    print("\n".join(run) or "nothing lost, nothing run twice, nothing different")
    return 1 if run else 0


def everywhere_or_random(scratch: Path, arguments: argparse.Namespace) -> list[str]:
    """Returns all that went wrong."""
    if arguments.everywhere:
        return everywhere(scratch, arguments.step)
    draw = random.Random(arguments.seed)
    lasted = {jobs: undisturbed(scratch / ("whole" if jobs == arguments.jobs[0] else f"whole-{jobs}"), jobs)
              for jobs in arguments.jobs}  # fmt: skip
    print("| jobs | kills | process | killed after | cells finished | problems |\n|---:|---:|---:|---:|---:|---:|")
    return [
        problem
        for jobs in arguments.jobs
        for kills in arguments.kills
        for problem in at_random(scratch, jobs, kills, draw, lasted[jobs])
    ]


if __name__ == "__main__":
    sys.exit(main())
