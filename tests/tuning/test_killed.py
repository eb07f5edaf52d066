"""A process that is killed in the middle of a trial loses nothing, and nothing is run twice."""

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from graphrec.tuning import load_study, tuner
from tests.tuning.small import small, told

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hanging(tmp_path):
    """A process that hangs in the second trial of a study in ``tmp_path``."""
    marker = tmp_path / "marker"
    command = [sys.executable, "-W", "ignore", "-m", "tests.tuning.small", str(tmp_path), str(marker)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        while not marker.exists():
            assert process.poll() is None, "the process came to its end before its second trial"
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_trial_under_way_is_left_alone_and_run_once_more_after_its_process_was_killed(tmp_path, hanging, monkeypatch):
    seen = []

    def pause(seconds):
        """Kills the other process once there is nothing left to do but to wait for it."""
        seen.append(load_study(tmp_path))
        hanging.send_signal(signal.SIGKILL)
        hanging.wait()

    monkeypatch.setattr(tuner, "sleep", pause)
    study = small(tmp_path, tuning={"pruner": "median"})  # a second process on the same study
    (meanwhile,) = seen
    assert meanwhile.counts["running"] == 1
    assert meanwhile.row(1)["state"] == "running"
    assert len(meanwhile.trials) == 6
    assert Counter(study.trials["state"])["lost"] == 1
    assert study.counts["running"] == study.counts["waiting"] == 0
    assert len(study.trials) == 7
    assert study.row(6)["retry_of"] == 1
    assert study.params[6] == study.params[1]
    pd.testing.assert_frame_equal(told(meanwhile).drop(index=1), told(study).drop(index=5).set_axis([0, 2, 3, 4, 5]))
    pd.testing.assert_frame_equal(small(tmp_path).trials, study.trials)


def test_a_killed_study_that_goes_on_is_the_study_that_was_not_killed(tmp_path, hanging, tmp_path_factory):
    hanging.send_signal(signal.SIGKILL)
    hanging.wait()
    journal = tmp_path / "journal.log"
    with journal.open("ab") as file:
        file.write(b'{"op_code":7,"worker')  # as if it had been killed while writing
    study = small(tmp_path)
    whole = small(tmp_path_factory.mktemp("whole"))
    pd.testing.assert_frame_equal(told(study), told(whole))
    assert study.best == whole.best
