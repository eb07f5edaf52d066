"""A finished run: a trained model with its data, ready to recommend, to be scored once, saved and loaded."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

import graphrec
from graphrec.config import merge
from graphrec.data.dataset import Dataset, concatenate
from graphrec.data.interactions import Ids, Interactions
from graphrec.evaluation.beyond import BeyondAccuracy
from graphrec.evaluation.ranking import Evaluation, Scorer, evaluate, rank
from graphrec.evaluation.slices import SliceMetrics
from graphrec.models.base import ClosedForm, Recommender
from graphrec.pipeline import measures
from graphrec.pipeline.config import EvaluationConfig, RunConfig, model_class
from graphrec.pipeline.prepare import Prepared, check_test
from graphrec.runs import (
    ORACLE,
    RunFolder,
    RunFolderError,
    load_dataset,
    load_graph,
    now,
    open_run,
    peak_memory,
    save_dataset,
    save_graph,
)
from graphrec.runtime import rank as process_rank
from graphrec.runtime import seed_everything
from graphrec.training.trainer import TrainingResult

Mask = Interactions | None


@dataclass(frozen=True)
class Record:
    """What is known about how a run came about.

    Args:
        about: What ``data.json`` says.
        seconds: How long each phase took.
        refit: Whether the model was trained once more on train and valid together.
        valid: The validation metrics of the chosen epoch.
        memory: The peak memory of the process in MiB.
    """

    about: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)
    refit: bool = False
    valid: Evaluation | None = None
    memory: float | None = None


class Run:
    """A trained model with the data it was trained on.

    Args:
        config: Every setting.
        data: The data set.
        graph: The graph the model was trained on.
        model: The model.
        result: What training found; None for closed forms.
        record: How the run came about.
        folder: Where it is kept, if anywhere.
    """

    def __init__(
        self,
        config: RunConfig,
        data: Dataset,
        graph: HeteroData,
        model: Recommender,
        result: TrainingResult | None,
        *,
        record: Record,
        folder: RunFolder | None = None,
    ) -> None:
        self.config, self.data, self.graph, self.model, self.result = config, data, graph, model, result
        self.record, self.folder = record, folder
        self._test: Evaluation | None = None
        self._log: list[dict[str, Any]] = []

    def __repr__(self) -> str:
        return f"Run({self.config.label!r}, data={self.data.name!r}, seed={self.config.seed})"

    @property
    def scorer(self) -> Scorer:
        """What gives the scores of all items for user rows."""
        self.model.eval()
        with torch.no_grad():
            return self.model.frozen()

    @property
    def trained_on(self) -> Interactions:
        """The interactions the model has learnt from: train, or train and valid after a refit."""
        return self.data.split.merged().train if self.record.refit else self.data.split.train

    def recommend(
        self,
        user_ids: Sequence[Hashable],
        k: int = 10,
        *,
        candidates: Sequence[Hashable] | None = None,
        exclude: Sequence[Hashable] | None = None,
    ) -> pd.DataFrame:
        """Recommends items that the user has met neither in train nor in valid.

        Args:
            user_ids: External user ids.
            k: How many items per user; a user for whom fewer are left gets fewer.
            candidates: The only items to choose from, by external id; all by default.
            exclude: Items never to be recommended, by external id.

        Returns:
            One row per recommendation, best first: ``user``, ``rank`` (from 1), ``item``, ``score``.

        Raises:
            KeyError: If an id is unknown.
            ValueError: If ``k`` is larger than the catalogue.
        """
        users, items = self.data.split.users, self.data.split.items
        rows = torch.from_numpy(users.rows(_list(user_ids, "user")))
        ranking = rank(
            self.scorer,
            rows.to(_device(self.model)),
            k,
            seen=concatenate(self.data.split.train, self.data.split.valid),
            candidates=None if candidates is None else items.rows(_list(candidates, "item")),
            exclude=None if exclude is None else items.rows(_list(exclude, "item")),
        )
        return _recommendations(rows, ranking.items.cpu(), ranking.scores.cpu(), users, items)

    def evaluate(self, *, again: bool = False) -> Evaluation:
        """Returns the metrics of every test user; the test set is scored once per run and remembered.

        Args:
            again: Scores the test set anew, which is logged; the stored scores stay the first ones.

        Raises:
            ValueError: If there is no test set.
        """
        if self._test is not None and not again:
            self._finish_scores(self._test)
            return self._test
        check_test(self.data)
        mask = self.data.split.valid if self.config.evaluation.also_mask_valid and not self.record.refit else None
        found = measure(self, self.data.test, also_mask=mask)
        first = self._test is None
        if first:
            self._test = found
            if self.folder is not None and process_rank() == 0:
                self.folder.write_users("test", found)  # first: a process that dies after it never scores again
        self._note(found, again=not first)
        self._finish_scores(found)
        return found

    def _finish_scores(self, found: Evaluation) -> None:
        """Notes the first scores of the test set, also for a process that died in the middle of it."""
        if not self._log:
            self._note(found, again=False)
        if self.folder is not None and process_rank() == 0 and self.folder.metrics()["test"] is None:
            self.folder.write_metrics(self.metrics)

    def _note(self, found: Evaluation, *, again: bool) -> None:
        entry = {"time": now(), "graphrec": graphrec.__version__, "again": again, "test": found.mean()}
        self._log.append(entry)
        if self.folder is not None and process_rank() == 0:
            self.folder.log_evaluation(entry)

    def beyond_accuracy(self, ks: Sequence[int] | None = None, *, part: measures.Part = "test") -> BeyondAccuracy:
        """Returns what the lists are like apart from being right, see ``graphrec.pipeline.measures``.

        ``run.beyond_accuracy().mean()`` are the means, ``run.beyond_accuracy().users`` the values of every user.
        """
        return measures.beyond_accuracy(self, ks, part)

    def slices(
        self,
        metrics: Sequence[str] = ("recall", "ndcg"),
        ks: Sequence[int] | None = None,
        *,
        part: measures.Part = "test",
        columns: Sequence[str] = (),
    ) -> SliceMetrics:
        """Returns the accuracy on slices of items and users, see ``graphrec.pipeline.measures``.

        ``run.slices().mean()`` has a row per slice, ``run.slices().of("cold")`` the values of its users.
        """
        return measures.slices(self, metrics, ks, part, columns)

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` says: means of valid and test, unrounded, epochs, seconds, memory, resolved options."""
        record, result = self.record, self.result
        return {
            "label": self.config.label,
            "kind": "model",
            "seed": self.config.seed,
            "config": self.config.fingerprint(),
            "refit": record.refit,
            "closed_form": result is None,
            "best_epoch": None if result is None else result.best_epoch,
            "epochs": None if result is None else result.epochs,
            "metric": self.config.training.metric,
            "valid": None if record.valid is None else record.valid.mean(),
            "valid_users": None if record.valid is None else len(record.valid),
            "test": None if self._test is None else self._test.mean(),
            "test_users": None if self._test is None else len(self._test),
            "seconds": dict(record.seconds),
            "peak_memory_mib": record.memory,
            "resolved": self.model.resolved(),
        }

    def save(self, folder: str | Path, *, prepared: Prepared | None = None) -> RunFolder:
        """Writes the run into a folder of its own, from which ``graphrec.load`` needs nothing else.

        Args:
            folder: A new or empty folder, or the run's own.
            prepared: What the run was made from, so that runs that share it share the files; by default the
                files are written out.

        Raises:
            RunFolderError: If the folder holds something else.
            OSError: If it cannot be written.
        """
        target = RunFolder(Path(folder).resolve())
        if self.folder != target:
            target.check_free()
            target.begin(self.config.to_mapping(), self.record.about)
            for entry in self._log:
                target.log_evaluation(entry)
        if prepared is not None:
            prepared.write(target, refit=self.record.refit)
        else:
            save_dataset(target.dataset, self.data)
            save_graph(target.path, self.graph)
        self._write_model(target)
        target.write_history(_history(self.result))
        if self.record.valid is not None:
            target.write_users("valid", self.record.valid)
        self._write_scores(target)
        self.folder = target
        return target

    def _write_model(self, folder: RunFolder) -> None:
        if isinstance(self.model, ClosedForm):
            folder.write_closed_form(self.trained_on.fingerprint())
            return
        about = {"model": self.config.model.name, "config": self.config.fingerprint(), "graphrec": graphrec.__version__}
        folder.write_weights(self.model.state_dict(), about | {"data": str(self.record.about["identity"])})

    def _write_scores(self, folder: RunFolder) -> None:
        if self._test is not None:
            folder.write_users("test", self._test)
        folder.write_metrics(self.metrics)


