"""Several processes at work on a list of tasks, each with its share of the cores or a GPU of its own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from graphrec.runtime import logger, share_machine

log = logger(__name__)
Task = TypeVar("Task")
Result = TypeVar("Result")
_SHARED: list[Any] = []  # what a worker process was given once, for all of its tasks


def run_parallel(
    function: Callable[[Task, Any], Result], tasks: Sequence[Task], *, jobs: int = 1, shared: Any = None
) -> Iterator[tuple[int, Result | Exception]]:
    """Calls ``function(task, shared)`` for every task and yields the results as they come.

    A task that raises yields its exception, and the others go on. A process that dies takes with it the tasks that
    were not finished: each of those is tried once more, in a process of its own, so that only the one that kills its
    process is lost. Where the caller is interrupted, or does not ask for the rest, the processes end at once.

    Args:
        function: A function at the top of a module; with several jobs it is called in other processes.
        tasks: What it is called with.
        jobs: Processes at once; with 1 everything happens in this one.
        shared: A second argument for all calls, sent to every process once.

    Yields:
        The number of a task and its result, or the exception that it raised.
    """
    if jobs <= 1 or not tasks:
        for number, task in enumerate(tasks):
            yield number, _attempt(function, task, shared)
        return
    lost = []
    for number, result in _pooled(function, dict(enumerate(tasks)), min(jobs, len(tasks)), shared):
        if isinstance(result, BrokenProcessPool):
            lost.append(number)
        else:
            yield number, result
    for number in sorted(lost):
        yield from _pooled(function, {number: tasks[number]}, 1, shared)


def _pooled(
    function: Callable[[Any, Any], Any], tasks: dict[int, Any], jobs: int, shared: Any
) -> Iterator[tuple[int, Any]]:
    context = multiprocessing.get_context("spawn")  # a forked process would inherit locked OpenMP threads
    places = context.Queue()
    for place in range(jobs):
        places.put(place)
    level = logging.getLogger("graphrec").getEffectiveLevel()
    wanted, here = context.Pipe(duplex=False)  # ends when this process closes its end, or dies
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(places, jobs, level, wanted, shared))
    try:
        futures: dict[Future[Any], int] = {}
        late: dict[int, BrokenProcessPool] = {}
        for key, task in tasks.items():
            try:
                futures[pool.submit(_call, function, task)] = key
            except BrokenProcessPool as broken:  # a worker died while the next one was being started
                late[key] = broken
        for future in as_completed(futures):
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            if isinstance(error, BrokenProcessPool):
                here.close()  # a worker that was still being started would wait for ever
            yield futures[future], future.result() if error is None else error
        yield from late.items()
    except BaseException:
        here.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        here.close()
        wanted.close()


def _begin(places: Any, jobs: int, level: int, wanted: Connection, shared: Any) -> None:
    """Sets a worker process up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts all at once, and the parent ends its workers
    threading.Thread(target=_leave_with_parent, args=(wanted,), daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("graphrec").setLevel(level)
    share_machine(places.get(), jobs)
    _SHARED[:] = [shared]


def _leave_with_parent(wanted: Connection) -> None:
    """Ends this process when the one that started it was interrupted or killed, whatever it is at."""
    wait([wanted])
    os._exit(1)


def _call(function: Callable[[Any, Any], Any], task: Any) -> Any:
    return function(task, _SHARED[0])


def _attempt(function: Callable[[Any, Any], Any], task: Any, shared: Any) -> Any:
    try:
        return function(task, shared)
    except Exception as error:  # the caller says what becomes of a failed task
        return error
