"""Tracking: one JSON line per epoch, and TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """What a trainer reports to."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Records the values of an epoch, counted from 1."""

    def close(self) -> None:
        """Writes what is buffered."""


class JsonLines:
    """Appends one JSON object per epoch to a file; an epoch trained again after a resume is logged again.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Appends a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch, **values}) + "\n")

    def close(self) -> None:
        """Does nothing: every line is written at once."""


class TensorBoard:
    """Writes TensorBoard event files.

    Args:
        folder: The folder of the event files.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(folder)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Writes every value as a scalar."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        """Flushes and closes the event file."""
        self._writer.close()


class Trackers:
    """Several trackers as one."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Passes the values to all."""
        for tracker in self._trackers:
            tracker.log(epoch, values)

    def close(self) -> None:
        """Closes all."""
        for tracker in self._trackers:
            tracker.close()