def load(folder: str | Path) -> Run:
    """Loads a run that was saved; closed forms are solved anew.

    Raises:
        RunFolderError: If the folder holds no run, a damaged one, or one of another version.
    """
    place = open_run(folder)
    metrics = place.metrics()
    if metrics["kind"] != "model":
        kind = "known ceiling" if metrics["kind"] == ORACLE else metrics["kind"]
        raise RunFolderError(f"{str(folder)!r} holds the scores of a {kind}, which is no model")
    config = RunConfig.parse(place.config(), where=str(place.path / "config.yaml"))
    data, graph = load_dataset(place.dataset), load_graph(place.path)
    valid = _stored(place, "valid", data)
    record = Record(place.data(), metrics["seconds"], metrics["refit"], valid, metrics["peak_memory_mib"])
    model = build_model(with_resolved(config, metrics.get("resolved", {})), graph)  # older runs have none
    loaded = Run(config, data, graph, model, _training(place, metrics), record=record, folder=place)
    _restore(loaded, place)
    loaded._test = _stored(place, "test", data)
    loaded._log = place.evaluations()
    return loaded


def with_resolved(config: RunConfig, resolved: Mapping[str, Any]) -> RunConfig:
    """Returns the config with a model's options as they came out in place of what was left open."""
    return RunConfig.parse(merge(config.to_mapping(), {"model": resolved})) if resolved else config


