"""Kills a tuning in the middle, again and again, resumes it, and compares every trial with an uninterrupted study.

    python experiments/tune_kill.py --kills 6            # prints what results/tune_kill.md keeps

Tunes LightGCN on the synthetic catalogue; first in one go, then in processes that are killed with signal 9 at random
moments after their first trial began, until one comes to the end. A trial that was under way is queued again with the
same settings, every time here (``retries``), so that both studies must hold the same trials with the same values. With
``--jobs 2`` each study has two worker processes, all killed together; then the settings that are drawn depend on which
trial was finished first, and only the bookkeeping is checked. Prints what every process left behind.
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
from pathlib import Path

from graphrec.tuning import Study, TuningError, load_study, tune

CONFIG = {
    "data": {"name": "synthetic:8000"},
    "model": {"name": "lightgcn", "embedding_dim": 32, "objective": {"temperature": 1.0}},
    "training": {"max_epochs": 12, "batch_size": 1024},
}
STATES = ("complete", "pruned", "failed", "lost", "running", "waiting")


def look(folder: Path) -> Study | None:
    """Returns the study as it stands, None before it was begun."""
    try:
        return load_study(folder)
    except TuningError:
        return None


def start(folder: Path, arguments: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Returns a process that goes on with the study."""
    command = [sys.executable, __file__, "--trials", str(arguments.trials), "--jobs", str(arguments.jobs)]
    command += ["--kills", str(arguments.kills), "--into", str(folder)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


def wait_for_work(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Waits until a process has begun a trial: importing the libraries takes longer than a trial."""
    leases = folder / "leases"
    known = set(leases.glob("*"))
    while process.poll() is None and not set(leases.glob("*")) - known:
        time.sleep(0.02)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and its workers."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def problems_of(study: Study, trials: int) -> list[str]:
    """Returns what was lost or run twice, as the study itself records it."""
    table = study.trials
    lost, again = table[table["state"] == "lost"], table["retry_of"].dropna()
    found = [f"trial {number} was lost for good" for number in lost["number"] if number not in set(again)]
    found += [f"trial {number} was queued again twice" for number in again[again.duplicated()]]
    done = table[table["state"].isin(["complete", "pruned", "failed"])]
    if len(done) != trials or len(table) != len(done) + len(lost):
        found.append(f"expected {trials} trials at their end and no other, got {study.counts}")
    drawn = [tuple(study.params[number].values()) for number in done["number"]]
    if len(set(drawn)) < len(drawn):
        found.append("the same settings were trained twice")
    for number in again.index:
        before = study.params[table["retry_of"][number]]  # only some of them if it was killed while they were drawn
        if any(study.params[number][path] != value for path, value in before.items()):
            found.append(f"trial {number} has other settings than the lost one that it repeats")
    return found


def told(study: Study) -> list[tuple[object, ...]]:
    """Returns settings, state, epochs and value of every trial that came to its end, in order."""
    kept = study.trials[study.trials["state"] != "lost"]
    columns = [*study.space, "state", "epochs", "value"]
    return [tuple(row) for row in kept[columns].astype(str).itertuples(index=False)]


def main() -> int:
    """Runs the experiment; with ``--into``, is the process that is killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.into:
        rules = {"trials": arguments.trials, "startup_trials": 4, "warmup_epochs": 3, "retries": arguments.kills}
        tune(CONFIG, arguments.into, tuning=rules, jobs=arguments.jobs)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        return compare(Path(scratch), arguments)


def compare(scratch: Path, arguments: argparse.Namespace) -> int:
    """Returns 0 if the killed and resumed study equals the uninterrupted one."""
    whole_folder, folder, draw = scratch / "whole", scratch / "killed", random.Random(arguments.seed)
    if start(whole_folder, arguments).wait():
        return 1
    whole = load_study(whole_folder)
    lasted = float(whole.trials["seconds"].sum())
    jobs = f"{arguments.jobs} job{'' if arguments.jobs == 1 else 's'}, seed {arguments.seed}"
    one = f"{lasted:.1f} s of training, {whole.objectives[0]} {whole.best_value:.4f}"
    print(f"{jobs}: {arguments.trials} trials in one go, {one}\n")
    print(f"| process | killed after | {' | '.join(STATES)} |\n|---:|---:{'|---:' * len(STATES)}|")
    for turn in range(1, arguments.kills + 2):
        process = start(folder, arguments)
        ended = "not"
        if turn <= arguments.kills:
            wait_for_work(process, folder)
            moment = draw.uniform(0.0, 4.0) * lasted / arguments.trials / arguments.jobs
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=moment)
            ended = f"{moment:.2f} s" if process.poll() is None else "not"
            kill(process)
        code = process.wait()
        study = look(folder)
        counts = {} if study is None else study.counts
        row = " | ".join(str(counts.get(state, 0)) for state in STATES)
        print(f"| {turn} | {ended} | {row} |", flush=True)
        if code == 0:
            break
    return judge(whole, load_study(folder), arguments)


def judge(whole: Study, killed: Study, arguments: argparse.Namespace) -> int:
    """Prints and returns whether everything is as it must be."""
    problems = problems_of(killed, arguments.trials)
    if arguments.jobs == 1 and told(whole) != told(killed):
        problems.append("the trials differ from those of the uninterrupted study")
    if arguments.jobs == 1 and whole.best != killed.best:
        problems.append("the best settings differ from those of the uninterrupted study")
    equal = ", and every trial is that of the uninterrupted study" if arguments.jobs == 1 else ""
    print(f"\n{'; '.join(problems) or f'nothing was lost, nothing was run twice{equal}'}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
