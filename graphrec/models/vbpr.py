"""VBPR: matrix factorisation that also knows what items look like."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphrec.config import ConfigError, Search, unknown_name
from graphrec.graph.neighbors import flagged_nodes, item_modalities
from graphrec.models.base import Batch, Embeddings, InnerProduct, ModelConfig, Part, Recommender
from graphrec.models.pairwise import batch_l2, embedding_table, pair_scores
from graphrec.nn.objective import Objective


class VBPRConfig(ModelConfig):
    """Hyper-parameters of VBPR."""

    embedding_dim: Annotated[int, Field(ge=1), Search(choices=(32, 64, 128))] = 64
    """The dimension of the behaviour factors."""
    content_dim: Annotated[int, Field(ge=1), Search(choices=(32, 64, 128))] = 64
    """The dimension of the projected content and of the tastes that meet it."""
    modalities: tuple[str, ...] | None = None
    """The modalities whose vectors describe an item, concatenated; all that have vectors by default."""
    objective: Objective = Objective()
    l2: Annotated[float, Field(ge=0), Search(1e-6, 1e-1, log=True)] = 1e-2
    """Weight of the L2 norm of the batch's factors, projected content and biases."""


class VBPR(Recommender):
    r"""Matrix factorisation with a second set of factors for projected content, and biases.

    From `"VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback" <https://arxiv.org/abs/1510.01784>`_:

    .. math:: \hat{s}_{ui} = \gamma_u \cdot \gamma_i + \theta_u \cdot \mathbf{E}\mathbf{f}_i + \beta_i
              + \beta' \cdot \mathbf{f}_i

    The projection has no constant, so that content an item lacks adds nothing to its score; unless the graph says to
    learn a token, a vector that stands for all that is missing of a modality.

    Differs from the paper: any modalities, their vectors scaled to length 1 and concatenated; no offset and user bias,
    which no ranking depends on; Adam; L2 on the factors of the batch, projected content included.
    """

    config_class = VBPRConfig
    content: Tensor
    has_token: Tensor
    columns: Tensor

    def __init__(self, graph: HeteroData, config: VBPRConfig) -> None:
        super().__init__(graph, config)
        self.config = config
        self.names = names = _with_vectors(graph, config.modalities)
        self.register_buffer("content", _content(graph, names), persistent=False)
        self.register_buffer("has_token", _has_token(graph, names), persistent=False)
        self.register_buffer("columns", _columns(graph, names), persistent=False)
        self.token = nn.Parameter(torch.zeros(self.content.size(1))) if self.has_token.any() else None
        self.user_embedding = embedding_table(self.num_users, config.embedding_dim)
        self.item_embedding = embedding_table(self.num_items, config.embedding_dim)
        self.user_taste = embedding_table(self.num_users, config.content_dim)
        self.projection = embedding_table(self.content.size(1), config.content_dim)
        self.item_bias = nn.Parameter(torch.zeros(self.num_items))
        self.content_bias = nn.Parameter(torch.zeros(self.content.size(1)))

    def embed(self) -> Embeddings:
        """Returns factors and projected content side by side; the biases meet a last column of ones of the users."""
        bias = self.item_bias + self._described(self.content_bias)
        item = torch.cat([self.item_embedding, self._described(self.projection), bias.unsqueeze(-1)], dim=-1)
        return Embeddings(self._user(), item)

    def parts(self) -> dict[str, Part]:
        """Returns what factors and item bias, and what the content of each modality with its bias, bring to the score.

        The users are the same in all parts; an item has zeros in the columns of the other parts.
        """
        user, without = self._user(), torch.zeros_like(self.item_embedding)
        behavior = F.pad(self.item_embedding, (0, self.config.content_dim))
        items = {"behavior": torch.cat([behavior, self.item_bias.unsqueeze(-1)], dim=-1)}
        for name, column in zip(self.names, self.columns, strict=True):
            weights = torch.cat([self.projection, self.content_bias.unsqueeze(-1)], dim=-1) * column.unsqueeze(-1)
            items[name] = torch.cat([without, self._described(weights)], dim=-1)
        return {name: InnerProduct(Embeddings(user, item)) for name, item in items.items()}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the ranking loss and ``l2``."""
        embeddings = self.embed()
        terms = self.config.objective(*pair_scores(embeddings, batch), batch.known)
        free = Embeddings(embeddings.user[:, :-1], embeddings.item)
        return terms | {"l2": self.config.l2 * batch_l2(free, batch)}

    def _user(self) -> Tensor:
        ones = self.user_embedding.new_ones(self.num_users, 1)
        return torch.cat([self.user_embedding, self.user_taste, ones], dim=-1)

    def _described(self, weight: Tensor) -> Tensor:
        """Returns the product of every item's content, tokens included, with a weight ``(width, …)``."""
        content = self.content @ weight
        return content if self.token is None else content + self.has_token @ ((self.columns * self.token) @ weight)


def _with_vectors(graph: HeteroData, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    known = tuple(name for name in item_modalities(graph) if "x" in graph[name])
    for name in wanted or ():
        if name not in known:
            raise ConfigError(unknown_name(name, known, kind="modality with vectors"))
    names = known if wanted is None else wanted
    if not names:
        found = ", ".join(item_modalities(graph)) or "no modality at all"
        raise ConfigError(f"expected a modality with vectors for VBPR, got a graph with {found}; add features")
    return names


def _content(graph: HeteroData, modalities: tuple[str, ...]) -> Tensor:
    """Returns the vectors of all modalities side by side, zero where one is absent ``(num_items, width)``."""
    parts = []
    for name in modalities:
        x = F.normalize(graph[name].x.float(), dim=-1)
        parts.append(x.new_zeros(int(graph["item"].num_nodes), x.size(1)).index_copy(0, graph[name].item_id, x))
    return torch.cat(parts, dim=-1)


def _has_token(graph: HeteroData, modalities: tuple[str, ...]) -> Tensor:
    """Returns 1 where a modality of an item is to be learned ``(num_items, num_modalities)``."""
    mask = torch.zeros(int(graph["item"].num_nodes), len(modalities))
    for place, name in enumerate(modalities):
        mask[graph[name].item_id[flagged_nodes(graph, name, "token")], place] = 1.0
    return mask


def _columns(graph: HeteroData, modalities: tuple[str, ...]) -> Tensor:
    """Returns 1 where a column of the content belongs to a modality ``(num_modalities, width)``."""
    return torch.block_diag(*(torch.ones(1, graph[name].x.size(1)) for name in modalities))
