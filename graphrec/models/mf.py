"""Matrix factorisation with the BPR objective."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch_geometric.data import HeteroData

from graphrec.config import Search
from graphrec.models.base import Batch, Embeddings, ModelConfig, Recommender
from graphrec.models.pairwise import batch_l2, embedding_table, pair_scores
from graphrec.nn.objective import Objective


class MFConfig(ModelConfig):
    """Hyper-parameters of matrix factorisation."""

    embedding_dim: Annotated[int, Field(ge=1), Search(choices=(64, 128))] = 64
    objective: Objective = Objective()
    l2: Annotated[float, Field(ge=0), Search(1e-6, 1e-1, log=True)] = 1e-2


class MF(Recommender):
    """Matrix factorisation trained to rank.

    From `"BPR: Bayesian Personalized Ranking from Implicit Feedback" <https://arxiv.org/abs/1205.2618>`_.

    Differs from the paper: no item bias, Adam, and L2 on the embeddings of the batch.
    """

    config_class = MFConfig

    def __init__(self, graph: HeteroData, config: MFConfig) -> None:
        super().__init__(graph, config)
        self.config = config
        self.user_embedding = embedding_table(self.num_users, config.embedding_dim)
        self.item_embedding = embedding_table(self.num_items, config.embedding_dim)

    def embed(self) -> Embeddings:
        """Returns the two tables as they are."""
        return Embeddings(self.user_embedding, self.item_embedding)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the ranking loss and ``l2``."""
        terms = self.config.objective(*pair_scores(self.embed(), batch), batch.known)
        return terms | {"l2": self.config.l2 * batch_l2(self.embed(), batch)}
