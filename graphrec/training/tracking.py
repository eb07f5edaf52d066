"""Tracking: one JSON line per epoch always; TensorBoard, MLflow and Weights & Biases by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

from graphrec.config import dump_yaml
from graphrec.runtime import logger, require

log = logger(__name__)
TrackerName = Literal["tensorboard", "mlflow", "wandb"]
EXTRAS = ("mlflow", "wandb")  # each the name of a package and of the extra that brings it


class Tracker(Protocol):
    """What a trainer reports to."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Records the values of an epoch, counted from 1."""

    def close(self) -> None:
        """Writes what is buffered."""


@runtime_checkable
class RunTracker(Tracker, Protocol):
    """A tracker of whole runs; a run that is closed before it came to something has failed."""

    def final(self, values: Mapping[str, float]) -> None:
        """Records what the run came to."""


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
        config: The settings of the run, shown as text; none by default.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(folder)
        if config:
            self._writer.add_text("config", "\n".join("    " + line for line in dump_yaml(config).splitlines()))

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Writes every value as a scalar."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        """Flushes and closes the event file."""
        self._writer.close()


class Trackers:
    """Several trackers as one; as a context manager it closes them on errors too.

    Args:
        trackers: What is reported to, in this order.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Passes the values to all."""
        for tracker in self._trackers:
            tracker.log(epoch, values)

    def final(self, values: Mapping[str, float]) -> None:
        """Passes what the run came to to those that track whole runs."""
        for tracker in self._trackers:
            if isinstance(tracker, RunTracker):
                tracker.final(values)

    def close(self) -> None:
        """Closes all, also when one cannot be closed."""
        with ExitStack() as stack:
            for tracker in reversed(self._trackers):
                stack.callback(tracker.close)


class Forgiving:
    """Passes everything to a tracker outside the run folder until it fails; training is worth more than its log.

    Args:
        tracker: The tracker.
        name: What it is called in the warning.
    """

    def __init__(self, tracker: RunTracker, name: str) -> None:
        self._tracker, self._name, self._failed = tracker, name, False

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Passes the values on."""
        self._try(lambda: self._tracker.log(epoch, values))

    def final(self, values: Mapping[str, float]) -> None:
        """Passes on what the run came to."""
        self._try(lambda: self._tracker.final(values))

    def close(self) -> None:
        """Closes the tracker."""
        self._try(self._tracker.close)

    def _try(self, action: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:  # whatever a client or its server may raise
            self._failed = True
            log.warning("%s failed and is left out from here on: %s", self._name, error)


def require_trackers(names: Sequence[TrackerName]) -> None:
    """Checks that the packages of the trackers are installed, before anything is trained.

    Raises:
        MissingExtraError: If one is not; the message names its extra.
    """
    for name in names:
        if name in EXTRAS:
            require(name, extra=name)


def trackers(
    names: Sequence[TrackerName],
    folder: Path,
    *,
    name: str,
    config: Mapping[str, Any],
    others: Sequence[Tracker] = (),
) -> Trackers:
    """Returns the trackers of a run: JSON lines in ``history.jsonl``, those that are named, and others.

    Args:
        names: The trackers wanted beside the JSON lines.
        folder: The run folder; what they write here is in a folder named like the tracker.
        name: The name of the run in a user interface.
        config: Its settings, a nested mapping of plain values.
        others: Trackers of the caller's own; what they raise ends the training.

    Raises:
        MissingExtraError: If a package is missing; nothing is written then.
    """
    require_trackers(names)
    with ExitStack() as opened:  # those already open are closed if the next cannot be opened
        found: list[Tracker] = [JsonLines(folder / "history.jsonl")]
        for wanted in dict.fromkeys(names):
            found.append(_open(wanted, folder / wanted, name, config))
            opened.callback(found[-1].close)
        opened.pop_all()
    return Trackers([*found, *others])


def _open(tracker: TrackerName, folder: Path, name: str, config: Mapping[str, Any]) -> Tracker:
    from graphrec.training import remote

    if tracker == "tensorboard":
        return TensorBoard(folder, config)
    return Forgiving(remote.CLIENTS[tracker](folder, name=name, config=config), tracker)
