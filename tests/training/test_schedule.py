"""Schedules at known points."""

from __future__ import annotations

import pytest

from graphrec.training.schedule import ScheduleConfig


@pytest.mark.parametrize(
    ("config", "epoch", "expected"),
    [
        ({}, 77, 1.0),
        ({"warmup_epochs": 4}, 1, 0.25),
        ({"warmup_epochs": 4}, 4, 1.0),
        ({"name": "cosine"}, 0, 1.0),
        ({"name": "cosine"}, 50, 0.5),
        ({"name": "cosine"}, 100, 0.0),
        ({"name": "cosine", "warmup_epochs": 20}, 60, 0.5),
        ({"name": "cosine", "horizon": 200}, 100, 0.5),
        ({"name": "decay", "gamma": 0.5, "decay_epochs": 10}, 20, 0.25),
    ],
)
def test_factor(config, epoch, expected):
    assert ScheduleConfig(**config).factor(epoch, 100) == pytest.approx(expected)