def build_model(config: RunConfig, graph: HeteroData) -> Recommender:
    """Returns the model of a config, initialised from its seed."""
    seed_everything(config.seed)
    return model_class(config.model.name)(graph, config.model.options)


def measure(run: Run, truth: Interactions, *, also_mask: Mask = None) -> Evaluation:
    """Scores the model of a run on held-out interactions, what it was trained on masked."""
    device = _device(run.model)
    return measure_scorer(run.scorer, run.config.evaluation, run.trained_on, truth, also_mask=also_mask, device=device)


def measure_scorer(
    scorer: Scorer,
    config: EvaluationConfig,
    seen: Interactions,
    truth: Interactions,
    *,
    also_mask: Mask = None,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Scores anything on held-out interactions."""
    return evaluate(
        scorer,
        seen=seen,
        truth=truth,
        metrics=config.metrics,
        ks=config.ks,
        also_mask=also_mask,
        block_size=config.block_size,
        device=device,
        progress=True,
    )


def with_memory(record: Record, **changes: Any) -> Record:
    """Returns the record with changes and the peak memory so far."""
    return replace(record, memory=peak_memory(), **changes)


def _restore(run: Run, place: RunFolder) -> None:
    if not isinstance(run.model, ClosedForm):
        try:
            run.model.load_state_dict(place.weights())
        except RuntimeError as error:
            raise RunFolderError(
                f"the weights in {place.path} do not fit {run.config.model.name!r}: {error}"
            ) from error
        run.model.eval()
        return
    expected, got = place.closed_form(), run.trained_on.fingerprint()
    if expected != got:
        raise RunFolderError(f"expected training data {expected} in {place.path}, got {got}; the run folder is damaged")
    run.model.fit(run.graph)


def _stored(place: RunFolder, part: str, data: Dataset) -> Evaluation | None:
    if not place.has_users(part):
        return None
    frame = place.users(part)
    users = data.split.users
    lists = place.lists(part) if place.has_lists(part) else None
    return Evaluation(frame.set_axis(pd.Index(users.rows(frame.index), name="user")), users, lists)


def _training(place: RunFolder, metrics: Mapping[str, Any]) -> TrainingResult | None:
    if metrics["closed_form"]:
        return None
    history = [{key: value for key, value in row.items() if key != "epoch"} for row in place.history()]
    values = [row[metrics["metric"]] for row in history if metrics["metric"] in row]
    best = (metrics["valid"] or {}).get(metrics["metric"], max(values, default=float("nan")))
    return TrainingResult(metrics["best_epoch"], best, metrics["epochs"], tuple(history))


def _history(result: TrainingResult | None) -> list[dict[str, Any]]:
    rows = () if result is None else asdict(result)["history"]
    return [{"epoch": epoch, **row} for epoch, row in enumerate(rows, start=1)]


def _device(model: Recommender) -> torch.device:
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _list(values: Sequence[Hashable], name: str) -> list[Hashable]:
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise ValueError(f"expected a list of {name} ids, got {values!r}; put it into a list")
    return list(values)


def _recommendations(rows: Tensor, found: Tensor, scores: Tensor, users: Ids, items: Ids) -> pd.DataFrame:
    there = found >= 0
    place = torch.arange(1, found.shape[1] + 1).expand_as(found)
    return pd.DataFrame(
        {
            "user": users.ids(rows.unsqueeze(1).expand_as(found)[there].numpy()),
            "rank": place[there].numpy(),
            "item": items.ids(found[there].numpy()),
            "score": scores[there].numpy(),
        }
    )
