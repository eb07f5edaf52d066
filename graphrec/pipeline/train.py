"""One run from data to test scores, and the short form for a script."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import graphrec
from graphrec.config import ConfigError
from graphrec.data.dataset import Dataset
from graphrec.models.base import ClosedForm, Recommender
from graphrec.pipeline.config import ModelChoice, RunConfig, fingerprint_of
from graphrec.pipeline.prepare import Prepared, check, check_test, clock, load_data, prepare
from graphrec.pipeline.result import Record, Run, build_model, load, measure, with_memory, with_resolved
from graphrec.runs import RunFolder, RunFolderError
from graphrec.runs.ids import to_table
from graphrec.runtime import logger, rank, working
from graphrec.training import checkpoint
from graphrec.training.tracking import Tracker, Trackers, trackers
from graphrec.training.trainer import Trainer, TrainingConfig, TrainingResult

log = logger(__name__)
Settings = RunConfig | Mapping[str, Any] | str | Path


def run(
    config: Settings,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    data: Dataset | None = None,
) -> Run:
    """Runs the whole line: data → features → graph → model → training → test, scored once → run folder.

    Args:
        config: A ``RunConfig``, a mapping, or the path of a YAML file.
        folder: Where everything is written; nothing is by default.
        resume: Whether to go on with what the folder holds: from the newest checkpoint, or a finished run as it is.
        data: A data set to use in place of ``config.data.name``.

    Raises:
        ConfigError: If a setting is unknown or wrong.
        ValueError: If the data is not what was expected, or the folder holds another run.
        FileNotFoundError: If the data is missing.
        FloatingPointError: If a loss term stops being finite.
    """
    settings = RunConfig.read(config)
    dataset = load_data(settings.data, data)
    check_test(dataset)
    check(settings, dataset)
    finished = execute(settings, prepare(dataset, settings.features, settings.graph), folder, resume=resume)
    finished.evaluate()
    return finished


def fit(
    model: str | type[Recommender],
    data: Dataset,
    *,
    epochs: int | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | TrainingConfig | None = None,
    graph: Mapping[str, Any] | None = None,
    features: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> Run:
    """Trains a model on a data set; the test set is not touched until ``Run.evaluate``.

    Args:
        model: A name such as ``"hetero-lightgcn"``, ``"package.module:Class"``, or a model class.
        data: The data set.
        epochs: The most epochs to train; ``training`` says the rest.
        seed: Where all randomness comes from.
        folder: Where the run is written; nothing is by default.
        config: Hyper-parameters of the model, e.g. ``{"num_layers": 3}``.
        training: How to train.
        graph: How the graph is built.
        features: Which modalities are used, and how they are encoded.
        evaluation: What is measured on valid and test, e.g. ``{"ks": [5]}``.

    Raises:
        ConfigError: If a setting is unknown or wrong.
        ValueError: If the data is not what was expected, or the folder is not empty.
        FloatingPointError: If a loss term stops being finite.
    """
    name = model if isinstance(model, str) else f"{model.__module__}:{model.__qualname__}"
    choice = ModelChoice.parse({**(config or {}), "name": name}, where="config", seed=seed)
    settings = RunConfig.parse(
        {
            "seed": seed,
            "data": {"name": data.name},
            "features": features or {},
            "graph": graph or {},
            "model": choice,
            "training": _training(training, epochs, choice),
            "evaluation": evaluation or {},
        },
        where="fit",
    )
    check(settings, data)
    return execute(settings, prepare(data, settings.features, settings.graph), folder)


def execute(
    config: RunConfig,
    prepared: Prepared,
    folder: str | Path | None,
    *,
    resume: bool = False,
    tracker: Tracker | None = None,
) -> Run:
    """Trains on prepared data and writes the run folder; the test set is not scored yet.

    Args:
        config: The settings.
        prepared: Data and graph.
        folder: Where everything is written; nothing is by default.
        resume: Whether to go on with what the folder holds.
        tracker: Receives the values of every epoch, beside the folder's own files; what it raises ends the training.

    Raises:
        RunFolderError: If the folder holds another run, or one that is finished and not to be resumed.
    """
    place = None if folder is None else RunFolder(Path(folder).resolve())
    if place is not None and _is_done(place, config, prepared, resume):
        return load(place.path)
    seconds = dict(prepared.seconds)
    stage = Stage(config, prepared, place, seconds, tracker)
    if place is not None and rank() == 0:
        stage.begin(resume)
    model, result = stage.train(refit=False, resume=resume)
    chosen = Run(config, prepared.data, prepared.graph, model, result, record=Record(prepared.about(), seconds))
    if len(prepared.data.split.valid):
        with clock(seconds, "validation"):
            chosen.record = with_memory(chosen.record, valid=measure(chosen, prepared.data.split.valid))
    if config.training.refit:
        chosen = stage.refit(chosen, resume=resume)
    chosen.record = with_memory(chosen.record)
    if place is not None and rank() == 0:
        chosen.folder = place
        chosen.save(place.path, prepared=prepared)
        shutil.rmtree(place.checkpoints, ignore_errors=True)
    return chosen


@dataclass(frozen=True)
class Stage:
    """Training inside a run: where it writes, and what a checkpoint must agree with.

    Args:
        config: The settings of the run.
        prepared: Data and graph.
        folder: The run folder, if any.
        seconds: Receives how long each phase took.
        tracker: Receives the values of every epoch.
    """

    config: RunConfig
    prepared: Prepared
    folder: RunFolder | None
    seconds: dict[str, float]
    tracker: Tracker | None = None

    def begin(self, resume: bool) -> None:
        """Writes what is known before training, once nothing in the folder or the ids stands against it.

        Raises:
            RunFolderError: If the folder holds something else, or an unfinished run that is not to be resumed.
            CheckpointError: If that run has other settings or data.
            ValueError: If users or items have ids that cannot be written to a file.
        """
        if self.folder is None:
            return
        for ids in (self.prepared.data.split.users, self.prepared.data.split.items):
            to_table(ids)
        if resume:
            self.folder.check_own()
            self._check_checkpoints(self.folder.checkpoints)
        else:
            self.folder.check_free()
            self.folder.clear()
        self.folder.begin(self.config.to_mapping(), self.prepared.about())

    def train(
        self, *, refit: bool, resume: bool, epochs: int | None = None, chosen: Recommender | None = None
    ) -> tuple[Recommender, TrainingResult | None]:
        """Builds the model from the seed and trains it, or solves it; a refit with the options of the chosen one."""
        graph = self.prepared.graph_of(refit=refit)
        phase = "refit" if refit else "training"
        with clock(self.seconds, "refit model" if refit else "model"):  # a channel or the like may be solved here
            model = build_model(with_resolved(self.config, {} if chosen is None else chosen.resolved()), graph)
        with clock(self.seconds, phase):
            if isinstance(model, ClosedForm):
                with working(f"solving {self.config.label}"):
                    model.fit(graph)
                return model, None
            with self._trackers(phase) as tracker:
                trainer = Trainer(
                    self._training(epochs),
                    seed=self.config.seed,
                    tracker=tracker,
                    folder=None if self.folder is None else self.folder.checkpoints / phase,
                    identity=self._identity(phase),
                )
                result = trainer.fit(model, self.prepared.split(refit=refit), resume=resume)
                tracker.final(result.summary(self.config.training.metric))
        return model, result

    def refit(self, chosen: Run, *, resume: bool) -> Run:
        """Trains a new model from the same seed on train and valid together, for the chosen number of epochs."""
        epochs = None if chosen.result is None else max(1, chosen.result.best_epoch)
        model, _ = self.train(refit=True, resume=resume, epochs=epochs, chosen=chosen.model)
        record = with_memory(chosen.record, refit=True)
        return Run(self.config, chosen.data, self.prepared.merged, model, chosen.result, record=record)

    def _training(self, epochs: int | None) -> TrainingConfig:
        """Returns how to train; for a refit with fewer epochs, at the learning rates of the run that chose them."""
        training = self.config.training
        if epochs is None:
            return training
        schedule = training.schedule.model_copy(update={"horizon": training.schedule.horizon or training.max_epochs})
        return training.model_copy(update={"max_epochs": epochs, "schedule": schedule})

    def _trackers(self, phase: str) -> Trackers:
        own = [] if self.tracker is None else [self.tracker]
        if phase == "refit":
            return Trackers([])
        if self.folder is None or rank() != 0:
            return Trackers(own)
        config, name = self.config, f"{self.config.label}-{self.config.seed}"
        return trackers(config.training.trackers, self.folder.path, name=name, config=config.to_mapping(), others=own)

    def _check_checkpoints(self, folder: Path) -> None:
        for phase in ("training", "refit"):
            newest = checkpoint.latest(folder / phase)
            if newest is None:
                continue
            found = checkpoint.read(newest)[1]["identity"]
            for name, expected in self._identity(phase).items():
                if found.get(name) != expected:
                    raise checkpoint.CheckpointError(
                        f"checkpoint {newest} was written with {name} {found.get(name)!r}, this run has {expected!r}; "
                        "resume with the same, or start in a new folder"
                    )

    def _identity(self, phase: str) -> dict[str, str]:
        return {
            "data": self.prepared.identity,
            "config": self.config.fingerprint(),
            "graphrec": graphrec.__version__,
            "phase": phase,
        }


def is_same(place: RunFolder, config: RunConfig, prepared: Prepared) -> bool:
    """Returns whether a finished run has these settings and this data.

    A run of a version with fewer settings has the defaults of those that came later.
    """
    if place.data()["identity"] != prepared.identity:
        return False
    kept, wanted = place.metrics().get("config"), config.fingerprint()
    if kept == wanted:
        return True
    try:
        written = place.config()
        return bool(kept == fingerprint_of(written) and RunConfig.parse(written).fingerprint() == wanted)
    except (ConfigError, KeyError):  # settings that there are no more
        return False


def _is_done(place: RunFolder, config: RunConfig, prepared: Prepared, resume: bool) -> bool:
    if not place.is_complete():
        return False
    if not resume:
        place.check_free()
    place.check()
    if not is_same(place, config, prepared):
        raise RunFolderError(
            f"{str(place.path)!r} holds a finished run with other settings or data; name another folder, or delete it"
        )
    return True


def _training(
    training: Mapping[str, Any] | TrainingConfig | None, epochs: int | None, choice: ModelChoice
) -> Mapping[str, Any]:
    given = training.model_dump() if isinstance(training, TrainingConfig) else dict(training or {})
    if epochs is None:
        return given
    if choice.is_closed_form:
        raise ConfigError(f"expected no epochs for {choice.name!r}, which is solved in closed form, got {epochs}")
    return {**given, "max_epochs": epochs}
