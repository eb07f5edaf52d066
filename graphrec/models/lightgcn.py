"""LightGCN."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch_geometric.data import HeteroData

from graphrec.config import Search
from graphrec.models.base import Batch, Embeddings, ModelConfig, Recommender
from graphrec.models.pairwise import batch_l2, embedding_table, interaction_operator, interactions_of, pair_scores
from graphrec.nn.objective import Objective
from graphrec.nn.propagation import light_gcn


class LightGCNConfig(ModelConfig):
    """Hyper-parameters of LightGCN."""

    embedding_dim: Annotated[int, Field(ge=1), Search(choices=(64, 128))] = 64
    num_layers: Annotated[int, Field(ge=0), Search(choices=(1, 2, 3, 4))] = 2
    objective: Objective = Objective()
    l2: Annotated[float, Field(ge=0), Search(1e-6, 1e-1, log=True)] = 1e-4
    """Weight of the L2 norm of the batch's layer-0 embeddings."""


class LightGCN(Recommender):
    """Linear propagation over the user–item graph, without transformations or non-linearities.

    From `"LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation"
    <https://arxiv.org/abs/2002.02126>`_.

    Differs from the paper: Xavier initialisation instead of a normal of 0.1, as in later benchmarks.
    """

    config_class = LightGCNConfig

    def __init__(self, graph: HeteroData, config: LightGCNConfig) -> None:
        super().__init__(graph, config)
        self.config = config
        self.user_embedding = embedding_table(self.num_users, config.embedding_dim)
        self.item_embedding = embedding_table(self.num_items, config.embedding_dim)
        self.interactions = interaction_operator(interactions_of(graph), self.num_users, self.num_items)

    def embed(self) -> Embeddings:
        """Returns the mean over the layers."""
        tables = self.user_embedding, self.item_embedding
        return Embeddings(*light_gcn(self.interactions, *tables, self.config.num_layers))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the ranking loss and ``l2``."""
        terms = self.config.objective(*pair_scores(self.embed(), batch), batch.known)
        tables = Embeddings(self.user_embedding, self.item_embedding)
        return terms | {"l2": self.config.l2 * batch_l2(tables, batch)}
