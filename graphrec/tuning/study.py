"""What a study found: its trials as a table, the best settings as config files, and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import graphrec
from graphrec.config import dump_yaml
from graphrec.data.files import write_bytes, write_json, write_text
from graphrec.tuning.config import Objective
from graphrec.tuning.journal import ABOUT, BUDGET, RETRY_OF, SETTINGS, SPACE, TuningError, is_lost, outcome_of
from graphrec.tuning.journal import open_study as open_optuna
from graphrec.tuning.plan import with_params
from graphrec.tuning.space import Parameter

BEST, SUMMARY, TRIALS, FRONT = "best.yaml", "study.json", "trials.parquet", "front-{}.yaml"
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


@dataclass(frozen=True, eq=False)
class Study:
    """A study as it stands.

    Args:
        folder: Where it is kept.
        objectives: What was looked for; the first one chooses the best.
        trials: A row per trial: ``number``, ``state`` (complete, pruned, failed, lost, running or waiting), ``value``
            of the first objective, with several also ``value.<objective>`` of each, a column per tuned setting by
            dotted path, ``seconds``, ``threads``, ``epochs``, ``best_epoch``, ``error``, ``retry_of`` and ``same_as``.
        params: The values of every trial by its number and dotted path, as Optuna keeps them.
        front: The numbers of the best trial, or of those on the Pareto front, the best in the first objective first;
            none before a trial was finished.
        settings: Every setting; those that were tuned as they are without tuning.
        space: What was tuned.
        budget: The trials and the seconds of the last call.
    """

    folder: Path
    objectives: tuple[str, ...]
    trials: pd.DataFrame = field(repr=False)
    params: Mapping[int, Mapping[str, Any]] = field(repr=False)
    front: tuple[int, ...]
    settings: Mapping[str, Any] = field(repr=False)
    space: Mapping[str, Parameter] = field(repr=False)
    budget: Mapping[str, Any]

    def checked(self) -> Study:
        """Returns the study itself.

        Raises:
            TuningError: If no trial was finished; says why.
        """
        errors = self.trials["error"].dropna()
        if not self.front and len(errors):
            raise TuningError(
                f"all {len(errors)} trials in {str(self.folder)!r} failed; the first: {errors.iloc[0]}; "
                "once that is mended, delete the folder or ask for more trials"
            )
        if not self.front:
            raise TuningError(f"no trial of the study in {str(self.folder)!r} was finished; give it more time")
        return self

    @property
    def best_trial(self) -> int:
        """The number of the trial that is best in the first objective.

        Raises:
            TuningError: If no trial was finished.
        """
        return self.checked().front[0]

    @property
    def best_value(self) -> float:
        """The first objective of that trial, on validation."""
        return float(self.row(self.best_trial)["value"])

    @property
    def best(self) -> dict[str, Any]:
        """The complete settings of that trial, as ``RunConfig`` takes them."""
        return self.config_of(self.best_trial)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials there are in each state."""
        found = Counter(self.trials["state"])
        return {state: found.get(state, 0) for state in ("complete", "pruned", "failed", "lost", "running", "waiting")}

    def config_of(self, number: int) -> dict[str, Any]:
        """Returns the complete settings of a trial, as ``RunConfig`` takes them."""
        return with_params(self.settings, self.space, self.params[number])

    def values_of(self, number: int) -> dict[str, float]:
        """Returns what a finished trial reached, by objective."""
        row, single = self.row(number), len(self.objectives) == 1
        return {name: float(row["value" if single else f"value.{name}"]) for name in self.objectives}

    def summary(self) -> dict[str, Any]:
        """Returns what ``study.json`` says."""
        best = None if not self.front else self._found(self.best_trial)
        return {
            "graphrec": graphrec.__version__,
            "label": self.settings["label"],
            "objectives": list(self.objectives),
            "budget": dict(self.budget),
            "trials": self.counts,
            "seconds": float(self.trials["seconds"].sum()),
            "space": {path: parameter.describe() for path, parameter in self.space.items()},
            "best": best,
            "front": [self._found(number) for number in self.front] if len(self.objectives) > 1 else None,
        }

    def write(self) -> None:
        """Writes ``best.yaml``, with several objectives ``front-<n>.yaml``, ``trials.parquet`` and ``study.json``."""
        several = self.front if len(self.objectives) > 1 else ()
        wanted = {FRONT.format(place): number for place, number in enumerate(several, start=1)}
        if self.front:
            wanted[BEST] = self.best_trial
        for name, number in wanted.items():
            write_text(self.folder / name, self._header(number) + dump_yaml(self.config_of(number)))
        for path in self.folder.glob(FRONT.format("*")):
            if path.name not in wanted:
                path.unlink()
        self.write_trials()
        write_json(self.folder / SUMMARY, self.summary())

    def write_trials(self) -> Path:
        """Writes ``trials.parquet``, a row per trial, and returns its path."""
        frame = self.trials.copy()
        for path in self.space:
            if frame[path].map(type).nunique() > 1 and frame[path].dtype == object:
                frame[path] = frame[path].map(str)  # Parquet has one type per column, a choice may have several
        write_bytes(self.folder / TRIALS, frame.to_parquet(index=False))
        return self.folder / TRIALS

    def _header(self, number: int) -> str:
        values = ", ".join(f"{name} = {value!r}" for name, value in self.values_of(number).items())
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        lines = [
            f"Chosen on validation by graphrec tune {graphrec.__version__}; the test split took no part.",
            f"Study {self.folder.name}, trial {number}; budget {self.budget['trials']} trials: {counts}",
            f"Validation: {values}",
        ]
        threads = self.row(number)["threads"]
        if pd.notna(threads):
            lines.append(f"Trained with {threads} threads; with another number the last digits may differ.")
        return "".join(f"# {line}\n" for line in lines)

    def _found(self, number: int) -> dict[str, Any]:
        params = {path: self.space[path].decode(value) for path, value in self.params[number].items()}
        return {"trial": int(number), "values": self.values_of(number), "params": params}

    def row(self, number: int) -> dict[str, Any]:
        """Returns a trial of the table by its number."""
        return {str(name): value for name, value in self.trials.set_index("number").loc[number].items()}


