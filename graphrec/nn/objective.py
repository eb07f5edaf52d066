"""The ranking objective that embedding models share: which loss, at which temperature, with how much L2."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from graphrec.config import Config, Search
from graphrec.nn.losses import bpr, sampled_softmax


class Objective(Config):
    """The ranking loss of a batch."""

    loss: Literal["bpr", "softmax"] = "bpr"
    temperature: Annotated[float, Field(gt=0), Search(0.05, 2.0, log=True)] = 1.0
    """Divides the scores in the softmax loss; BPR does not use it."""

    def __call__(self, positive: Tensor, negative: Tensor, known: Tensor | None = None) -> dict[str, Tensor]:
        """Returns the loss under its name, for scores ``(B,)`` and ``(B, K)``."""
        if self.loss == "bpr":
            return {"bpr": bpr(positive, negative, known)}
        return {"softmax": sampled_softmax(positive, negative, self.temperature, known)}
