"""EASE with content: item–item weights from interactions and item features together, in closed form."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch_geometric.data import HeteroData

from graphrec.config import Search
from graphrec.graph.behavior import add_gram, check_memory, ease_weights, gram_matrix, interaction_matrix, ridge_inverse
from graphrec.graph.neighbors import Source, item_features, item_modalities
from graphrec.models.ease import EASE, EASEConfig

Weights = NDArray[np.float32]


class ContentEASEConfig(EASEConfig):
    """What the content forms of EASE share: which features describe an item."""

    modalities: tuple[str, ...] | None = None
    """The modalities to use; all by default."""

    modality_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """The weight of each modality's inner products, in the order of ``modalities``; equal and summing to 1 by
    default."""

    content: Source = "vectors"
    """What describes an item: its vectors where a modality has some, or its neighbours in any case."""

    center: bool = False
    """Whether the mean vector of a modality is taken off before vectors are scaled to length 1."""


class ContentEASE(EASE):
    """Base of the content forms: reads the features of the graph."""

    config_class = ContentEASEConfig
    config: ContentEASEConfig

    def fit(self, graph: HeteroData) -> None:
        """Solves the item–item weights on the training interactions and the item features.

        Raises:
            ValueError: If the graph has no modality, or lacks one that is wanted.
            MemoryError: If the dense solution does not fit, before any work is done.
        """
        check_memory(self.num_items, bytes_per_entry=18, name=type(self).__name__)
        super().fit(graph)

    def behavior_gram(self, graph: HeteroData) -> NDArray[np.float64]:
        """Returns the inner products of the items' users ``(num_items, num_items)``."""
        return gram_matrix(interaction_matrix(graph).T.tocsr())

    def add_content(self, gram: NDArray[np.float64], graph: HeteroData, scale: float = 1.0) -> NDArray[np.float64]:
        """Adds ``scale`` times the weighted inner products of the items' features, in place, and returns the sum."""
        for modality, weight in self._modality_weights(graph).items():
            features = item_features(graph, modality, source=self.config.content, center=self.config.center)
            add_gram(gram, features, scale * weight)
        return gram

    def content_weights(self, graph: HeteroData, regularization: float) -> Weights:
        """Returns the EASE solution of the features: every feature a user who has seen the items that have it."""
        gram = self.add_content(np.zeros((self.num_items, self.num_items)), graph)
        return ease_weights(gram, regularization)

    def _modality_weights(self, graph: HeteroData) -> dict[str, float]:
        modalities = item_modalities(graph, self.config.modalities)
        weights = self.config.modality_weights or (1 / max(len(modalities), 1),) * len(modalities)
        if not modalities or len(weights) != len(modalities):
            raise ValueError(f"expected a weight per modality of {list(modalities)}, at least one, got {weights}")
        return dict(zip(modalities, weights, strict=True))


class CollectiveEASEConfig(ContentEASEConfig):
    """Hyper-parameters of collective EASE."""

    content_weight: Annotated[float, Field(ge=0), Search(0.1, 1000, log=True)] = 10.0
    """How much a shared feature counts, in shared users."""


class CollectiveEASE(ContentEASE):
    r"""CEASE: one EASE of interactions and features together, as if every feature were ``content_weight`` users.

    From `"Closed-Form Models for Collaborative Filtering with Side-Information"
    <https://doi.org/10.1145/3383313.3418480>`_:

    .. math:: \min_\mathbf{B} \|\mathbf{X} - \mathbf{XB}\|^2 + \alpha\|\mathbf{F}^\top - \mathbf{F}^\top\mathbf{B}\|^2
        + \lambda\|\mathbf{B}\|^2, \; \mathrm{diag}(\mathbf{B}) = 0

    which is EASE with the Gram matrix :math:`\mathbf{X}^\top\mathbf{X} + \alpha\mathbf{FF}^\top`.

    Differs from the paper: features are dense vectors of length 1, or neighbour lists, instead of 0/1 tags.
    """

    config_class = CollectiveEASEConfig
    config: CollectiveEASEConfig

    def solve(self, graph: HeteroData) -> Weights:
        """Returns the item–item weights ``(num_items, num_items)``."""
        gram = self.add_content(self.behavior_gram(graph), graph, self.config.content_weight)
        return ease_weights(gram, self.config.regularization)


