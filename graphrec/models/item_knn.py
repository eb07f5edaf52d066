"""Item-based nearest neighbours, from behaviour, from content, or from both."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import Field
from torch import Tensor
from torch_geometric.data import HeteroData

from graphrec.config import Search
from graphrec.graph.behavior import co_occurrence, interaction_matrix
from graphrec.graph.neighbors import Source, content_neighbors, item_modalities
from graphrec.models.base import ClosedForm, ModelConfig


class ItemKNNConfig(ModelConfig):
    """Hyper-parameters of item-based nearest neighbours."""

    neighbors: Annotated[int, Field(ge=1), Search(5, 500, log=True)] = 100
    """The length k of the neighbour lists; given kNN graphs are taken as they are."""

    shrinkage: Annotated[float, Field(ge=0), Search(0, 100)] = 5.0
    """Damps behaviour similarities that rest on few common users."""

    content_weight: Annotated[float, Field(ge=0, le=1), Search(0, 1)] = 0.0
    """The share of content in the similarity: 0 = behaviour only, 1 = content only."""

    modalities: tuple[str, ...] | None = None
    """The modalities that make up content, with equal shares; all by default."""

    content: Source = "vectors"
    """Where content similarity comes from: vectors where a modality has some, or its edges in any case."""


class ItemKNN(ClosedForm):
    """Scores an item by the sum of its similarities to those of its nearest neighbours that a user has seen.

    From `"Item-based Collaborative Filtering Recommendation Algorithms" <https://doi.org/10.1145/371920.372071>`_
    and `"Item-based Top-N Recommendation Algorithms" <https://doi.org/10.1145/963770.963776>`_.

    Differs from the papers: similarities may be shrunk, and mixed with content similarities (cosine of vectors, or
    given neighbours). Before they are mixed, both are divided by their mean, so that ``content_weight`` is a share.
    """

    config_class = ItemKNNConfig

    def __init__(self, graph: HeteroData, config: ItemKNNConfig) -> None:
        super().__init__(graph, config)
        self.config = config
        self.seen: sp.csr_array | None = None
        self.weights: sp.csr_array | None = None

    def fit(self, graph: HeteroData) -> None:
        """Finds the neighbours of every item.

        Raises:
            ValueError: If content is asked for and the graph has none, or lacks a modality.
        """
        self.seen = interaction_matrix(graph)
        share = self.config.content_weight
        parts = [(1 - share) * _scaled(self._behavior(self.seen))] if share < 1 else []
        parts += [share * _scaled(self._content(graph))] if share > 0 else []
        self.weights = _total(parts)

    def score(self, users: Tensor) -> Tensor:
        """Returns the summed similarities ``(len(users), num_items)``, zero for a user without interactions."""
        if self.seen is None or self.weights is None:
            raise RuntimeError("expected a fitted ItemKNN, got one before fit(graph); call fit first")
        scores = (self.seen[users.cpu().numpy()] @ self.weights).toarray()
        return torch.from_numpy(scores.astype(np.float32, copy=False)).to(users.device)

    def _behavior(self, seen: sp.csr_array) -> sp.csr_array:
        edge_index, weight = co_occurrence(seen, self.config.neighbors, shrinkage=self.config.shrinkage)
        shape = (self.num_items, self.num_items)
        return sp.coo_array((weight.numpy(), tuple(edge_index.numpy())), shape=shape).tocsr()

    def _content(self, graph: HeteroData) -> sp.csr_array:
        modalities = item_modalities(graph, self.config.modalities)
        if not modalities:
            raise ValueError("expected an item modality for content_weight > 0, got a graph without; add features")
        k, source = self.config.neighbors, self.config.content
        matrices = [_scaled(content_neighbors(graph, modality, k, source=source)) for modality in modalities]
        return _total(matrices)


def _total(matrices: list[sp.csr_array]) -> sp.csr_array:
    return sum(matrices[1:], start=matrices[0])


def _scaled(matrix: sp.csr_array) -> sp.csr_array:
    return matrix / matrix.data.mean() if matrix.nnz else matrix
