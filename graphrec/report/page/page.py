"""The page: finds the runs, makes a study of every data set, and writes what its sections show into one file."""

from __future__ import annotations

import base64
import gzip
import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

import graphrec
from graphrec.config import ConfigError, unknown_name
from graphrec.data.files import write_text
from graphrec.evaluation.metrics import MetricAt
from graphrec.pipeline.benchmark import Failure, read_failures
from graphrec.report.groups import group_runs
from graphrec.report.page.answer import Answer, answer
from graphrec.report.page.charts_coupling import couplings_of
from graphrec.report.page.section import Section, slug, table
from graphrec.report.page.study import Study, benchmark_folder, by_data, make_study
from graphrec.report.page.theme import DARK, LIGHT
from graphrec.runs import RunFolder, now, scan_runs
from graphrec.runtime import logger

log = logger(__name__)
PAGE = "report.html"
SECTIONS = (
    "charts_results:main_table",
    "charts_by_k:metric_by_k",
    "charts_curves:learning_curves",
    "charts_cost:accuracy_against_cost",
    "charts_slices:slices",
    "charts_items:head_and_tail",
    "charts_beyond:beyond_table",
    "charts_coupling:couplings",
    "charts_curves:alignment_and_uniformity",
    "atlas:item_map",
    "lists:recommendations",
    "charts_tuning:tuning",
    "charts_about:configs",
    "charts_about:data",
    "charts_about:environments",
)
"""What a study is shown as, in this order: ``module:function``, each ``(Study) -> Section | None``."""


@dataclass(frozen=True)
class _Chapter:
    anchor: str
    name: str
    meta: str
    answer: Answer
    sections: Sequence[Section]


def write_page(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    reference: str | None = None,
    metrics: Sequence[str] | None = None,
    title: str | None = None,
    columns: Sequence[str] = (),
    sections: Sequence[str] = SECTIONS,
) -> Path:
    """Writes the runs of a folder as one HTML page, and their tables beside it.

    The page needs no network. Damaged folders, runs without test scores and what a benchmark could not run are named
    at its end; a section that fails is replaced by its reason.

    Args:
        folder: Where the runs are, at any depth; several data sets become chapters of the page.
        out: The page; ``report.html`` in the folder by default. The tables lie in the same folder.
        reference: The label the others are tested against, in every data set that has it; that of the benchmark file
            beside the runs by default.
        metrics: The columns of the main tables, such as ``"Recall@20"``.
        title: The heading; the name of the folder by default.
        columns: What items and users are sliced by, of what their catalogues say; by default the first column of
            categories of each, such as a genre or an occupation.
        sections: What every data set is shown as, in this order, of ``SECTIONS``.

    Returns:
        The path of the page.

    Raises:
        RunFolderError: If there is no readable run at all.
        ConfigError: If no run has the reference or one of the metrics, or no catalogue one of the columns.
        ValueError: If no data set has anything to show; the message says why.
    """
    folder = Path(folder)
    out = folder / PAGE if out is None else Path(out)
    runs, problems = scan_runs(folder)
    left_out = {str(path): reason for path, reason in problems.items()}
    reasons = {run.path: _damage(run) for run in runs}
    left_out |= {str(path): reason for path, reason in reasons.items() if reason}
    scored = [run for run in runs if not reasons[run.path]]
    _check_reference(reference, scored)
    _check_metrics(metrics or (), scored)
    made = _studies(scored, folder, reference, metrics, left_out)
    studies = [replace(study, columns=tuple(columns)) for study in made]
    if not studies:
        raise ValueError(f"expected scored runs in {str(folder)!r}, got none: {'; '.join(left_out.values())}")
    _check_columns(columns, studies)
    chapters = [_chapter(study, f"d{number}", sections) for number, study in enumerate(studies, start=1)]
    _write_tables(studies, chapters, out.parent)
    heading = title or folder.resolve().name
    ends = {"left_out": _left_out(left_out, folder), "failed": _failed(folder)}
    write_text(out, _render(heading, _about(studies), chapters, ends))
    return out


def _check_reference(reference: str | None, runs: Sequence[RunFolder]) -> None:
    labels = {run.metrics()["label"] for run in runs}
    if reference is not None and reference not in labels:
        raise ConfigError(unknown_name(reference, labels, kind="label"))


def _check_metrics(metrics: Sequence[str], runs: Sequence[RunFolder]) -> None:
    known = {name for run in runs for name in run.metrics()["test"]}
    for metric in map(MetricAt.label_of, metrics):
        if runs and metric not in known:
            raise ConfigError(unknown_name(metric, known, kind="metric"))


def _check_columns(columns: Sequence[str], studies: Sequence[Study]) -> None:
    kept = [study.kept for study in studies if study.kept is not None] if columns else []
    known = {name for data in kept for catalog in (data.items, data.people) for name in catalog.columns}
    for column in columns:
        if column not in known:
            raise ConfigError(unknown_name(column, known, kind="column"))


def _damage(run: RunFolder) -> str:
    """Returns why a run cannot be shown; nothing if it can. A damaged part would take the others' with it."""
    try:
        if run.metrics()["test"] is None:
            return "its test set was not scored"
        if "statistics" not in run.data():
            return f"{run.path / 'data.json'} holds no statistics"
        run.history(), run.study(), couplings_of(run)
    except (ValueError, OSError) as error:
        return str(error)
    except KeyError as error:
        return f"{run.path} lacks {error}"
    return ""


