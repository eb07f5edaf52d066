import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from graphrec import runtime


def test_data_root_order(monkeypatch, tmp_path):
    monkeypatch.delenv(runtime.DATA_VARIABLE, raising=False)
    assert str(runtime.data_root()) == "data"
    monkeypatch.setenv(runtime.DATA_VARIABLE, "/somewhere")
    assert str(runtime.data_root()) == "/somewhere"
    assert runtime.data_root(tmp_path) == tmp_path


def test_package_folders_of_a_checkout():
    assert (runtime.package_folder("datasets") / "amazon-baby.yaml").is_file()
    with pytest.raises(FileNotFoundError, match=r"expected the folder 'nothing' of graphrec, looked in .*_nothing"):
        runtime.package_folder("nothing")


def test_package_folders_of_a_wheel_come_first(monkeypatch, tmp_path):
    package = tmp_path / "graphrec"
    (package / "_configs").mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    monkeypatch.setattr(runtime, "__file__", str(package / "runtime.py"))
    assert runtime.package_folder("configs") == package / "_configs"
    (package / "_configs").rmdir()
    assert runtime.package_folder("configs") == tmp_path / "configs"


def test_rank(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert runtime.rank() == 0
    monkeypatch.setenv("RANK", "3")
    assert runtime.rank() == 3


def test_seed_everything_repeats_every_generator():
    def draw():
        runtime.seed_everything(2**40 + 7)
        return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002

    assert draw() == draw()


def test_derived_seeds_are_distinct_and_fit_torch():
    seeds = {runtime.derive_seed(seed, *keys) for seed in range(20) for keys in ((), (0,), (0, 1), (1, 0), (1,))}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    drawn = [torch.rand(3, generator=runtime.generator(0, epoch)) for epoch in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_devices(monkeypatch):
    assert runtime.resolve_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.resolve_device().type == "cpu"
    with pytest.raises(ValueError, match="expected a CUDA device for 'cuda:1', but torch sees none"):
        runtime.resolve_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.resolve_device().type == "cuda"


@pytest.mark.parametrize("terminal", [False, True])
def test_track_yields_everything_and_is_quiet_at_first(monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert list(runtime.track(range(5), "work")) == [0, 1, 2, 3, 4]
    assert list(runtime.track(iter("ab"), "work")) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_track_shows_a_bar_after_the_delay(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(runtime.track(range(3), "slow work", delay=-1)) == [0, 1, 2]
    assert "slow work" in capsys.readouterr().err


def test_track_stops_its_bar_when_the_work_fails(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    steps = runtime.track(range(3), "work", delay=-1)
    next(steps)
    with pytest.raises(RuntimeError, match="broken"):
        steps.throw(RuntimeError("broken"))


def test_data_is_read_without_torch():
    code = "import sys, graphrec.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_loggers_are_named_after_their_module():
    assert runtime.logger("graphrec.x").name == "graphrec.x"
    assert runtime.logger("graphrec.x").handlers == []


@pytest.mark.parametrize(("terminal", "delay", "shown"), [(True, 0.0, True), (True, 60.0, False), (False, 0.0, False)])
def test_working_is_shown_after_the_delay_on_a_terminal_only(monkeypatch, terminal, delay, shown):
    from rich.status import Status

    events = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr(Status, "start", lambda self: events.append("start"))
    with runtime.working("solving", delay=delay):
        time.sleep(0.2 if shown else 0)
    assert events == (["start"] if shown else [])


def test_cache_root_is_the_argument_then_the_variable_then_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv(runtime.CACHE_VARIABLE, str(tmp_path / "cache"))
    assert runtime.cache_root("here") == Path("here")
    assert runtime.cache_root() == tmp_path / "cache"
    monkeypatch.delenv(runtime.CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert runtime.cache_root() == tmp_path / "graphrec"


def test_a_missing_package_is_answered_with_its_extra():
    assert runtime.require("json", extra="audio").loads("1") == 1
    with pytest.raises(
        runtime.MissingExtraError, match=r"'no_such_package', which the extra 'audio' brings: pip install"
    ):
        runtime.require("no_such_package.part", extra="audio")


def test_progress_shows_the_rate_and_the_time_left_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with runtime.progress("slow work", 100, delay=-1) as advance:
        advance(25)
    shown = capsys.readouterr().err
    assert "slow work" in shown
    with runtime.progress("quick work", 100) as advance:
        advance(100)
    assert capsys.readouterr() == ("", "")


def test_progress_logs_a_line_now_and_then_where_there_is_no_terminal(monkeypatch, caplog):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    times = iter([0.0, 10.0, 40.0, 50.0])
    monkeypatch.setattr(runtime.time, "monotonic", lambda: next(times))
    caplog.set_level("INFO", logger="graphrec.runtime")
    with runtime.progress("slow work", 1000) as advance:
        advance(100)
        advance(100)
        advance(100)
    assert caplog.messages == ["slow work: 200 of 1000, 5 per second, 0:02:40 left"]


def test_progress_is_silent_on_other_ranks(monkeypatch, caplog):
    monkeypatch.setenv("RANK", "1")
    caplog.set_level("INFO")
    with runtime.progress("work", 10, every=0) as advance:
        advance(10)
    assert caplog.messages == []
