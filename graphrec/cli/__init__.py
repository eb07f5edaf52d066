"""The command line: the only place that prints."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import graphrec
from graphrec.cli import studies
from graphrec.cli.common import OUT, Commands, DataRoot, Overrides, find_config, plain, quiet, run_settings, with_root
from graphrec.cli.data import data_app
from graphrec.cli.features import encode, features_app, finetune
from graphrec.cli.studies import present
from graphrec.config import ConfigError, apply_overrides, load_yaml
from graphrec.runtime import rank

if TYPE_CHECKING:
    from graphrec.runs import RunFolder

QUICKSTART = "quickstart"
SHEET_MODEL = "hetero-lightgcn"
log = logging.getLogger("graphrec.cli")

app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data_app, name="data")
app.add_typer(features_app, name="features")
app.command()(encode)
app.command()(finetune)
for command in (studies.benchmark, studies.tune, studies.ablate, studies.compare, studies.report):
    app.command()(command)


def _show_version(value: bool) -> None:
    if value:
        OUT.print(f"graphrec {graphrec.__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, help="Show the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Graph-based multimodal recommendation, from raw interactions to an honest benchmark table."""
    quiet(debug)


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Where runs, table and pictures are written.")] = Path("runs/quickstart"),
    size: Annotated[int, typer.Option(help="About how many interactions to generate.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Where all randomness comes from.")] = 0,
) -> None:
    """Generates a small catalogue with pictures and words, trains four models on it, and shows how they do."""
    began = time.perf_counter()
    from graphrec.data.synthetic import generate
    from graphrec.pipeline import BenchmarkConfig, benchmark

    path = find_config(QUICKSTART)
    overrides = [f"data.name=synthetic:{size}", f"seeds=[{seed}]"]
    config = BenchmarkConfig.parse(apply_overrides(load_yaml(path), overrides), where=path.name)
    log.info("generating about %d interactions with pictures and words", size)
    data = generate(size, seed=seed, folder=out / "pictures")
    present(benchmark(config, out, data=data), config.reference, out)
    _sheet(out / SHEET_MODEL / f"seed-{seed}", out / "recommendations.png")
    OUT.print(f"\n{time.perf_counter() - began:.0f} s. Now try:", highlight=False)
    for command in (
        f"graphrec evaluate {out / SHEET_MODEL / f'seed-{seed}'}",
        f"graphrec train {SHEET_MODEL} --data synthetic model.num_layers=3 training.max_epochs=20",
        f"graphrec report {out}",
    ):
        plain(f"  {command}")


@app.command()
def train(
    target: Annotated[str, typer.Argument(metavar="CONFIG|MODEL", help="A YAML file, its name, or a model.")],
    overrides: Overrides = None,
    data: Annotated[str | None, typer.Option(help="The data set: a name or a path.")] = None,
    data_root: DataRoot = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/<model>-<time> by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what the folder holds.")] = False,
) -> None:
    """Trains one model and scores the test set once."""
    from graphrec.pipeline import RunConfig, run

    values, where = run_settings(target)
    values = apply_overrides(values, overrides or [])
    if data is not None:
        values = apply_overrides(values, [f"data.name={data}"])
    settings = RunConfig.parse(with_root(values, data_root), where=where)
    if resume and out is None:
        raise ConfigError("expected --out with --resume: the folder to go on with")
    folder = out or Path("runs") / f"{settings.label.replace(':', '.')}-{time.strftime('%Y%m%d-%H%M%S')}"
    _show_scores(run(settings, folder=folder, resume=resume).folder)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    again: Annotated[bool, typer.Option("--again", help="Score the test set anew; this is logged.")] = False,
) -> None:
    """Shows the stored test scores of a run."""
    from graphrec.runs import open_run

    if again or open_run(run).metrics()["test"] is None:
        from graphrec.pipeline import load

        scores = load(run).evaluate(again=again).mean()
        plain(f"scored {'anew' if again else 'for the first time'}, and noted in {run / 'evaluations.jsonl'}")
        _scores(scores)
        return
    _show_scores(open_run(run))


def main() -> None:
    """The entry point of ``graphrec``."""
    app()


def _sheet(folder: Path, path: Path) -> None:
    from graphrec.pipeline import load
    from graphrec.report import contact_sheet, typical_users

    run = load(folder)
    plain(f"wrote {contact_sheet(run, typical_users(run), path)}")


def _show_scores(folder: RunFolder | None) -> None:
    if folder is None or rank() != 0:
        return
    metrics, data = folder.metrics(), folder.data()
    refit = ", refit on train and valid" if metrics["refit"] else ""
    epochs = "" if metrics.get("best_epoch") is None else f", epoch {metrics['best_epoch']} of {metrics['epochs']}"
    plain(f"{metrics['label']} on {data['name']}, seed {metrics['seed']}{epochs}{refit}: {metrics['test_users']} users")
    _scores(metrics["test"])
    for note in data.get("notes", ()):
        plain(f"note: {note}")
    plain(f"scored {len(folder.evaluations())} time(s); run folder {folder.path}")


def _scores(scores: dict[str, float]) -> None:
    from rich.table import Table

    table = Table("metric", "test")
    for name, value in scores.items():
        table.add_row(name, f"{value:.4f}")
    OUT.print(table)