def _studies(
    runs: Sequence[RunFolder],
    folder: Path,
    reference: str | None,
    metrics: Sequence[str] | None,
    left_out: dict[str, str],
) -> list[Study]:
    """Makes a study of every data set; notes in ``left_out`` why one has none."""
    found = []
    for same in by_data(runs):
        labels = dict.fromkeys(run.metrics()["label"] for run in same)
        groups = ([run for run in same if run.metrics()["label"] == label] for label in labels)
        group = [run for runs_of_label in groups for run in _clean(runs_of_label, left_out)]
        try:
            found.append(make_study(group, folder, reference=reference, metrics=metrics))
        except (ValueError, OSError) as error:
            left_out |= {str(run.path): str(error) for run in group}
    names = [study.name for study in found]
    return [study if names.count(study.name) == 1 else _named_by_folder(study, folder) for study in found]


def _named_by_folder(study: Study, folder: Path) -> Study:
    """Returns a study of data that another benchmark has too, named by the folder of its own."""
    place = benchmark_folder(study.first)
    own = place.relative_to(folder.resolve()).as_posix() if place.is_relative_to(folder.resolve()) else ""
    return replace(study, name=f"{study.name} ({own.strip('.') or place.name})")


def _clean(runs: list[RunFolder], left_out: dict[str, str]) -> list[RunFolder]:
    """Returns the runs of a label, or none if they clash, which must not stop the others."""
    try:
        group_runs(runs)
    except (ValueError, OSError) as error:
        left_out |= {str(run.path): str(error) for run in runs}
        return []
    return runs


def _write_tables(studies: Sequence[Study], chapters: Sequence[_Chapter], folder: Path) -> None:
    for study, chapter in zip(studies, chapters, strict=True):
        suffix = "" if len(studies) == 1 else f"-{slug(study.name)}"
        study.table.write(folder, f"table{suffix}")
        for section in chapter.sections:
            for sheet in section.sheets:
                sheet.write(folder, suffix)


def _chapter(study: Study, anchor: str, wanted: Sequence[str]) -> _Chapter:
    sections = [section for section in (_section(study, target) for target in wanted) if section is not None]
    return _Chapter(anchor, study.name, _meta(study), answer(study), sections)


def _section(study: Study, target: str) -> Section | None:
    """Makes one section; a failure is shown in its place, since the others are worth reading all the same."""
    module, _, name = target.partition(":")
    try:
        make: Callable[[Study], Section | None] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        return make(study)
    except Exception as error:
        log.warning("the section %r of %r could not be made", target, study.name, exc_info=True)
        reason = Markup('<p class="note failed">This part could not be made: {}: {}</p>').format(
            type(error).__name__, error
        )
        return Section(name.replace("_", "-"), name.replace("_", " ").capitalize(), "", reason)


def _meta(study: Study) -> str:
    seeds = max(len(runs) for runs in study.groups.values())
    about = study.first.data()["statistics"]
    sizes = f"{about['num_users']:,} users, {about['num_items']:,} items, {about['num_interactions']:,} interactions"
    most = "up to " if seeds > 1 and any(len(runs) < seeds for runs in study.groups.values()) else ""
    return f"{sizes}; {_count(len(study.labels), 'model')}, {most}{_count(seeds, 'seed')}"


def _about(studies: Sequence[Study]) -> str:
    runs = sum(len(study.runs) for study in studies)
    names = ", ".join(study.name for study in studies)
    return f"{_count(runs, 'run')} on {names}. Written {now().replace('T', ' ').removesuffix('+00:00')} UTC."


def _left_out(reasons: Mapping[str, str], folder: Path) -> Markup | None:
    if not reasons:
        return None
    here = {f"{folder}/", f"{folder.resolve()}/"}  # where the page is kept says nothing of the runs
    rows = [tuple(_without(text, here) for text in pair) for pair in sorted(reasons.items())]
    return table(("folder", "reason"), rows, caption=f"{_count(len(reasons), 'folder')} left out", numbers=False)


def _failed(folder: Path) -> Markup | None:
    """Returns what the benchmarks in the folder could not run, and why."""
    rows = [
        (Path(path.relative_to(folder), failure.label).as_posix(), _seed(failure), failure.reason)
        for path, failures in read_failures(folder).items()
        for failure in failures
    ]
    if not rows:
        return None
    return table(("model", "seed", "reason"), rows, caption=f"{len(rows)} not run", numbers=False)


def _seed(failure: Failure) -> str:
    return "all" if failure.seed is None else str(failure.seed)


def _without(text: str, parts: Iterable[str]) -> str:
    for part in parts:
        text = text.replace(part, "")
    return text


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _packed(script: str) -> str:
    """Returns a script for the page to unpack: 2 MB instead of 5 of plotly."""
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def _render(title: str, meta: str, chapters: Sequence[_Chapter], ends: Mapping[str, Markup | None]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    shelf = FileSystemLoader(Path(__file__).parent / "templates")
    pages = Environment(loader=shelf, autoescape=True, undefined=StrictUndefined)
    plain = Environment(loader=shelf, autoescape=False, undefined=StrictUndefined)
    tokens = [{"name": name[1:], "light": LIGHT[name], "dark": DARK[name]} for name in LIGHT]
    values: dict[str, Any] = {
        "version": graphrec.__version__,
        "title": title,
        "meta": meta,
        "chapters": chapters,
        **ends,
        "css": Markup(plain.get_template("style.css").render(tokens=tokens)),
        "script": Markup((Path(__file__).parent / "templates" / "page.js").read_text(encoding="utf-8")),
        "themes": Markup(json.dumps({"light": LIGHT, "dark": DARK})),
        "plotly": _packed(get_plotlyjs()),
    }
    return pages.get_template("page.html").render(values)
