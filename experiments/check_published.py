"""Compares the runs of a benchmark with published numbers and with the targets they are held to.

    python experiments/check_published.py runs/benchmark-baby

Exits with 1 if a target is missed, or the model that has one is; a published number alone is shown and not enforced.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from graphrec.config import load_yaml
from graphrec.evaluation.significance import compare
from graphrec.report.marking import read_scores
from graphrec.runs import RunFolder, find_runs

TABLE = Path(__file__).with_name("published.yaml")
LEVEL = 0.05
Runs = dict[str, list[RunFolder]]


def finished(folder: Path) -> dict[str, Runs]:
    """Returns the runs below a folder whose test set was scored, by data set and label."""
    found: dict[str, Runs] = defaultdict(lambda: defaultdict(list))
    for run in find_runs(folder):
        if run.metrics()["test"] is not None:
            found[run.data()["name"]][run.metrics()["label"]].append(run)
    return found


def check_numbers(label: str, runs: list[RunFolder], entry: dict[str, Any]) -> list[str]:
    """Returns a line per metric: published, ours (mean over seeds), and whether the target is met."""
    lines = []
    for name, published in entry.get("published", {}).items():
        ours = mean(run.metrics()["test"][name] for run in runs)
        said = ""
        if "tolerance" in entry:
            said = "ok" if abs(ours - published) <= entry["tolerance"] else "MISSED"
        elif name in entry.get("at_least", {}):
            said = "ok" if ours >= entry["at_least"][name] else "MISSED"
        lines.append(f"{label:18}{name:11} published {published:.4f}  ours {ours:.4f}  {said}")
    return lines


def check_beats(label: str, runs: list[RunFolder], other: str, rivals: list[RunFolder]) -> str:
    """Returns the paired test over users and seeds, and whether the model is ahead by it."""
    metric = "Recall@20"
    ours, theirs = (read_scores(part, [metric])[metric] for part in (runs, rivals))
    found = compare(ours, theirs, metric)
    said = "ok" if found.difference > 0 and found.p_value < LEVEL else "MISSED"
    gap = (
        f"{found.first:.4f} against {found.second:.4f}, {found.low:+.4f} to {found.high:+.4f}, p = {found.p_value:.2g}"
    )
    return f"{label:18}{metric:11} above {other}: {gap}  {said}"


def check(runs: Runs, targets: dict[str, Any]) -> list[str]:
    """Returns the lines of one data set."""
    lines = []
    for label, entry in targets.items():
        if not isinstance(entry, dict):
            continue
        if label not in runs:
            held = {"tolerance", "at_least", "beats"} & entry.keys()
            lines += [f"{label:18}no run  MISSED"] if held else []
            continue
        lines += check_numbers(label, runs[label], entry)
        if entry.get("beats") in runs:
            lines.append(check_beats(label, runs[label], entry["beats"], runs[entry["beats"]]))
    return lines


def main() -> int:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    ours, published = finished(parser.parse_args().folder), load_yaml(TABLE)
    lines = [line for data, runs in ours.items() for line in check(runs, published.get(data, {}))]
    print("\n".join(lines))
    return int(any(line.endswith("MISSED") for line in lines))


if __name__ == "__main__":
    sys.exit(main())
