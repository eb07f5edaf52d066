"""FREEDOM."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphrec.config import ConfigError, Search, unknown_name
from graphrec.graph.build import item_operator
from graphrec.graph.neighbors import item_modalities
from graphrec.graph.transforms import row_norm
from graphrec.models.base import Batch, Embeddings, InnerProduct, ModelConfig, Part, Recommender
from graphrec.models.pairwise import PrunedInteractions, batch_l2, embedding_table, interactions_of, pair_scores
from graphrec.nn.modality import ModalityVectors
from graphrec.nn.objective import Objective
from graphrec.nn.propagation import light_gcn
from graphrec.nn.sparse import SparseOperator

WeightedEdges = tuple[Tensor, Tensor]  # (2, num_edges) and (num_edges,)
PAPER_WEIGHTS = {"text": 0.9, "image": 0.1}


class FREEDOMConfig(ModelConfig):
    """Hyper-parameters of FREEDOM."""

    embedding_dim: Annotated[int, Field(ge=1), Search(choices=(64, 128))] = 64
    num_layers: Annotated[int, Field(ge=0), Search(choices=(1, 2, 3))] = 2
    """User–item layers."""
    similar_layers: Annotated[int, Field(ge=1), Search(choices=(1, 2))] = 1
    """Item–item layers."""
    weights: dict[str, float] | None = None
    """The weight of each modality's kNN graph; modalities left out are not used. Rescaled to sum to one. By default
    the paper's .9 for text and .1 for image, and equal weights for other sets of modalities."""
    edge_keep: Annotated[float, Field(gt=0, le=1), Search(choices=(0.1, 0.2, 0.5, 1.0))] = 0.2
    """The share of user–item edges that degree-sensitive pruning keeps in an epoch."""
    feature_loss: Annotated[float, Field(ge=0), Search(choices=(0.0, 1e-5, 1e-4, 1e-3))] = 1e-3
    """Weight of the BPR loss of each modality's projected features, where it has vectors."""
    objective: Objective = Objective()
    l2: Annotated[float, Field(ge=0), Search(1e-6, 1e-1, log=True)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds the pruning, together with the epoch."""


class FREEDOM(Recommender):
    """A frozen item–item graph and a degree-pruned user–item graph.

    From `"A Tale of Two Graphs: Freezing and Denoising Graph Structures for Multimodal Recommendation"
    <https://arxiv.org/abs/2211.06924>`_.

    Differs from the paper: a modality that has a given kNN graph but no vectors has no feature loss; an optional
    L2 term, off by default. Learned tokens of a missing modality take part in the feature loss alone: they have no
    neighbours.
    """

    config_class = FREEDOMConfig

    def __init__(self, graph: HeteroData, config: FREEDOMConfig) -> None:
        super().__init__(graph, config)
        self.config = config
        dim = config.embedding_dim
        self.user_embedding = embedding_table(self.num_users, dim)
        self.item_embedding = embedding_table(self.num_items, dim)
        self.interactions = PrunedInteractions(
            interactions_of(graph), self.num_users, self.num_items, keep=config.edge_keep, seed=config.seed
        )
        weights = modality_weights(graph, config.weights)
        self.item_edges = weighted_item_edges(graph, weights)
        self.similar = _operator(self.item_edges.values(), self.num_items)
        with_vectors = [name for name in weights if "x" in graph[name]] if config.feature_loss else []
        self.projections = nn.ModuleDict({name: nn.Linear(graph[name].x.size(1), dim) for name in with_vectors})
        self.vectors = nn.ModuleDict(
            {name: ModalityVectors(graph[name].x, graph[name].get("token", None)) for name in with_vectors}
        )
        for name in with_vectors:
            self.register_buffer(f"{name}_node", _node_of_item(graph[name].item_id, self.num_items), persistent=False)

    def refresh(self, epoch: int) -> None:
        """Samples the user–item edges of the epoch."""
        self.interactions.refresh(epoch)

    def embed(self) -> Embeddings:
        """Returns the embeddings on the whole user–item graph."""
        return self._propagate(self.interactions.full)

    def parts(self) -> dict[str, Part]:
        """Returns what the user–item graph, and what the item graph of each modality, bring to the score.

        With several hops, what an item receives belongs to the modality of the last one: that of its own neighbours.
        """
        tables = self.user_embedding, self.item_embedding
        user, item = light_gcn(self.interactions.full, *tables, self.config.num_layers)
        source = self._similar(self.config.similar_layers - 1)
        items = {"behavior": item}
        for name, edges in self.item_edges.items():
            items[name] = _operator([edges], self.num_items).to(source.device)(source)
        return {name: InnerProduct(Embeddings(user, item)) for name, item in items.items()}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the ranking loss on the pruned graph, ``feature`` and ``l2`` where they have a weight."""
        embeddings = self._propagate(self.interactions.pruned)
        terms = self.config.objective(*pair_scores(embeddings, batch), batch.known)
        if self.projections:
            terms["feature"] = self.config.feature_loss * self._feature_loss(embeddings.user, batch)
        if self.config.l2:
            tables = Embeddings(self.user_embedding, self.item_embedding)
            terms["l2"] = self.config.l2 * batch_l2(tables, batch)
        return terms

    def _propagate(self, interactions: SparseOperator) -> Embeddings:
        tables = self.user_embedding, self.item_embedding
        user, item = light_gcn(interactions, *tables, self.config.num_layers)
        return Embeddings(user, item + self._similar(self.config.similar_layers))

    def _similar(self, num_hops: int) -> Tensor:
        """Returns the item embeddings after hops over the item graph ``(num_items, dim)``."""
        similar: Tensor = self.item_embedding
        for _ in range(num_hops):
            similar = self.similar(similar)
        return similar

    def _feature_loss(self, user: Tensor, batch: Batch) -> Tensor:
        """Ranks by projected features, over the pairs of which both items have the modality."""
        losses = [user.new_zeros(())]
        for name, projection in self.projections.items():
            node = getattr(self, f"{name}_node")
            present = node[batch.positive] >= 0
            if present.any():
                items = Embeddings(user, projection(self.vectors[name]()))
                losses += self.config.objective(*_scores_of_present(items, node, batch, present)).values()
        return torch.stack(losses).sum()


def _scores_of_present(
    embeddings: Embeddings, node: Tensor, batch: Batch, present: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the scores of the pairs whose positive is present, and which negatives are absent or known."""
    own = batch.negative.dim() == 2
    negative = node[batch.negative[present] if own else batch.negative]
    part = Batch(batch.user[present], node[batch.positive[present]], negative.clamp(min=0))
    positive, scores = pair_scores(embeddings, part)
    left_out = (negative < 0).expand_as(scores)
    return positive, scores, left_out if batch.known is None else left_out | batch.known[present]


def modality_weights(graph: HeteroData, weights: dict[str, float] | None) -> dict[str, float]:
    """Returns the weights of the modalities with a positive one, rescaled to sum to one.

    Raises:
        ConfigError: If a modality is not in the graph, or none is left.
    """
    known = item_modalities(graph)
    if weights is None:
        weights = PAPER_WEIGHTS if set(known) == set(PAPER_WEIGHTS) else dict.fromkeys(known, 1.0)
    used = {name: weight for name, weight in weights.items() if weight > 0}
    for name in used:
        if name not in known:
            raise ConfigError(unknown_name(name, known, kind="modality"))
    if not used:
        raise ConfigError(f"expected a positive weight for at least one of {known}, got {weights}")
    total = sum(used.values())
    return {name: weight / total for name, weight in used.items()}


def weighted_item_edges(graph: HeteroData, weights: dict[str, float]) -> dict[str, WeightedEdges]:
    """Returns every modality's kNN edges, neighbour to item, with normalised weights times the modality's own."""
    num_items = int(graph["item"].num_nodes)
    edges = {}
    for name, weight in weights.items():
        edge_index, edge_weight = item_operator(graph, name)
        edges[name] = edge_index, weight * row_norm(edge_index, num_items, edge_weight)
    return edges


def _operator(edges: Iterable[WeightedEdges], num_items: int) -> SparseOperator:
    """Returns the sum of weighted graphs as one operator between items."""
    index, weight = zip(*edges, strict=True)
    return SparseOperator(torch.cat(index, dim=1), torch.cat(weight), num_sources=num_items, num_targets=num_items)


def _node_of_item(item_id: Tensor, num_items: int) -> Tensor:
    """Returns the modality node of every item, -1 for none ``(num_items,)``."""
    node = torch.full((num_items,), -1)
    node[item_id] = torch.arange(len(item_id))
    return node
