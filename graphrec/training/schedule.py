"""Learning-rate schedules as a factor of the step."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from graphrec.config import Config, Search


class ScheduleConfig(Config):
    """How the learning rate changes: linear warm-up, then constant, cosine to zero, or step decay."""

    name: Literal["constant", "cosine", "decay"] = "constant"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    gamma: Annotated[float, Field(gt=0, le=1), Search(choices=(0.9, 0.96, 1.0))] = 0.96
    """For ``decay``: the factor per ``decay_epochs``, applied smoothly: ``gamma ** (epoch / decay_epochs)``."""
    decay_epochs: Annotated[float, Field(gt=0)] = 50.0
    horizon: Annotated[int, Field(ge=1)] | None = None
    """For ``cosine``: the epoch at which the rate reaches zero; ``max_epochs`` by default."""

    def factor(self, epoch: float, max_epochs: int) -> float:
        """Returns what the learning rate is multiplied with at a (fractional) epoch.

        >>> ScheduleConfig(name="cosine", warmup_epochs=2).factor(1.0, 10)
        0.5
        >>> round(ScheduleConfig(name="decay").factor(100.0, 1000), 4)
        0.9216
        """
        if epoch < self.warmup_epochs:
            return epoch / self.warmup_epochs
        if self.name == "cosine":
            horizon = self.horizon or max_epochs
            done = (epoch - self.warmup_epochs) / max(horizon - self.warmup_epochs, 1e-9)
            return 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
        return float(self.gamma ** (epoch / self.decay_epochs)) if self.name == "decay" else 1.0
