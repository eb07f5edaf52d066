"""MLflow and Weights & Biases, each behind the protocol of a run tracker."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from graphrec.data.files import write_text
from graphrec.runtime import logger, require
from graphrec.training.tracking import RunTracker

log = logger(__name__)
PROJECT = "graphrec"
RUN_ID = "run-id"


class MLflow:
    """Logs to the server that ``MLFLOW_TRACKING_URI`` names, else to an SQLite file in the folder.

    The experiment is the one that ``MLFLOW_EXPERIMENT_NAME`` names, else ``graphrec``. A run that is resumed goes on
    as the same run. MLflow forbids ``@`` in names: Recall@20 is ``Recall_at_20`` there. To look at a local file:
    ``mlflow ui --backend-store-uri sqlite:///<folder>/mlflow.db``, with the whole ``mlflow`` package.

    Args:
        folder: Where the SQLite file, if any, and the id of the run are kept.
        name: The name of the run.
        config: Its settings; logged as parameters with dotted names.
    """

    def __init__(self, folder: Path, *, name: str, config: Mapping[str, Any]) -> None:
        mlflow = require("mlflow", extra="mlflow")
        local = not mlflow.is_tracking_uri_set()
        for package in ("sqlalchemy", "alembic") if local else ():  # of the SQLite store
            require(package, extra="mlflow")
        folder.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{(folder / 'mlflow.db').resolve().as_posix()}" if local else mlflow.get_tracking_uri()
        self._client: Any = mlflow.MlflowClient(tracking_uri=uri)
        self._complete = False
        self._run = self._resumed(folder) or self._new(folder, name, config, folder if local else None)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Logs every value as a metric, the epoch as its step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_legal(name), value, now, epoch) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def final(self, values: Mapping[str, float]) -> None:
        """Logs what the run came to, as metrics under ``final/``."""
        self.log(0, {f"final/{name}": value for name, value in values.items()})
        self._complete = True

    def close(self) -> None:
        """Ends the run, as failed if it came to nothing."""
        self._client.set_terminated(self._run, "FINISHED" if self._complete else "FAILED")

    def _resumed(self, folder: Path) -> str | None:
        """Returns the id of the run that the folder already has."""
        from mlflow.exceptions import MlflowException

        if not (folder / RUN_ID).is_file():
            return None
        run = (folder / RUN_ID).read_text(encoding="utf-8")
        try:
            self._client.update_run(run, status="RUNNING")
        except MlflowException as error:
            log.warning("MLflow does not know the run that is resumed and gets a new one: %s", error)
            return None
        return run

    def _new(self, folder: Path, name: str, config: Mapping[str, Any], artifacts: Path | None) -> str:
        """Returns the id of a new run with these settings."""
        from mlflow.entities import Param

        run = str(self._client.create_run(self._experiment(artifacts), run_name=name).info.run_id)
        params = [Param(_legal(key), str(value)) for key, value in flat(config).items()]
        for start in range(0, len(params), 100):  # the most that one request may hold
            self._client.log_batch(run, params=params[start : start + 100])
        write_text(folder / RUN_ID, run)
        return run

    def _experiment(self, artifacts: Path | None) -> str:
        from mlflow.environment_variables import MLFLOW_EXPERIMENT_NAME
        from mlflow.exceptions import MlflowException

        wanted = MLFLOW_EXPERIMENT_NAME.get() or PROJECT
        found = self._client.get_experiment_by_name(wanted)
        if found is not None:
            return str(found.experiment_id)
        location = None if artifacts is None else (artifacts / "artifacts").resolve().as_uri()
        try:
            return str(self._client.create_experiment(wanted, artifact_location=location))
        except MlflowException:
            found = self._client.get_experiment_by_name(wanted)
            if found is None:
                raise
            return str(found.experiment_id)  # another run of the benchmark made it in the meantime


class WandB:
    """Logs to Weights & Biases; offline, into the folder, where nobody is logged in or the server is out of reach.

    The project is the one that ``WANDB_PROJECT`` names, else ``graphrec``. A run that is resumed goes on as the same
    run. What was logged offline is sent by ``wandb sync <folder>/wandb/offline-run-…``.

    Args:
        folder: Where its files are kept.
        name: The name of the run.
        config: Its settings.
    """

    def __init__(self, folder: Path, *, name: str, config: Mapping[str, Any]) -> None:
        wandb = require("wandb", extra="wandb")
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / RUN_ID
        if not kept.is_file():
            write_text(kept, uuid.uuid4().hex[:8])
        settings = wandb.Settings(silent=True, console="off")
        options = {"id": kept.read_text(encoding="utf-8"), "resume": "allow", "name": name, "config": dict(config)}
        options |= {"dir": str(folder), "reinit": "create_new", "settings": settings}
        options |= {"project": wandb.setup().settings.project or PROJECT}
        self._complete = False
        try:
            self._run: Any = wandb.init(**options)
        except wandb.Error as error:
            log.info("Weights & Biases logs offline into %s: %s", folder, error)
            self._run = wandb.init(**options, mode="offline")

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Logs the values, the epoch as their step."""
        self._run.log(dict(values), step=epoch)

    def final(self, values: Mapping[str, float]) -> None:
        """Writes what the run came to into its summary, under ``final/``."""
        self._run.summary.update({f"final/{name}": value for name, value in values.items()})
        self._complete = True

    def close(self) -> None:
        """Ends the run, as failed if it came to nothing."""
        self._run.finish(exit_code=0 if self._complete else 1)


CLIENTS: Mapping[str, Callable[..., RunTracker]] = {"mlflow": MLflow, "wandb": WandB}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings with dotted names.

    >>> flat({"model": {"name": "mf", "l2": 0.1}, "seed": 0})
    {'model.name': 'mf', 'model.l2': 0.1, 'seed': 0}
    """
    values: dict[str, Any] = {}
    for key, value in config.items():
        nested = isinstance(value, Mapping) and value
        values |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return values


def _legal(name: str) -> str:
    """Returns a name that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))
