"""Several models on the same data, each run in a folder of its own; what one cell does wrong the others survive."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import graphrec
from graphrec.config import dump_yaml, load_yaml
from graphrec.data.dataset import Dataset
from graphrec.data.files import write_json, write_text
from graphrec.evaluation.ranking import Evaluation
from graphrec.pipeline.cells import (
    BusyError,
    Cell,
    SharedWork,
    held,
    is_finished,
    place_of,
    reason,
    run_cell,
    try_out,
    wait_for_cell,
)
from graphrec.pipeline.config import BenchmarkConfig
from graphrec.pipeline.fusion import run_fusions
from graphrec.pipeline.parallel import run_parallel
from graphrec.pipeline.prepare import Prepared, check_test, load_data
from graphrec.pipeline.result import measure_scorer
from graphrec.pipeline.sifting import sift
from graphrec.runs import ORACLE, RunFolder, RunFolderError, now, peak_memory
from graphrec.runtime import PLAIN_ERRORS, logger, rank

log = logger(__name__)
SETTINGS, FAILURES = "benchmark.yaml", "failures.json"
Settings = BenchmarkConfig | Mapping[str, Any] | str | Path


@dataclass(frozen=True)
class Failure:
    """A cell of a benchmark that could not be run, or all cells of a row.

    Args:
        label: The model.
        seed: The seed; None where it is all of them.
        reason: What went wrong.
    """

    label: str
    seed: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.label}{'' if self.seed is None else f', seed {self.seed}'}: {self.reason}"


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark left behind.

    Args:
        runs: The finished run folders in the order of the config, fusions and the oracle last.
        failures: The cells that failed, and the rows that could not be run at all.
        reference: The label that the others are tested against, if the benchmark names one and it could be run.
    """

    runs: list[RunFolder]
    failures: list[Failure]
    reference: str | None = None


@dataclass(frozen=True)
class Oracle:
    """The true preference of synthetic data as a scorer: the known ceiling.

    Args:
        truth: ``Dataset.truth``.
    """

    truth: Any

    def score(self, users: Tensor) -> Tensor:
        """Returns the true preference for all items ``(len(users), num_items)``."""
        return torch.as_tensor(self.truth.score(users.cpu().numpy())).clone()


def benchmark(
    config: Settings,
    folder: str | Path,
    *,
    data: Dataset | None = None,
    jobs: int = 1,
    score_test: bool = True,
    shared: SharedWork | None = None,
) -> BenchmarkResult:
    """Runs every model for every seed, going on where an earlier call stopped.

    Runs lie in ``<folder>/<label>/seed-<seed>``; those that are finished are left as they are, unless settings, data
    or the model's ``results_version`` differ, which is an error of that cell. Several calls on one folder share the
    work; what another one is running is waited for. Models with the same graph and features share them. A cell that
    fails, and a row whose own settings are wrong, is reported in the result, the log and ``<folder>/failures.json``,
    and the others are run; what can be found wrong is found before anything is trained. For synthetic data the known
    ceiling is scored into ``<folder>/oracle``. Every test set is scored once per run.

    Args:
        config: A ``BenchmarkConfig``, a mapping, or the path of a YAML file.
        folder: Where the runs are written.
        data: A data set to use in place of ``config.data.name``.
        jobs: Cells run at once, each in a process of its own with its share of the cores, or on a GPU of its own.
        score_test: Whether the test sets are scored; without, the runs can be compared on validation only.
        shared: Graphs that were made before, of the same data.

    Raises:
        ConfigError: If a setting that the rows share is unknown or wrong, or no row is right.
        ValueError: If the data is not what was expected.
        FileNotFoundError: If the data is missing.
        Exception: The first error, if not a single cell could be run.
    """
    settings, wrong = _sifted(config)
    shared = shared or SharedWork(load_data(settings.data, data))
    result, error = attempt(settings, folder, shared, jobs=jobs, score_test=score_test, failures=wrong)
    keep_failures(Path(folder), result)
    if error is not None:
        raise error
    return result


def attempt(
    settings: BenchmarkConfig,
    folder: str | Path,
    shared: SharedWork,
    *,
    jobs: int = 1,
    score_test: bool = True,
    failures: Sequence[Failure] = (),
) -> tuple[BenchmarkResult, Exception | None]:
    """Runs what is missing, and returns the first error beside all failures where not a single cell could be run.

    Args:
        settings: The rows that can be run.
        folder: Where the runs are written.
        shared: Data and graphs.
        jobs: As in ``benchmark``.
        score_test: As in ``benchmark``.
        failures: What could not be run for reasons that were found before; they stand before the others.

    Raises:
        ValueError: If there is no test set to score.
    """
    if score_test:
        check_test(shared.data)
    root = Path(folder).resolve()
    cells = [Cell(entry, root, score_test) for entry in settings.plan()]
    errors = try_out(cells, shared)
    waiting = [cell for cell in cells if cell.key not in errors]
    if waiting and rank() == 0:
        write_text(root / SETTINGS, dump_yaml(settings.model_dump(mode="json")))
    errors |= _run_all(waiting, shared, jobs)
    runs = [place_of(cell) for cell in cells if cell.key not in errors]
    found = [*failures, *(Failure(*key, reason(error)) for key, error in errors.items())]
    if score_test and runs:
        runs, found = _with_more(settings, shared, root, runs, found)
    return BenchmarkResult(runs, found, settings.reference), None if runs else next(iter(errors.values()))


