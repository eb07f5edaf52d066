"""EASE: a linear autoencoder of interactions, solved in closed form."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch_geometric.data import HeteroData

from graphrec.config import Search
from graphrec.graph.behavior import check_memory, ease_weights, gram_matrix, interaction_matrix
from graphrec.graph.build import INTERACTS
from graphrec.models.base import ClosedForm, ModelConfig
from graphrec.nn.linear import ItemToItem


class EASEConfig(ModelConfig):
    """Hyper-parameters of EASE."""

    regularization: Annotated[float, Field(gt=0), Search(1, 2000, log=True)] = 200.0
    """The L2 weight lambda; the sparser and the more popularity-driven the data, the larger."""


class EASE(ClosedForm):
    r"""A linear autoencoder of interactions that may not use an item to predict itself, in closed form.

    From `"Embarrassingly Shallow Autoencoders for Sparse Data" <https://arxiv.org/abs/1905.03375>`_:

    .. math:: \min_\mathbf{B} \|\mathbf{X} - \mathbf{XB}\|^2 + \lambda\|\mathbf{B}\|^2, \; \mathrm{diag}(\mathbf{B})
        = 0; \quad \hat{\mathbf{X}} = \mathbf{XB}

    Interactions count as ones. Solved in float64 with one float64 and one float32 item–item matrix in memory.

    Differs from the paper: nothing.
    """

    config_class = EASEConfig

    def __init__(self, graph: HeteroData, config: EASEConfig) -> None:
        super().__init__(graph, config)
        self.config = config
        self.scores: ItemToItem | None = None

    @property
    def weights(self) -> Tensor | None:
        """The item–item weights ``(num_items, num_items)``, row = item seen, column = scored; None before ``fit``."""
        return None if self.scores is None else self.scores.weights

    def fit(self, graph: HeteroData) -> None:
        """Solves the item–item weights on the training interactions.

        Raises:
            MemoryError: If the dense solution does not fit, before any work is done.
        """
        check_memory(self.num_items, name=type(self).__name__)
        edge_index = graph[INTERACTS].edge_index
        weights = torch.from_numpy(self.solve(graph)).to(edge_index.device)
        self.scores = ItemToItem(edge_index, weights, self.num_users)

    def solve(self, graph: HeteroData) -> NDArray[np.float32]:
        """Returns the item–item weights ``(num_items, num_items)``, float32; row = item seen, column = scored."""
        return ease_weights(gram_matrix(interaction_matrix(graph).T.tocsr()), self.config.regularization)

    def score(self, users: Tensor) -> Tensor:
        """Returns the summed weights of the items seen ``(len(users), num_items)``, zero for users without any."""
        if self.scores is None:
            name = type(self).__name__
            raise RuntimeError(f"expected a fitted {name}, got one before fit(graph); call fit first")
        return self.scores.score(users)
