"""Trackers write what they are given."""

from __future__ import annotations

import json

from graphrec.training.tracking import JsonLines, TensorBoard, Trackers


def test_json_lines_appends(tmp_path):
    path = tmp_path / "logs" / "history.jsonl"
    for _ in range(2):
        JsonLines(path).log(1, {"bpr": 0.5})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"epoch": 1, "bpr": 0.5}] * 2


def test_tensorboard_writes_an_event_file_with_the_value(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trackers = Trackers([TensorBoard(tmp_path), JsonLines(tmp_path / "h.jsonl")])
    trackers.log(3, {"Recall@20": 0.25})
    trackers.close()
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("Recall@20")
    assert [(event.step, event.value) for event in events] == [(3, 0.25)]
    assert (tmp_path / "h.jsonl").exists()
