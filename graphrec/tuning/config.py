"""How a study is run: its budget, what it looks for, and how weak trials are ended early."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator

from graphrec.config import Config
from graphrec.evaluation.metrics import MetricAt

SECONDS, COVERAGE = "seconds", "Coverage"


@dataclass(frozen=True)
class Objective:
    """What a study looks for.

    Args:
        label: ``"seconds"``, ``"Coverage@20"``, or a metric such as ``"Recall@20"``.
        metric: The accuracy metric, where it is one.
        k: The cut-off; None for seconds.
    """

    label: str
    metric: str | None = None
    k: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``"seconds"``, ``"coverage@20"`` or ``"recall@20"``.

        >>> Objective.parse("ndcg@10").label, Objective.parse("seconds").direction
        ('NDCG@10', 'minimize')

        Raises:
            ValueError: If it is none of these.
        """
        if text.strip().lower() == SECONDS:
            return cls(SECONDS)
        found = re.fullmatch(rf"{COVERAGE}@([1-9]\d*)", text.strip(), flags=re.IGNORECASE)
        if found:
            return cls(f"{COVERAGE}@{found[1]}", k=int(found[1]))
        try:
            metric = MetricAt.parse(text)
        except ValueError as error:
            raise ValueError(f"{error}; or 'seconds', or 'Coverage@20'") from None
        return cls(metric.label, metric.name, metric.k)

    @property
    def direction(self) -> str:
        """Whether Optuna is to ``minimize`` or to ``maximize`` it."""
        return "minimize" if self.label == SECONDS else "maximize"


class TuningConfig(Config):
    """The budget and the rules of a study."""

    trials: Annotated[int, Field(ge=1)] = 20
    """Trials of the study, counted over all processes and sittings; one that died and is tried again counts once."""
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds of this call after which no new trial is begun; those under way are finished."""
    objectives: tuple[str, ...] = ()
    """What is looked for on validation; ``training.metric`` by default. Also ``seconds`` (training up to the chosen
    epoch) and ``Coverage@20``; several make a Pareto front."""
    pruner: Literal["median", "asha", "none"] = "median"
    """What ends weak trials early by their validation epochs; none does where there are several objectives, or in
    closed forms."""
    startup_trials: Annotated[int, Field(ge=1)] = 5
    """Finished trials before TPE takes over from chance, and before the median pruner ends any."""
    warmup_epochs: Annotated[int, Field(ge=1)] = 5
    """Epochs before which no trial is ended early."""
    retries: Annotated[int, Field(ge=0)] = 1
    """How often a trial whose process died is tried again."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds the choice of the settings; training is seeded by the config's own seed."""

    @field_validator("objectives")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        labels = tuple(Objective.parse(name).label for name in names)
        if len(set(labels)) < len(labels):
            raise ValueError(f"expected different objectives, got {list(names)}")
        return labels
