"""Tasks in several processes: every one is done, one that fails or dies does not stop the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from graphrec.pipeline.parallel import run_parallel


def square(task: int, shared: int) -> int:
    if task == 3:
        raise ValueError("expected anything but 3")
    return task * task + shared


def die_at_two(task: int, shared: None) -> int:
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def threads(task: int, shared: None) -> tuple[int, int]:
    return os.getpid(), torch.get_num_threads()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_task_that_raises_does_not_stop_the_others(jobs):
    found = dict(run_parallel(square, [1, 2, 3, 4], jobs=jobs, shared=100))
    assert isinstance(found.pop(2), ValueError)
    assert found == {0: 101, 1: 104, 3: 116}


def test_a_process_that_dies_loses_its_own_task_only():
    found = dict(run_parallel(die_at_two, [0, 1, 2, 3], jobs=2))
    assert isinstance(found.pop(2), Exception)
    assert found == {0: 0, 1: 1, 3: 3}


def test_a_single_task_of_several_jobs_may_kill_its_process_too():
    ((number, found),) = run_parallel(die_at_two, [2], jobs=2)
    assert number == 0
    assert isinstance(found, Exception)
    assert list(run_parallel(die_at_two, [], jobs=2)) == []


def die_at_once(task: int, shared: bytes) -> int:
    if task == 0:
        os._exit(3)
    return task


EARLY = """
import sys
sys.path.insert(0, {folder!r})
import test_parallel
from graphrec.pipeline.parallel import run_parallel
if __name__ == "__main__":
    shared = bytes(2**24)  # more than a pipe holds: one process is started while the one before is at work
    found = run_parallel(test_parallel.die_at_once, {tasks!r}, jobs=2, shared=shared)
    print({{number: type(value).__name__ for number, value in sorted(found)}})
"""


@pytest.mark.parametrize("tasks", [[0, 1], [0, 1, 2, 3]])
def test_a_process_that_dies_while_another_is_being_started_holds_nobody_up(tmp_path, tasks):
    script = tmp_path / "early.py"
    script.write_text(EARLY.format(folder=str(Path(__file__).parent), tasks=tasks))
    found = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=True)
    assert found.stdout.strip() == str({0: "BrokenProcessPool"} | dict.fromkeys(tasks[1:], "int"))


def test_processes_share_the_cores():
    before = torch.get_num_threads()
    found = dict(run_parallel(threads, [0, 1, 2, 3], jobs=2))
    assert os.getpid() not in {process for process, _ in found.values()}
    assert {count for _, count in found.values()} == {max(1, before // 2)}


def test_one_job_stays_in_this_process():
    assert next(run_parallel(threads, [0]))[1][0] == os.getpid()


PARENT = """
import sys
sys.path.insert(0, {folder!r})
import test_parallel
from graphrec.pipeline.parallel import run_parallel
if __name__ == "__main__":
    list(run_parallel(test_parallel.wait, [0, 1], jobs=2, shared={marks!r}))
"""


def wait(task: int, marks: str) -> None:
    (Path(marks) / str(os.getpid())).touch()
    time.sleep(600)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see whether a process is there")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_leave_with_a_parent_that_is_killed_or_interrupted(tmp_path, number):
    marks = tmp_path / "marks"
    marks.mkdir()
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(folder=str(Path(__file__).parent), marks=str(marks)))
    parent = subprocess.Popen([sys.executable, str(script)])
    assert until(lambda: len(list(marks.iterdir())) == 2)
    workers = [int(path.name) for path in marks.iterdir()]
    parent.send_signal(number)
    parent.wait(timeout=90)
    assert until(lambda: not any(map(is_running, workers)))


def until(condition: Callable[[], bool], seconds: float = 90.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.05)
    return condition()


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