def failures_of(wrong: Mapping[str, Exception]) -> list[Failure]:
    """Returns the failures of rows that cannot be run at all, by label."""
    return [Failure(str(label), None, reason(error)) for label, error in wrong.items()]


def keep_failures(root: Path, result: BenchmarkResult, *, may_be_new: bool = False) -> None:
    """Writes what failed, but into no folder in which no benchmark was ever run.

    Args:
        root: The folder of the benchmark.
        result: What it left behind.
        may_be_new: Whether the folder may be made for it.
    """
    is_own = bool(result.runs) or any((root / name).is_file() for name in (SETTINGS, FAILURES))
    if is_own or (may_be_new and not root.exists()):
        write_failures(root, result.failures)


def write_failures(root: Path, failures: Sequence[Failure]) -> None:
    """Writes what a benchmark could not run beside its runs; without failures there is no such file."""
    if rank() != 0:
        return
    if failures:
        write_json(root / FAILURES, {"failures": [asdict(failure) for failure in failures]})
    else:
        (root / FAILURES).unlink(missing_ok=True)


def read_failures(folder: str | Path) -> dict[Path, list[Failure]]:
    """Returns what the benchmarks in a folder and below could not run, by its folder; damaged files left out."""
    found = {}
    for path in sorted(Path(folder).rglob(FAILURES)):
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["failures"]
            found[path.parent] = [
                Failure(str(entry["label"]), entry["seed"], str(entry["reason"])) for entry in entries
            ]
        except (ValueError, TypeError, KeyError, OSError) as error:
            log.warning("left out: %s cannot be read: %s", path, reason(error))
    return found


def _sifted(config: Settings) -> tuple[BenchmarkConfig, list[Failure]]:
    """Returns the settings that can be run, and what is wrong with the rows that cannot."""
    if isinstance(config, BenchmarkConfig):
        return config, []
    if isinstance(config, Mapping):
        given, where = config, "benchmark"
    else:
        given, where = load_yaml(Path(config)), Path(config).name
    values, wrong = sift(given, where=where)
    for label, fault in wrong.items():
        log.error("%s cannot be run: %s", label, fault)
    return BenchmarkConfig.parse(values, where=where), failures_of(wrong)


def _run_all(cells: Sequence[Cell], shared: SharedWork, jobs: int) -> dict[tuple[str, int], Exception]:
    """Runs the cells that are not finished and returns the errors of those that failed."""
    errors: dict[tuple[str, int], Exception] = {}
    todo = []
    for cell in cells:
        prepared = shared.of(cell.config)
        if is_finished(cell, prepared):
            try:
                place_of(cell).check_readable()
            except RunFolderError as error:
                errors[cell.key] = _logged(cell, error)
                continue
            log.info("%s, seed %d: already finished", *cell.key)
            prepared.written(place_of(cell), refit=cell.config.training.refit)
        else:
            todo.append(cell)
    busy = []
    for number, found in run_parallel(run_cell, todo, jobs=jobs, shared=shared):
        if isinstance(found, BusyError):
            log.info("%s; it is waited for", found)
            busy.append(todo[number])
        elif isinstance(found, Exception):
            errors[todo[number].key] = _logged(todo[number], found)
    for number, found in run_parallel(wait_for_cell, busy, jobs=jobs, shared=shared):
        if isinstance(found, Exception):
            errors[busy[number].key] = _logged(busy[number], found)
    return errors


def _logged(cell: Cell, error: Exception) -> Exception:
    if not isinstance(error, PLAIN_ERRORS):
        log.debug("%s, seed %d", *cell.key, exc_info=error)
    log.error("%s, seed %d failed: %s", *cell.key, reason(error))
    return error


def _with_more(
    settings: BenchmarkConfig, shared: SharedWork, root: Path, runs: list[RunFolder], failures: list[Failure]
) -> tuple[list[RunFolder], list[Failure]]:
    """Adds the fusions of scores, and the known ceiling where there is one."""
    fused, errors = run_fusions(settings, runs, shared.data, root)
    runs = [*runs, *fused]
    failures = [*failures, *failures_of(errors)]
    if hasattr(shared.data.truth, "score"):
        try:
            with held(root, ORACLE, 0, wait=True):
                runs.append(_run_oracle(settings, shared.plain(settings), root))
        except RunFolderError as error:
            log.error("%s failed: %s", ORACLE, reason(error))
            failures += failures_of({ORACLE: error})
    return runs, failures


def _run_oracle(settings: BenchmarkConfig, prepared: Prepared, root: Path) -> RunFolder:
    place, data = RunFolder(root / ORACLE), prepared.data
    place.check_own()
    if place.is_complete() and place.data()["identity"] == prepared.identity:
        place.check_readable()
        return place
    mask = data.split.valid if settings.evaluation.also_mask_valid else None
    found = measure_scorer(Oracle(data.truth), settings.evaluation, data.split.train, data.test, also_mask=mask)
    if rank() == 0:
        place.begin({"evaluation": settings.evaluation.model_dump(mode="json")}, prepared.about())
        place.write_users("test", found)
        entry = {"time": now(), "graphrec": graphrec.__version__, "again": False, "test": found.mean()}
        place.log_first_evaluation(entry)
        place.write_metrics(_oracle_metrics(found))
    return place


def _oracle_metrics(found: Evaluation) -> dict[str, Any]:
    return {
        "label": ORACLE,
        "kind": ORACLE,
        "seed": None,
        "refit": False,
        "closed_form": True,
        "test": found.mean(),
        "test_users": len(found),
        "peak_memory_mib": peak_memory(),
    }
