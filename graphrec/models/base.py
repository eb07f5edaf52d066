"""The contract: a recommender turns the training graph into two matrices, and a score is their inner product.

    embed()          -> Embeddings(user, item)      inference
    forward(batch)   -> {"bpr": …, "alignment": …}  named scalar terms, weighted; the trainer minimises their sum
    score(users)     -> (len(users), num_items)     inner product, unless the model overrides it
    refresh(epoch)   -> None                        optional: resample a graph, seeded by (seed, epoch)

A closed form (Popularity, ItemKNN, EASE) has ``fit(graph)`` instead of ``forward``, and no embeddings.

A model receives a graph and its own config. It never sees files, YAML, devices, optimisers, splits or a test set.
To add one: subclass ``Recommender`` and ``ModelConfig`` in one file named after the paper, and inherit
``graphrec.testing.ModelContract`` in its test.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphrec.config import Config

INTERACTS = ("user", "interacts", "item")


class ModelConfig(Config):
    """Base of the hyper-parameters of a model, each with its ``Search`` range beside it."""


class Embeddings(NamedTuple):
    """What a model knows, ready for inner products: ``user (num_users, d)`` and ``item (num_items, d)``."""

    user: Tensor
    item: Tensor


class NoEmbeddings(TypeError):
    """Raised by models that score without embeddings."""


@dataclass(frozen=True)
class Batch:
    """Training pairs with their negatives, as rows.

    Args:
        user: Users ``(B,)``.
        positive: An item each of them interacted with in training ``(B,)``.
        negative: ``(B, K)`` items of each user's own, never training positives of that user, or ``(K,)`` shared
            by the batch.
        known: For shared negatives, which are training positives of which user ``(B, K)``: to be left out.
    """

    user: Tensor
    positive: Tensor
    negative: Tensor
    known: Tensor | None = None


class Recommender(nn.Module):
    """Base of every model.

    Args:
        graph: The training graph, as ``graphrec.build_graph`` makes it.
        config: The hyper-parameters, an instance of ``config_class``.
    """

    config_class: ClassVar[type[ModelConfig]] = ModelConfig

    def __init__(self, graph: HeteroData, config: ModelConfig) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            expected, got = self.config_class.__name__, type(config).__name__
            raise TypeError(f"expected a {expected} for {type(self).__name__}, got {got}")
        self.num_users = int(graph["user"].num_nodes)
        self.num_items = int(graph["item"].num_nodes)

    @abstractmethod
    def embed(self) -> Embeddings:
        """Returns the final embeddings for inference; randomness such as edge dropout is off."""

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the weighted loss terms by name, each a finite scalar."""

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``, for user rows ``(len(users),)``."""
        embeddings = self.embed()
        return embeddings.user[users] @ embeddings.item.T

    def refresh(self, epoch: int) -> None:  # noqa: B027 - optional hook
        """Called before every epoch, counted from 0; must depend on its seed and ``epoch`` alone."""


class ClosedForm(Recommender):
    """Base of models that are solved, not trained: ``fit`` once, then ``score``."""

    @abstractmethod
    def fit(self, graph: HeteroData) -> None:
        """Solves the model on the training graph."""

    @abstractmethod
    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``."""

    def embed(self) -> Embeddings:
        """Raises ``NoEmbeddings``: a closed form scores directly."""
        raise NoEmbeddings(f"{type(self).__name__} scores items directly and has no embeddings; use score(users)")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Raises ``NoEmbeddings``: a closed form is not trained."""
        raise NoEmbeddings(f"{type(self).__name__} is solved by fit(graph), not trained")


def pair_scores(embeddings: Embeddings, batch: Batch) -> tuple[Tensor, Tensor]:
    """Returns the scores of the positives ``(B,)`` and of the negatives ``(B, K)``.

    ``index_select`` is used because its backward is an ``index_add``, several times faster on a CPU than the
    backward of indexing.
    """
    user = embeddings.user.index_select(0, batch.user)
    positive = (user * embeddings.item.index_select(0, batch.positive)).sum(dim=-1)
    negatives = embeddings.item.index_select(0, batch.negative.flatten())
    if batch.negative.dim() == 1:
        return positive, user @ negatives.T
    negatives = negatives.view(*batch.negative.shape, -1)
    return positive, (user.unsqueeze(1) * negatives).sum(dim=-1)


def seen_by(graph: HeteroData) -> tuple[Tensor, Tensor]:
    """Returns the training interactions of the graph as user rows and item rows, ``(num_edges,)`` each."""
    edge_index = graph[INTERACTS].edge_index
    return edge_index[0], edge_index[1]


def embedding_table(rows: int, dim: int) -> nn.Parameter:
    """Returns a Xavier-initialised table ``(rows, dim)``, drawn from torch's global generator."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, dim)))
