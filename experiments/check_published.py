"""Compares the runs of a benchmark with published numbers and with the targets they are held to.

    python experiments/check_published.py runs/benchmark-baby

Exits with 1 if a target is missed; a published number alone is shown and not enforced.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from graphrec.config import load_yaml
from graphrec.runs import find_runs

TABLE = Path(__file__).with_name("published.yaml")


def scores(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Returns the mean test metrics by data set and label, over the seeds found below the folder."""
    found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for run in find_runs(folder):
        metrics = run.metrics()
        if metrics["test"] is not None:
            found[run.data()["name"], metrics["label"]].append(metrics["test"])
    result: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (data, label), runs in found.items():
        result[data][label] = {name: mean(run[name] for run in runs) for name in runs[0]}
    return result


def verdict(ours: float, name: str, entry: dict[str, Any]) -> str:
    """Returns ``ok``, ``MISSED`` or nothing where no target is set for the metric."""
    if "tolerance" in entry:
        return "ok" if abs(ours - entry["published"][name]) <= entry["tolerance"] else "MISSED"
    if name in entry.get("at_least", {}):
        return "ok" if ours >= entry["at_least"][name] else "MISSED"
    return ""


def main() -> int:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    ours, published, missed = scores(parser.parse_args().folder), load_yaml(TABLE), False
    print(f"{'data':14}{'model':18}{'metric':11}{'published':>10}{'ours':>9}  target")
    for data, labels in ours.items():
        for label, entry in published.get(data, {}).items():
            for name in entry["published"] if label in labels and isinstance(entry, dict) else ():
                value, said = labels[label][name], verdict(labels[label][name], name, entry)
                missed |= said == "MISSED"
                print(f"{data:14}{label:18}{name:11}{entry['published'][name]:10.4f}{value:9.4f}  {said}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
