"""The contract: a recommender turns the training graph into two matrices, and a score is their inner product.

    embed()          -> Embeddings(user, item)      inference
    forward(batch)   -> {"bpr": …, "alignment": …}  named scalar terms, weighted; the trainer minimises their sum
    score(users)     -> (len(users), num_items)     inner product, unless the model overrides it
    frozen()         -> what scores like the model as it is now, propagated once
    refresh(epoch)   -> None                        optional: resample a graph, seeded by (seed, epoch)

A closed form (Popularity, ItemKNN, EASE) has ``fit(graph)`` instead of ``forward``, and no embeddings.

A model receives a graph and its own config. It never sees files, YAML, devices, optimisers, splits or a test set.
To add one: subclass ``Recommender`` and ``ModelConfig`` in one file named after the paper, and inherit
``graphrec.testing.ModelContract`` in its test.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphrec.config import Config


class ModelConfig(Config):
    """Base of the hyper-parameters of a model, each with its ``Search`` range beside it."""


class Embeddings(NamedTuple):
    """What a model knows, ready for inner products: ``user (num_users, d)`` and ``item (num_items, d)``."""

    user: Tensor
    item: Tensor


class Part(Protocol):
    """What scores all items for users: a model, frozen, or one of its parts."""

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``, for user rows ``(len(users),)``."""
        ...


@dataclass(frozen=True)
class InnerProduct:
    """Scores of fixed embeddings: ``embed()`` once, then any number of blocks of users."""

    embeddings: Embeddings

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``."""
        return self.embeddings.user[users] @ self.embeddings.item.T


class NoEmbeddings(TypeError):  # noqa: N818 - a statement about the model, as in StopIteration
    """Raised by models that score without embeddings."""


class Batch(NamedTuple):
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
    results_version: ClassVar[int] = 1
    """Raised by hand when a change of the code changes the numbers: finished runs of older versions are then redone."""

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

    def frozen(self) -> Part:
        """Returns what scores like the model as it is now, without propagating again for every block of users.

        A model that overrides ``score`` is returned as it is, unless it overrides this too.
        """
        return InnerProduct(self.embed()) if type(self).score is Recommender.score else self

    def parts(self) -> dict[str, Part]:
        """Returns by relation what it brings to the score; the scores of all parts add up to it.

        By default there is one part, ``behavior``.

        Raises:
            NoEmbeddings: If the model scores without embeddings.
        """
        return {"behavior": InnerProduct(self.embed())}

    def diagnostics(self) -> dict[str, float]:
        """Returns what is worth watching while training, by names such as ``coupling/text``; nothing by default."""
        return {}

    def settle(self, validate: Callable[[], Tensor]) -> bool:
        """Called once after training, with the weights of the best epoch; does nothing by default.

        May choose on validation what training leaves open, such as the weight of a part that is not trained.

        Args:
            validate: Returns the metric of every validation user ``(num_users,)`` of the model as it is then.

        Returns:
            Whether the model scores otherwise than before.
        """
        return False

    def resolved(self) -> dict[str, Any]:
        """Returns the options that look at the data where they are not given, as they came out; nothing by default.

        A run keeps them, and ``graphrec.load`` builds the model with them: it neither chooses again nor differently. So
        does a refit on train and valid together.
        """
        return {}

    def refresh(self, epoch: int) -> None:
        """Called before every epoch, counted from 0; must depend on its seed and ``epoch`` alone."""


class ClosedForm(Recommender):
    """Base of models that are solved, not trained: ``fit`` once, then ``score``."""

    @abstractmethod
    def fit(self, graph: HeteroData) -> None:
        """Solves the model on the training graph."""

    @abstractmethod
    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items ``(len(users), num_items)``."""

    def parts(self) -> dict[str, Part]:
        """Raises ``NoEmbeddings``: a closed form has no parts."""
        raise NoEmbeddings(f"{type(self).__name__} scores items directly and has no parts; use score(users)")

    def embed(self) -> Embeddings:
        """Raises ``NoEmbeddings``: a closed form scores directly."""
        raise NoEmbeddings(f"{type(self).__name__} scores items directly and has no embeddings; use score(users)")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Raises ``NoEmbeddings``: a closed form is not trained."""
        raise NoEmbeddings(f"{type(self).__name__} is solved by fit(graph), not trained")
