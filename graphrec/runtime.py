"""Seeds, devices, ranks, progress and the environment: the only module that reads environment variables."""

from __future__ import annotations

import importlib
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
DATA_VARIABLE = "GRAPHREC_DATA"
CACHE_VARIABLE = "GRAPHREC_CACHE"


class MissingExtraError(ImportError):
    """A package is needed that an extra of graphrec brings; the message says how to install it."""


# what bad input raises: the message says all, without the type and a traceback
PLAIN_ERRORS = (ValueError, KeyError, FloatingPointError, OSError, MemoryError, MissingExtraError)


def logger(name: str) -> logging.Logger:
    """Returns the logger of a module; the library never configures handlers itself."""
    return logging.getLogger(name)


def data_root(root: str | Path | None = None) -> Path:
    """Returns the folder that holds the data sets: the argument, else GRAPHREC_DATA, else ``./data``."""
    return Path(root or os.environ.get(DATA_VARIABLE) or "data")


def cache_root(root: str | Path | None = None) -> Path:
    """Returns the folder of what can be made again: the argument, else GRAPHREC_CACHE, else the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root or os.environ.get(CACHE_VARIABLE) or Path(home) / "graphrec")


def require(module: str, *, extra: str) -> ModuleType:
    """Imports a package that an extra brings.

    Raises:
        MissingExtraError: If it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"expected the package {module.partition('.')[0]!r}, which the extra {extra!r} brings: "
            f'pip install "graphrec[{extra}]" ({error})'
        ) from error


def package_folder(name: str) -> Path:
    """Returns the folder of that name that came with the library, such as ``"configs"`` or ``"datasets"``.

    An installed wheel carries it inside the package as ``_<name>``; in a checkout it stands beside the package.

    Raises:
        FileNotFoundError: If neither is there.
    """
    package = Path(__file__).resolve().parent
    candidates = (package / f"_{name}", package.parent / name)
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"expected the folder {name!r} of graphrec, looked in {', '.join(map(str, candidates))}")


def rank() -> int:
    """Returns the rank of this process under torchrun or Lightning's launcher; 0 for a process on its own."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0)


def seed_everything(seed: int) -> None:
    """Seeds the global generators of Python, NumPy and torch, which initialisation draws from."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party code draws from the global generator
    torch.manual_seed(seed)


def derive_seed(seed: int, *keys: int) -> int:
    """Returns a seed for one purpose, independent of the seeds of other purposes.

    >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(0, 2)
    (True, False)
    """
    return int(np.random.SeedSequence(seed, spawn_key=keys).generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, *keys: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Returns a torch generator seeded for one purpose, for example ``generator(seed, epoch)``."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, *keys))


def resolve_device(name: str = "auto") -> torch.device:
    """Returns the device of that name; ``"auto"`` is the GPU where there is one, that of this process under torchrun.

    Raises:
        ValueError: If CUDA is asked for and there is none.
    """
    import torch

    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        local = os.environ.get("LOCAL_RANK")
        return torch.device("cuda") if local is None else torch.device("cuda", int(local) % torch.cuda.device_count())
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"expected a CUDA device for {name!r}, but torch sees none; use device='auto' or 'cpu'")
    return device


def share_machine(place: int, jobs: int) -> None:
    """Gives one of several processes its share of the machine: some of the cores, and one of the GPUs in turn.

    A single one keeps all of it.

    Called before CUDA is used in the process.

    Args:
        place: The number of this process, from 0.
        jobs: How many processes there are.
    """
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    if jobs == 1:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = (
        list(range(torch.cuda.device_count())) if visible is None else [part for part in visible.split(",") if part]
    )
    if len(devices) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(devices[place % len(devices)])


def track(items: Iterable[T], description: str, *, total: int | None = None, delay: float = 2.0) -> Iterator[T]:
    """Yields the items, showing a progress bar once ``delay`` seconds have passed, on a terminal only."""
    if not sys.stderr.isatty() or rank() != 0:
        yield from items
        return
    yield from _track_visibly(items, description, total, delay)


@contextmanager
def progress(
    description: str, total: int, *, delay: float = 2.0, every: float = 30.0
) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes how many of ``total`` values were done since it was called last.

    A terminal shows a bar with the rate and the time left, once ``delay`` seconds have passed; elsewhere a line is
    logged every ``every`` seconds.
    """
    if rank() != 0:
        yield lambda count: None
    elif sys.stderr.isatty():
        with _bar(description, total, delay) as advance:
            yield advance
    else:
        yield _Lines(description, total, every)


class _Lines:
    """Logs how far the work has come, now and then."""

    def __init__(self, description: str, total: int, every: float) -> None:
        self.description, self.total, self.every = description, total, every
        self.done, self.began = 0, time.monotonic()
        self.told = self.began

    def __call__(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.told < self.every or not self.done:
            return
        self.told = now
        rate = self.done / (now - self.began)
        left = timedelta(seconds=round((self.total - self.done) / rate))
        logger(__name__).info(
            "%s: %d of %d, %s per second, %s left", self.description, self.done, self.total, f"{rate:.3g}", left
        )


@contextmanager
def _bar(description: str, total: int, delay: float) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(description, total=total, rate="")
    began, done = time.monotonic(), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        passed = time.monotonic() - began
        bar.update(task, advance=count, rate=f"{done / max(passed, 1e-9):.3g}/s")
        if passed > delay and not bar.live.is_started:
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()


@contextmanager
def working(description: str, *, delay: float = 2.0) -> Iterator[None]:
    """Shows that something without steps of its own is under way, once it takes longer than ``delay`` seconds."""
    if not sys.stderr.isatty() or rank() != 0:
        yield
        return
    from rich.console import Console

    status = Console(stderr=True).status(description)
    timer = threading.Timer(delay, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def _track_visibly(items: Iterable[T], description: str, total: int | None, delay: float) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    size = total if total is not None else getattr(items, "__len__", lambda: None)()
    task = progress.add_task(description, total=size)
    began, shown = time.monotonic(), False
    try:
        for item in items:
            yield item
            progress.advance(task)
            if not shown and time.monotonic() - began > delay:
                progress.start()
                shown = True
    finally:
        if shown:
            progress.stop()
