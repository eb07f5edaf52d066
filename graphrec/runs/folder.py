"""The run folder: one run, complete in itself, readable without graphrec.

config.yaml          every setting, defaults included
environment.json     format, versions, machine, git revision
data.json            name, fingerprints, statistics and notes of the data set
metrics.json         means of valid and test, epochs, seconds, memory; written last
users-<part>.parquet the metrics of every user, by external id
lists-<part>.parquet the items ranked for each of them, as rows of dataset/
history.jsonl        one line per epoch; tensorboard/ holds the same
evaluations.jsonl    one line for every time the test set was scored
model.safetensors    weights; closed_form.json instead for models that are solved anew on load
dataset/             ids and interactions
graph.safetensors    the training graph, with graph.json
checkpoints/         while training
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

import graphrec
from graphrec.config import dump_yaml, load_yaml
from graphrec.data.files import write_bytes, write_json, write_text
from graphrec.evaluation.ranking import Evaluation
from graphrec.runs.environment import FORMAT, environment
from graphrec.runs.files import (
    RunFolderError,
    append_line,
    read_json,
    read_lines,
    read_parquet,
    write_lines,
    write_parquet,
)
from graphrec.runs.ids import Coded, decode, encode

CONFIG, ENVIRONMENT, DATA, METRICS = "config.yaml", "environment.json", "data.json", "metrics.json"
WEIGHTS, CLOSED_FORM = "model.safetensors", "closed_form.json"
HISTORY, EVALUATIONS = "history.jsonl", "evaluations.jsonl"
ORACLE, STUDY = "oracle", "tuning"
ABOUT = "about"
KNOWN: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    DATA: {"name": (str,), "identity": (str,)},
    METRICS: {"label": (str,), "kind": (str,), "seed": (int, type(None)), "test": (dict, type(None))},
}
"""What must be in a file for a run to be read at all."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run is kept.

    Args:
        path: The folder.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints live while the run is training."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Where TensorBoard's event files are."""
        return self.path / "tensorboard"

    @property
    def dataset(self) -> Path:
        """Where ids and interactions are."""
        return self.path / "dataset"

    def exists(self) -> bool:
        """Returns whether a run was at least begun here."""
        return (self.path / ENVIRONMENT).is_file()

    def is_complete(self) -> bool:
        """Returns whether the run was finished: its metrics are written last."""
        return self.exists() and (self.path / METRICS).is_file()

    def check(self) -> None:
        """Checks that this is a finished run that this version can read.

        Raises:
            RunFolderError: If it is not.
        """
        self._check_version()
        if not self.is_complete():
            raise RunFolderError(f"the run in {str(self.path)!r} is not finished: there is no {METRICS}; resume it")

    def check_free(self) -> None:
        """Checks that a new run may be written here: the folder is absent, empty, or holds a run that barely began.

        Raises:
            RunFolderError: If it holds a finished run, a run with checkpoints to go on from, or something else.
        """
        if self.is_complete():
            raise RunFolderError(f"{str(self.path)!r} already holds a finished run; name another folder, or resume")
        self.check_own()
        epochs = [int(path.name.removeprefix("epoch-")) for path in self.checkpoints.glob("*/epoch-*")]
        if epochs:
            raise RunFolderError(
                f"{str(self.path)!r} holds an unfinished run at epoch {max(epochs)}; resume it, or delete it"
            )

    def check_own(self) -> None:
        """Checks that the folder is absent, empty, or holds a run.

        Raises:
            RunFolderError: If it holds something else.
        """
        if self.path.is_file() or (self.path.is_dir() and not self.exists() and self._holds_others()):
            raise RunFolderError(f"expected a new or empty folder for the run, got {str(self.path)!r} with other files")

    def begin(self, config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Writes what is known before training."""
        write_json(self.path / ENVIRONMENT, environment())  # first, so that the folder is known as a run's
        write_text(self.path / CONFIG, dump_yaml(config))
        write_json(self.path / DATA, data)

    def clear(self) -> None:
        """Deletes what an unfinished run left behind."""
        for folder in (self.checkpoints, self.tensorboard, self.path / "mlflow", self.path / "wandb"):
            shutil.rmtree(folder, ignore_errors=True)
        (self.path / HISTORY).unlink(missing_ok=True)

    def config(self) -> dict[str, Any]:
        """Returns the settings of the run."""
        try:
            return load_yaml(self.path / CONFIG)
        except (FileNotFoundError, ValueError) as error:
            raise RunFolderError(f"cannot read the settings of the run: {error}") from error

    def environment(self) -> dict[str, Any]:
        """Returns the versions and the machine of the run."""
        return read_json(self.path / ENVIRONMENT)

    def data(self) -> dict[str, Any]:
        """Returns name, fingerprints, statistics and notes of the data set."""
        return self._known(DATA)

    def metrics(self) -> dict[str, Any]:
        """Returns the means of valid and test, epochs, seconds and memory."""
        found = self._known(METRICS)
        scores = found["test"]
        if scores is not None and not (scores and all(isinstance(value, int | float) for value in scores.values())):
            raise RunFolderError(f"expected numbers as test scores in {self.path / METRICS}, got {scores!r}")
        return found

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Writes the metrics, which marks the run as finished."""
        write_json(self.path / METRICS, metrics)

    def study(self) -> dict[str, Any] | None:
        """Returns the summary of the study that lies beside the runs of a label, whose settings they have, if any."""
        path = self.path.parent / STUDY / "study.json"
        return read_json(path) if path.is_file() else None

    def history(self) -> list[dict[str, Any]]:
        """Returns one mapping per epoch; none for closed forms."""
        return read_lines(self.path / HISTORY)

    def write_history(self, rows: list[dict[str, Any]]) -> None:
        """Writes one line per epoch."""
        write_lines(self.path / HISTORY, rows)

    def evaluations(self) -> list[dict[str, Any]]:
        """Returns one mapping for every time the test set was scored."""
        return read_lines(self.path / EVALUATIONS)

    def log_evaluation(self, entry: Mapping[str, Any]) -> None:
        """Notes that the test set was scored."""
        append_line(self.path / EVALUATIONS, entry)

    def log_first_evaluation(self, entry: Mapping[str, Any]) -> None:
        """Notes that the test set was scored, unless an interrupted process noted the same scores."""
        if all(known["test"] != entry["test"] for known in self.evaluations()):
            self.log_evaluation(entry)

    def write_users(self, part: str, evaluation: Evaluation) -> None:
        """Writes the metrics of every user of ``"valid"`` or ``"test"``, by external id."""
        import pyarrow as pa

        frame = evaluation.by_id()
        coded = encode(frame.index.tolist())
        columns = {"user": coded.values} | {str(name): frame[name].to_numpy() for name in frame.columns}
        if evaluation.lists is not None:  # first, so that a part whose users were written is complete
            lists = pa.FixedSizeListArray.from_arrays(pa.array(evaluation.lists.ravel()), evaluation.lists.shape[1])
            write_parquet(self._lists(part), pa.table({"items": lists}))
        write_parquet(self._users(part), pa.table(columns).replace_schema_metadata({"kind": coded.kind}))

    def users(self, part: str) -> pd.DataFrame:
        """Returns the metrics of every user of ``"valid"`` or ``"test"``, indexed by external id.

        Raises:
            RunFolderError: If that part was never scored.
        """
        table = read_parquet(self._users(part))
        about = table.schema.metadata or {}
        if b"kind" not in about or "user" not in table.column_names:
            raise RunFolderError(f"cannot read {self._users(part)}: it holds no ids of users")
        kind = about[b"kind"].decode()
        users = decode(Coded(kind, table.column("user").to_pylist()))
        return table.drop_columns("user").to_pandas().set_axis(pd.Index(users, name="user", tupleize_cols=False))

    def lists(self, part: str) -> NDArray[np.int32]:
        """Returns the item rows ranked for every user of ``"valid"`` or ``"test"``, in the order of ``users(part)``.

        Returns:
            Item rows ``(num_users, max_k)``, best first, -1 where nothing eligible was left.

        Raises:
            RunFolderError: If that part was never scored, or by a version that kept no lists.
        """
        column = read_parquet(self._lists(part)).column("items").combine_chunks()
        return np.asarray(column.flatten().to_numpy().reshape(len(column), -1), dtype=np.int32)

    def has_lists(self, part: str) -> bool:
        """Returns whether the items ranked for every user of that part were written."""
        return self._lists(part).is_file()

    def has_users(self, part: str) -> bool:
        """Returns whether the metrics of every user of that part were written."""
        return self._users(part).is_file()

    def write_weights(self, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Writes the weights of a trained model as safetensors; the same weights become the same bytes."""
        from safetensors.torch import save

        plain = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
        about = {ABOUT: json.dumps(dict(metadata), sort_keys=True)}  # one key: safetensors shuffles several
        write_bytes(self.path / WEIGHTS, save(plain, about))

    def weights(self) -> dict[str, Tensor]:
        """Returns the weights of a trained model.

        Raises:
            RunFolderError: If they are missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.path / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise RunFolderError(f"cannot read {self.path / WEIGHTS}: {error}") from error

    def weights_about(self) -> dict[str, str]:
        """Returns the metadata that the weights were written with.

        Raises:
            RunFolderError: If they are missing or damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path / WEIGHTS, "pt") as file:
                found = dict(file.metadata() or {})
                return dict(json.loads(found[ABOUT])) if set(found) == {ABOUT} else found  # older runs: plain keys
        except (OSError, ValueError, SafetensorError) as error:
            raise RunFolderError(f"cannot read {self.path / WEIGHTS}: {error}") from error

    def write_closed_form(self, train: str) -> None:
        """Notes that the model is solved anew on load, from the training interactions of this fingerprint."""
        write_json(self.path / CLOSED_FORM, {"closed_form": True, "train": train})

    def closed_form(self) -> str | None:
        """Returns the training fingerprint of a model that is solved anew on load; None for a trained one."""
        path = self.path / CLOSED_FORM
        return str(read_json(path)["train"]) if path.is_file() else None

    def check_readable(self) -> None:
        """Checks that settings, data, metrics, the scores of every user and their lists can be read.

        Raises:
            RunFolderError: If a file is damaged.
        """
        self.config(), self.data(), self.metrics()
        for part in ("valid", "test"):
            if self.has_users(part):
                self.users(part)
            if self.has_lists(part):
                self.lists(part)

    def _known(self, name: str) -> dict[str, Any]:
        found = read_json(self.path / name)
        for key, types in KNOWN[name].items():
            if key not in found or not isinstance(found[key], types):
                expected = " or ".join("null" if one is type(None) else one.__name__ for one in types)
                raise RunFolderError(f"expected {key!r} in {self.path / name} as {expected}, got {found.get(key)!r}")
        return found

    def _holds_others(self) -> bool:
        """Returns whether there are files besides the first one of a run, left half written by an interruption."""
        return any(path.name != f".{ENVIRONMENT}.partial" for path in self.path.iterdir())

    def _users(self, part: str) -> Path:
        return self.path / f"users-{part}.parquet"

    def _lists(self, part: str) -> Path:
        return self.path / f"lists-{part}.parquet"

    def _check_version(self) -> None:
        if not self.exists():
            raise RunFolderError(f"expected a run folder, got {str(self.path)!r} without {ENVIRONMENT}")
        found = self.environment()
        if found.get("format") != FORMAT:
            got = found.get("format")
            raise RunFolderError(f"expected run format {FORMAT} in {str(self.path)!r}, got {got!r}; use its version")
        ours, theirs = graphrec.__version__, str(found.get("graphrec"))
        if ours.split(".")[0] != theirs.split(".")[0]:
            raise RunFolderError(f"the run in {str(self.path)!r} was made by graphrec {theirs}, this is {ours}")


def open_run(folder: str | Path) -> RunFolder:
    """Returns a finished run.

    Raises:
        RunFolderError: If the folder holds none, or one of another version.
    """
    found = RunFolder(Path(folder).resolve())
    found.check()
    return found


def find_runs(folder: str | Path) -> list[RunFolder]:
    """Returns all finished runs in a folder and below, sorted by path.

    Raises:
        RunFolderError: If there is none, or one is of another version.
    """
    paths = sorted(path.parent for path in Path(folder).rglob(METRICS))
    if not paths:
        raise RunFolderError(f"expected finished runs in {str(folder)!r}, found none")
    return [open_run(path) for path in paths]


def scan_runs(folder: str | Path) -> tuple[list[RunFolder], dict[Path, str]]:
    """Returns the finished runs in a folder and below, and what is wrong with the folders that cannot be read.

    A run that is still under way, or was left unfinished, is no problem and is left out.

    Returns:
        The runs sorted by path, and a reason by the path of every damaged folder.

    Raises:
        RunFolderError: If there is no readable run at all.
    """
    found, problems = [], {}
    for path in sorted({path.parent for name in (METRICS, ENVIRONMENT) for path in Path(folder).rglob(name)}):
        run = RunFolder(path.resolve())
        try:
            if run.is_complete() or not run.exists():
                run.check()
                run.check_readable()
                found.append(run)
        except RunFolderError as error:
            problems[path] = str(error)
    if not found:
        reasons = "".join(f"; {reason}" for reason in problems.values())
        raise RunFolderError(f"expected finished runs in {str(folder)!r}, found none{reasons}")
    return found, problems


def now() -> str:
    """Returns the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
