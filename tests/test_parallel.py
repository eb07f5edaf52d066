"""Tasks in several processes: every one is done, one that fails or dies does not stop the others."""

from __future__ import annotations

import os
import signal

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


def test_processes_share_the_cores():
    before = torch.get_num_threads()
    found = dict(run_parallel(threads, [0, 1, 2, 3], jobs=2))
    assert os.getpid() not in {process for process, _ in found.values()}
    assert {count for _, count in found.values()} == {max(1, before // 2)}


def test_one_job_stays_in_this_process():
    assert next(run_parallel(threads, [0]))[1][0] == os.getpid()
