"""The cells of a benchmark: one model with one seed, what it is made from, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from graphrec.data.dataset import Dataset
from graphrec.pipeline.config import BenchmarkConfig, RunConfig
from graphrec.pipeline.prepare import Prepared, check, prepare
from graphrec.pipeline.result import build_model
from graphrec.pipeline.train import execute, is_same
from graphrec.runs import RunFolder, RunFolderError
from graphrec.runtime import PLAIN_ERRORS, logger, rank

log = logger(__name__)
LOCKS = ".locks"


class BusyError(RunFolderError):
    """Another process is at work on the same run."""


@dataclass(frozen=True)
class Cell:
    """One run of a benchmark.

    Args:
        config: Its settings.
        root: The folder of the benchmark.
        score_test: Whether its test set is scored.
    """

    config: RunConfig
    root: Path
    score_test: bool = True

    @property
    def key(self) -> tuple[str, int]:
        """Label and seed, which name the cell."""
        return self.config.label, self.config.seed


@dataclass(eq=False)
class SharedWork:
    """Graphs and features of one data set, each made once for all cells that use it.

    Args:
        data: The data set.
    """

    data: Dataset
    _made: dict[str, Prepared] = field(default_factory=dict)

    def of(self, config: RunConfig) -> Prepared:
        """Returns what a run is made from."""
        key = f"{config.features.model_dump_json()} {config.graph.model_dump_json()}"
        if key not in self._made:
            self._made[key] = prepare(self.data, config.features, config.graph)
        return self._made[key]

    def plain(self, settings: BenchmarkConfig) -> Prepared:
        """Returns some graph that was made, for what needs the data set alone."""
        return next(iter(self._made.values()), None) or prepare(self.data, settings.features, settings.graph)


def place_of(cell: Cell) -> RunFolder:
    """Returns where a cell is kept."""
    label, seed = cell.key
    return RunFolder(cell.root / label / f"seed-{seed}")


def try_out(cells: Sequence[Cell], shared: SharedWork) -> dict[tuple[str, int], Exception]:
    """Builds every model once and looks into every folder, so that nothing fails after hours of training.

    Returns:
        What is wrong with the cells that cannot be run.
    """
    errors: dict[tuple[str, int], Exception] = {}
    built: dict[str, Exception | None] = {}
    for cell in cells:
        label = cell.config.label
        if label not in built:
            built[label] = _wrong_with(cell.config, shared)
        found = built[label] or _wrong_with_folder(cell, shared)
        if found is not None:
            log.error("%s, seed %d cannot be run: %s", *cell.key, reason(found))
            errors[cell.key] = found
    return errors


def reason(error: Exception) -> str:
    """Returns what went wrong in one line; the type of the error stands in front unless its message says it all."""
    text = " ".join(str(error).split())
    return text if isinstance(error, PLAIN_ERRORS) and text else f"{type(error).__name__}: {text}"


def is_finished(cell: Cell, prepared: Prepared) -> bool:
    """Returns whether a cell was run before, with the same settings and data.

    Raises:
        RunFolderError: If its folder holds something else.
    """
    place = place_of(cell)
    if not place.is_complete():
        place.check_own()
        return False
    place.check()
    if not is_same(place, cell.config, prepared):
        raise RunFolderError(
            f"{str(place.path)!r} holds a run with other settings or data; name another folder, or delete that one"
        )
    return place.metrics()["test"] is not None or not cell.score_test


def run_cell(cell: Cell, shared: SharedWork, *, wait: bool = False) -> None:
    """Trains one model and scores its test set once, unless another process has done so in the meantime.

    Args:
        cell: What is run.
        shared: Data and graphs.
        wait: Whether to wait for another process that is at work on it, which may die before it comes to the end.

    Raises:
        BusyError: If another process is at work on the same cell and is not waited for.
    """
    label, seed = cell.key
    prepared = shared.of(cell.config)
    with held(cell.root, label, seed, wait=wait):
        if is_finished(cell, prepared):
            return
        log.info("%s, seed %d", label, seed)
        run = execute(cell.config, prepared, place_of(cell).path, resume=True)
        if cell.score_test:
            run.evaluate()


def wait_for_cell(cell: Cell, shared: SharedWork) -> None:
    """Waits until another process has run a cell, or runs it if that process has died."""
    run_cell(cell, shared, wait=True)


@contextmanager
def held(root: Path, label: str, seed: int, *, wait: bool) -> Iterator[None]:
    """Keeps other processes away from a run; the system lets go of it when its process dies.

    Raises:
        BusyError: If another process holds it and is not waited for.
    """
    if rank() != 0:  # the processes of one training are one: the first holds the run for all
        yield
        return
    path = root / LOCKS / f"{label}-{seed}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(path).acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise BusyError(f"another process is running {label!r} with seed {seed} in {str(root)!r}") from None
    with lock:
        yield


def _wrong_with(config: RunConfig, shared: SharedWork) -> Exception | None:
    try:
        check(config, shared.data)
        build_model(config, shared.of(config).graph)
    except Exception as error:  # also what a model from outside gets wrong
        return error
    return None


def _wrong_with_folder(cell: Cell, shared: SharedWork) -> Exception | None:
    try:
        is_finished(cell, shared.of(cell.config))
    except PLAIN_ERRORS as error:
        return error
    return None
