"""The tuned benchmark: every model of configs/benchmark-tuned.yaml under one budget, in as many sittings as it takes.

    python experiments/tuned.py --only lfm2k          # GRAPHREC_DATA names the folder of the data sets
    python experiments/tuned.py --config configs/benchmark-clothing.yaml

Studies are taken up from the journals in experiments/results/tuned, so that no trial is run twice; runs lie under
``--out``, and what is finished there is not run again. At the end, and with ``--collect`` alone, the small results go
back to experiments/results/tuned: per data set the table (Markdown, CSV, LaTeX) and the benchmark file with the
settings that were found, per model the journal, the best settings and the summary of its study. ``graphrec report``
makes the page of it. The flagship against every other model:

    python experiments/tuned.py --collect --tables experiments/results/flagship --reference hetero-lightgcn-screened
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from pathlib import Path

import torch

from graphrec.config import apply_overrides, load_yaml
from graphrec.report import report
from graphrec.runs import RunFolderError, scan_runs
from graphrec.tuning.suite import only_datasets, run_suite

ROOT = Path(__file__).resolve().parent
CONFIG, RESULTS = ROOT.parent / "configs" / "benchmark-tuned.yaml", ROOT / "results" / "tuned"
KEPT = ("journal.log", "best.yaml", "study.json")


def restore(out: Path) -> None:
    """Copies the committed journals to where there is none yet."""
    for journal in RESULTS.glob("*/*/journal.log"):
        name, label = journal.relative_to(RESULTS).parts[:2]
        target = out / name / label / "tuning" / journal.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(journal, target)


def collect_studies(out: Path) -> None:
    """Copies journals, best settings, summaries, and the benchmark files with what was found."""
    for journal in sorted(out.glob("*/*/tuning/journal.log")):
        name, label = journal.relative_to(out).parts[:2]
        target = RESULTS / name / label
        target.mkdir(parents=True, exist_ok=True)
        for kept in KEPT:
            if (journal.parent / kept).is_file():
                shutil.copyfile(journal.parent / kept, target / kept)
    for settings in sorted(out.glob("*/benchmark.yaml")):
        target = RESULTS / settings.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(settings, target / settings.name)


def collect_tables(out: Path, target: Path, order: list[str], reference: str) -> None:
    """Writes the table of every data set of what is finished, in the order of the labels."""
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        try:
            runs, problems = scan_runs(folder)
        except RunFolderError as error:
            print(f"{folder.name}: {error}")
            continue
        for reason in problems.values():
            print(f"left out: {reason}")
        scored = [run for run in runs if run.metrics()["test"] is not None]
        scored.sort(key=lambda run: order.index(run.metrics()["label"]))
        labels = {run.metrics()["label"] for run in scored}
        table = report(scored, reference=reference if reference in labels else None)
        table.write(target / folder.name)
        print(table.to_markdown())


def main() -> int:
    """Runs what is missing, or only collects; returns 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--out", type=Path, default=Path("runs/tuned"))
    parser.add_argument("--only", nargs="+", help="the data sets; all by default")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--threads", type=int, default=1, help="of each process; best.yaml repeats a value exactly with it"
    )
    parser.add_argument("--collect", action="store_true", help="only copy the small results")
    parser.add_argument("--tables", type=Path, default=RESULTS, help="where the tables go")
    parser.add_argument("--reference", help="the model that the others are tested against; the file says which")
    parser.add_argument("overrides", nargs="*", help="such as tuning.trials=2, to try it out")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(options.threads * options.jobs)
    values = apply_overrides(load_yaml(options.config), options.overrides)
    values = only_datasets(values, options.only) if options.only else values
    failed = 0
    if not options.collect:
        restore(options.out)
        for name, found in run_suite(values, options.out, jobs=options.jobs).items():
            for failure in found.failures:
                print(f"failed: {name}, {failure}")
                failed = 1
    order, reference = [*values["models"], *values.get("fusions", {})], options.reference or values["reference"]
    collect_studies(options.out)
    collect_tables(options.out, options.tables, order, reference)
    return failed


if __name__ == "__main__":
    sys.exit(main())