def load_study(folder: str | Path) -> Study:
    """Returns the study of a folder, also one that is under way.

    Raises:
        TuningError: If there is none, or its journal is damaged.
        MissingExtraError: If Optuna is not installed.
    """
    place = Path(folder).resolve()
    return read_study(open_optuna(place), place)


def read_study(found: Any, folder: Path) -> Study:
    """Returns what an Optuna study holds.

    Raises:
        TuningError: If it was never begun.
    """
    notes, trials = found.user_attrs, list(found.get_trials(deepcopy=False))
    if ABOUT not in notes:
        raise TuningError(f"the study in {str(folder)!r} was never begun; run tune again")
    objectives = tuple(notes[ABOUT]["objectives"])
    space = {path: Parameter.read(path, values) for path, values in notes[SPACE].items()}
    front = _front([trial for trial in trials if trial.state.name == "COMPLETE"], objectives)
    params = {trial.number: dict(trial.params) for trial in trials}
    table = _frame(trials, objectives, space)
    return Study(folder, objectives, table, params, front, notes[SETTINGS], space, notes[BUDGET])


def _front(trials: list[Any], objectives: tuple[str, ...]) -> tuple[int, ...]:
    """Returns the trials that no other one beats, best in the first objective first; of equals the earliest."""
    signs = [1 if Objective.parse(name).direction == "maximize" else -1 for name in objectives]
    points = {trial.number: tuple(s * value for s, value in zip(signs, trial.values, strict=True)) for trial in trials}
    kept: dict[tuple[float, ...], int] = {}
    for number, point in sorted(points.items(), key=lambda pair: (tuple(-value for value in pair[1]), pair[0])):
        if not any(all(a >= b for a, b in zip(other, point, strict=True)) for other in kept):
            kept[point] = number
    return tuple(kept.values())


def _frame(trials: list[Any], objectives: tuple[str, ...], space: Mapping[str, Parameter]) -> pd.DataFrame:
    rows = [_row(trial, objectives, space) for trial in trials]
    several = [f"value.{name}" for name in objectives] if len(objectives) > 1 else []
    names = ["number", "state", "value", *several, *space, "seconds", "threads", "epochs", "best_epoch", "error"]
    frame = pd.DataFrame(rows, columns=[*names, "retry_of", "same_as"])
    types = dict.fromkeys(("value", *several, "seconds"), "float64")
    types |= dict.fromkeys(("threads", "epochs", "best_epoch", "retry_of", "same_as"), "Int64")
    types |= {path: "Int64" for path, parameter in space.items() if parameter.holds_integers}  # lost ones have none
    return frame.astype(types)


def _row(trial: Any, objectives: tuple[str, ...], space: Mapping[str, Parameter]) -> dict[str, Any]:
    outcome = outcome_of(trial)
    row = {"number": trial.number, "state": "lost" if is_lost(trial) else STATES[trial.state.name]}
    values = outcome.get("values") or [None] * len(objectives)
    row |= {"value": values[0]} | {f"value.{name}": value for name, value in zip(objectives, values, strict=True)}
    row |= {path: trial.params.get(path) for path in space}
    row |= {name: outcome.get(name) for name in ("seconds", "threads", "epochs", "best_epoch", "error", "same_as")}
    return row | {"retry_of": trial.user_attrs.get(RETRY_OF)}