class AddEASEConfig(ContentEASEConfig):
    """Hyper-parameters of additive EASE."""

    content_weight: Annotated[float, Field(ge=0, le=1), Search(0, 1)] = 0.5
    """The share of the features' weights in the sum."""

    content_regularization: Annotated[float, Field(gt=0), Search(0.1, 1000, log=True)] = 10.0
    """The L2 weight of the features' own model."""


class AddEASE(ContentEASE):
    r"""Add-EASE: one EASE of interactions and one of features, solved apart, and their weights mixed.

    From `"Closed-Form Models for Collaborative Filtering with Side-Information"
    <https://doi.org/10.1145/3383313.3418480>`_:

    .. math:: \mathbf{B} = (1 - \alpha)\,\mathrm{EASE}(\mathbf{X}, \lambda)
        + \alpha\,\mathrm{EASE}(\mathbf{F}^\top, \lambda_F)

    Differs from the paper: features are dense vectors of length 1, or neighbour lists, instead of 0/1 tags.
    """

    config_class = AddEASEConfig
    config: AddEASEConfig

    def solve(self, graph: HeteroData) -> Weights:
        """Returns the item–item weights ``(num_items, num_items)``."""
        content = self.content_weights(graph, self.config.content_regularization)
        content *= self.config.content_weight
        behavior = super().solve(graph)
        behavior *= 1 - self.config.content_weight
        behavior += content
        return behavior


class L3AEConfig(ContentEASEConfig):
    """Hyper-parameters of L3AE."""

    distillation: Annotated[float, Field(ge=0), Search(1, 2000, log=True)] = 100.0
    """The weight gamma that draws the solution to the features' weights."""

    content_regularization: Annotated[float, Field(gt=0), Search(0.1, 1000, log=True)] = 10.0
    """The L2 weight of the features' own model."""


class L3AE(ContentEASE):
    r"""L3AE: EASE drawn towards the item–item weights that the features give on their own.

    From `"LLM-Enhanced Linear Autoencoders for Recommendation" <https://arxiv.org/abs/2508.13500>`_. First
    the features' own weights :math:`\mathbf{S} = \mathrm{EASE}(\mathbf{F}^\top, \lambda_F)`, then

    .. math:: \min_\mathbf{B} \|\mathbf{X} - \mathbf{XB}\|^2 + \lambda\|\mathbf{B}\|^2
        + \gamma\|\mathbf{B} - \mathbf{S}\|^2, \; \mathrm{diag}(\mathbf{B}) = 0

    With :math:`\mathbf{P} = (\mathbf{X}^\top\mathbf{X} + (\lambda + \gamma)\mathbf{I})^{-1}` and a multiplier for
    every diagonal entry, :math:`\mathbf{B} = \mathbf{I} + \gamma\mathbf{PS} - \mathbf{P}\,\mathrm{diag}(\mu)` where
    :math:`\mu_j = (1 + \gamma(\mathbf{PS})_{jj}) / \mathbf{P}_{jj}`.

    Differs from the paper: features are the graph's, of any modality, or neighbour lists. An item without content
    has zero weights in :math:`\mathbf{S}`, so that :math:`\gamma` is more of the L2 weight for it.
    """

    config_class = L3AEConfig
    config: L3AEConfig

    def solve(self, graph: HeteroData) -> Weights:
        """Returns the item–item weights ``(num_items, num_items)``."""
        content = self.content_weights(graph, self.config.content_regularization)
        gamma = self.config.distillation
        inverse = ridge_inverse(self.behavior_gram(graph), self.config.regularization + gamma)
        return _drawn_to(content, inverse, gamma)


def _drawn_to(content: Weights, inverse: NDArray[np.float64], gamma: float, block_size: int = 512) -> Weights:
    """Turns the features' weights into the solution, in place and column block by column block."""
    diagonal = inverse.diagonal()
    for start in range(0, len(content), block_size):
        columns = slice(start, start + block_size)
        block = gamma * (inverse @ content[:, columns].astype(np.float64))  # (n, block)
        local = np.arange(block.shape[1])
        block -= inverse[:, columns] * ((1 + block[start + local, local]) / diagonal[columns])
        content[:, columns] = block
    np.fill_diagonal(content, 0.0)
    return content
