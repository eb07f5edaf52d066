"""Commands that settle a question: tune, benchmark, ablate, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphrec.cli.common import OUT, DataRoot, Overrides, find_config, plain, readable, run_settings, with_root
from graphrec.config import ConfigError, apply_overrides, load_yaml, unknown_name
from graphrec.runtime import logger, rank

if TYPE_CHECKING:
    from graphrec.pipeline import BenchmarkConfig, BenchmarkResult
    from graphrec.report.ablation import AblationTable
    from graphrec.report.table import Report
    from graphrec.runs import RunFolder
    from graphrec.tuning import Study

log = logger(__name__)
Jobs = Annotated[int, typer.Option(min=1, help="How many at once, each in a process with its share of the machine.")]
Correction = Annotated[str, typer.Option(help="How p-values are corrected: holm, or bh for Benjamini-Hochberg.")]


def benchmark(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of one that graphrec brings.")],
    overrides: Overrides = None,
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option(help="Where runs and table go; runs/<name> by default.")] = None,
    jobs: Jobs = 1,
    only: Annotated[list[str] | None, typer.Option(help="A data set of the file; all by default. Several.")] = None,
) -> None:
    """Runs what is missing of a benchmark, tuning each model first where the file gives a budget, and prints tables."""
    from graphrec.pipeline.sifting import with_text_labels
    from graphrec.tuning.suite import only_datasets, run_suite

    path = find_config(config)
    base = with_text_labels(load_yaml(path), where=path.name)
    base = base if only is None else only_datasets(base, only)
    values = with_root(_override(base, overrides or []), data_root)
    _check_labels(base, values)
    if overrides:
        _check_rows(base, values, path.name)
    folder = out or Path("runs") / path.stem

    def show(name: str, result: BenchmarkResult) -> None:
        present(result, result.reference, folder / name)

    found = run_suite(values, folder, jobs=jobs, where=path.name, after=show)
    if any(result.failures for result in found.values()):
        raise typer.Exit(1)


def tune(
    target: Annotated[str, typer.Argument(metavar="CONFIG|MODEL|STUDY", help="A YAML file, its name, or a model.")],
    overrides: Overrides = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of the study; 20 by default.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no new trial is begun.")] = None,
    jobs: Jobs = 1,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="What is looked for; several make a front: Recall@20, seconds, Coverage@20."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="The data set: a name or a path.")] = None,
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the study; runs/tune-<label> by default.")] = None,
    export: Annotated[bool, typer.Option("--export", help="Write the trials as Parquet, and Optuna's plots.")] = False,
) -> None:
    """Looks for the settings that are best on validation; run again, it goes on. STUDY only shows or exports one."""
    from graphrec.tuning import load_study
    from graphrec.tuning import tune as run_tuning

    if (Path(target) / "journal.log").is_file():
        _show_study(load_study(target), export)
        return
    values, where = run_settings(target)
    values = with_root(apply_overrides(values, overrides or []), data_root)
    if data is not None:
        values = apply_overrides(values, [f"data.name={data}"])
    budget = {"trials": trials, "timeout": timeout, "objectives": objective or None}
    folder = out or Path("runs") / f"tune-{_label(values, where).replace(':', '.')}"
    given = {name: value for name, value in budget.items() if value is not None}
    _show_study(run_tuning(values, folder, tuning=given, jobs=jobs), export)


def ablate(
    target: Annotated[
        str, typer.Argument(metavar="CONFIG|MODEL", help="A YAML file of one run, its name, or a model.")
    ],
    overrides: Overrides = None,
    switch: Annotated[
        list[str] | None, typer.Option(help="What is changed: 'no alignment: model.alignment.weight=0'. Several.")
    ] = None,
    grid: Annotated[
        list[str] | None, typer.Option(help="An axis of a grid, as in model.num_layers=1,2,3; one or two.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="The seeds of every row.")] = "0,1,2",
    metric: Annotated[str | None, typer.Option(help="What is compared; what chose the epoch by default.")] = None,
    test: Annotated[bool, typer.Option("--test", help="Score the test set, for the final table.")] = False,
    data: Annotated[str | None, typer.Option(help="The data set: a name or a path.")] = None,
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option(help="Where runs and tables go; runs/ablate-<label> by default.")] = None,
    jobs: Jobs = 1,
) -> None:
    """Changes one thing at a time and shows what it costs, on validation unless the final table is asked for."""
    from graphrec.pipeline import BenchmarkConfig
    from graphrec.pipeline import benchmark as run_benchmark
    from graphrec.pipeline.ablation import ablation_config, axis_paths, grid_config
    from graphrec.report.ablation import ablation_table, grid_table, heat_map

    if bool(switch) == bool(grid):
        raise ConfigError("expected either --switch or --grid, got both or none; see graphrec ablate --help")
    values, where = run_settings(target)
    values = with_root(apply_overrides(values, overrides or []), data_root)
    if data is not None:
        values = apply_overrides(values, [f"data.name={data}"])
    numbers = _seeds(seeds)
    config = ablation_config(values, switch, numbers) if switch else grid_config(values, grid or [], numbers)
    _check_measured(metric, BenchmarkConfig.parse(config, where="ablation"))
    folder = out or Path("runs") / f"ablate-{_label(values, where).replace(':', '.')}"
    found = run_benchmark(config, folder, jobs=jobs, score_test=test)
    part = "test" if test else "valid"
    if switch and config["reference"] not in {run.metrics()["label"] for run in found.runs}:
        _fail(found)  # nothing to compare with
    if switch:
        table = ablation_table(found.runs, reference=config["reference"], metric=metric, part=part)
        pictures = []
    else:
        table = grid_table(found.runs, metric=metric, part=part)
        pictures = [heat_map(found.runs, axis_paths(grid or []), metric, part, folder / "heat-map.png")]
    _show_table(table)
    _say_written([*table.write(folder, "ablation" if switch else "grid"), *pictures])
    _fail(found)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of runs; the first is the reference.")],
    metric: Annotated[list[str] | None, typer.Option(help="What is compared; Recall and NDCG by default.")] = None,
    correction: Correction = "holm",
    test: Annotated[str, typer.Option(help="t; wilcoxon, of ranks; or permutation, Fisher's randomisation.")] = "t",
    label: Annotated[list[str] | None, typer.Option(help="A name per RUN, where their own names would clash.")] = None,
) -> None:
    """Says in a sentence whether one model is better than another, with what the test could have seen."""
    from graphrec.report.compare import compare_runs

    if label is not None and len(label) != len(runs):
        raise ConfigError(f"expected a --label for each of the {len(runs)} folders, got {len(label)}")
    found = [_finished(runs[0]), *(_readable(path) for path in runs[1:])]  # without its reference there is no answer
    found = _of_one_data(found)
    labels = None if label is None else [name for name, part in zip(label, found, strict=True) for _ in part]
    flat = [run for part in found for run in part]
    OUT.print(compare_runs(flat, metrics=metric, correction=correction, test=test, labels=labels).to_rich())


def report(
    folder: Annotated[Path, typer.Argument(help="A folder of runs, at any depth.")],
    out: Annotated[Path | None, typer.Option(help="The page; report.html in the folder by default.")] = None,
    reference: Annotated[str | None, typer.Option(help="The label the others are tested against.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="The columns; Recall and NDCG by default.")] = None,
    title: Annotated[str | None, typer.Option(help="The heading; the name of the folder by default.")] = None,
    by: Annotated[list[str] | None, typer.Option(help="A column of items or users to slice by. Several.")] = None,
) -> None:
    """Makes one page of all runs in a folder that opens from disk, and its tables as Markdown, LaTeX and CSV."""
    from graphrec.report.page.page import write_page

    page = write_page(folder, out, reference=reference, metrics=metric, title=title, columns=by or ())
    plain(f"wrote {page} ({page.stat().st_size / 2**20:.1f} MiB) and its tables")


def present(found: BenchmarkResult, reference: str | None, out: Path) -> None:
    """Prints the table of a benchmark and its failures, and writes table and learning curves."""
    from graphrec.report import learning_curves
    from graphrec.report import report as make_table
    from graphrec.runs import peak_memory

    if rank() != 0:
        return
    if found.runs:
        labels = {run.metrics()["label"] for run in found.runs}
        lost = dict.fromkeys(failure.label for failure in found.failures if failure.label not in labels)
        notes = [f"could not be run: {', '.join(lost)}; see failures.json"] if lost else []
        table = make_table(found.runs, reference=reference if reference in labels else None, footnotes=notes)
        _show_table(table)
        _say_written([*table.write(out), learning_curves(found.runs, out / "learning-curves.png")])
    for failure in found.failures:
        plain(f"failed: {failure}")
    memory = peak_memory()
    if memory is not None:
        log.info("peak memory %.0f MiB", memory)


def _show_table(table: Report | AblationTable) -> None:
    OUT.print(table.to_rich())
    for note in table.footnotes:
        plain(f"- {note}")


def _say_written(paths: list[Path]) -> None:
    for path in paths:
        plain(f"wrote {path}")


def _check_measured(metric: str | None, config: BenchmarkConfig) -> None:
    """Refuses to compare rows by a metric that none of them will be measured by, before anything is trained."""
    from graphrec.evaluation.metrics import MetricAt

    measured = [one.label for one in MetricAt.expand(config.evaluation.metrics, config.evaluation.ks)]
    wanted = MetricAt.parse(metric or config.training.metric).label
    if wanted not in measured:
        raise ConfigError(f"{unknown_name(wanted, measured, kind='metric')}; see evaluation.metrics and evaluation.ks")


def _fail(found: BenchmarkResult) -> None:
    for failure in found.failures:
        plain(f"failed: {failure}")
    if found.failures:
        raise typer.Exit(1)


def _finished(path: Path) -> list[RunFolder]:
    """Returns the run of a folder, or all runs below it; what cannot be read is said, and the rest goes on."""
    from graphrec.runs import open_run, scan_runs

    if (path / "environment.json").is_file():
        open_run(path)  # says so if it is not finished
    found, problems = scan_runs(path)
    for reason in problems.values():
        log.warning("left out: %s", reason)
    return found


def _of_one_data(found: list[list[RunFolder]]) -> list[list[RunFolder]]:
    """Returns the runs on the data of the first, which is the reference; says what it leaves out."""
    from graphrec.report.groups import same_data

    reference, flat = found[0][0], [run for part in found for run in part]
    kept = {run.path for runs in same_data(flat) if reference in runs for run in runs}
    for run in flat:
        if run.path not in kept:
            log.warning("left out: %s: expected runs on the same data and split as %s", run.path, reference.path)
    return [[run for run in part if run.path in kept] for part in found]


def _readable(path: Path) -> list[RunFolder]:
    """Returns the runs of a folder that there is, none with a warning where not one can be read."""
    from graphrec.runs import RunFolderError

    try:
        return _finished(path)
    except RunFolderError as error:
        if not path.is_dir():
            raise
        log.warning("left out: %s", error)
        return []


def _show_study(study: Study, with_plots: bool) -> None:
    from rich.table import Table

    from graphrec.tuning.export import export

    counts = ", ".join(f"{count} {state}" for state, count in study.counts.items() if count)
    plain(f"study {study.folder}: {counts}")
    for number in study.front:
        values = ", ".join(f"{name} {readable(value)}" for name, value in study.values_of(number).items())
        plain(f"trial {number}: {values}, on validation")
    table = Table("setting", f"trial {study.best_trial}")
    for path, parameter in study.space.items():
        value = parameter.decode(study.params[study.best_trial][path])
        table.add_row(path, f"{value:.4g}" if isinstance(value, float) else str(value))
    OUT.print(table)
    plain(f"settings of trial {study.best_trial}: {study.folder / 'best.yaml'}")
    plain(f"now try: graphrec train {study.folder / 'best.yaml'}")
    if with_plots:
        _say_written(export(study.folder))


def _label(values: dict[str, Any], where: str) -> str:
    model = values.get("model")
    name = model.get("name") if isinstance(model, dict) else model
    return str(values.get("label") or name or Path(where).stem)


def _seeds(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise ConfigError(f"--seeds: expected different numbers such as 0,1,2, got {text!r}")
    return [int(part) for part in parts]


def _override(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Returns a benchmark with overrides, which hold in each of its data sets, also where that sets the same itself."""
    from graphrec.tuning.space import value_at

    changed = apply_overrides(values, overrides)
    for override in overrides:
        path = override.partition("=")[0].strip()
        named: Any = changed.get("datasets")
        for name in named if isinstance(named, dict) and not path.startswith("datasets") else ():
            if value_at(named[name], path):
                changed = apply_overrides(changed, [f"datasets.{name}.{override}"])
    return changed


def _check_labels(base: dict[str, Any], values: dict[str, Any]) -> None:
    """Tells a misspelt label or data set in an override from a new one, which says what it is."""
    for section, part, kind in (("models", "model", "label"), ("datasets", "data", "data set")):
        known, entries = base.get(section), values.get(section)
        if not isinstance(known, dict) or not isinstance(entries, dict):
            continue
        for label, entry in entries.items():
            about = entry.get(part) if isinstance(entry, dict) else None
            if label not in known and not (isinstance(about, dict) and "name" in about):
                raise ConfigError(f"{section}.{label}: {unknown_name(str(label), map(str, known), kind=kind)}")


def _check_rows(base: dict[str, Any], values: dict[str, Any], where: str) -> None:
    """Refuses overrides that make a row wrong: whoever typed them is there, and need not wait for the others."""
    from graphrec.tuning.suite import faults_of

    after = faults_of(values, where=where)
    try:
        before = faults_of(base, where=where)
    except ConfigError:
        return  # nothing was right before
    for (name, label), fault in after.items():
        if not before.keys() & {(name, label), (name, "")}:  # a data set that was wrong as a whole hid its rows
            raise fault
