"""HeteroLightGCN, the flagship: users, items and every modality in one graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from graphrec.config import Config, ConfigError, Search, unknown_name
from graphrec.graph.behavior import interaction_matrix
from graphrec.graph.build import CO_CONSUMED, INTERACTS, item_operator, item_relations
from graphrec.graph.homophily import homophily
from graphrec.graph.neighbors import user_modalities
from graphrec.graph.transforms import both_ways, row_norm, symmetric_norm
from graphrec.models.base import Batch, Embeddings, InnerProduct, ModelConfig, Part, Recommender
from graphrec.models.linear_channel import LinearConfig, Sum, linear_channel
from graphrec.models.pairwise import (
    PrunedInteractions,
    batch_l2,
    embedding_table,
    interactions_of,
    pair_scores,
)
from graphrec.nn.geometry import alignment, uniformity
from graphrec.nn.losses import info_nce
from graphrec.nn.modality import ModalityOutput, ModalityRelation
from graphrec.nn.objective import Objective
from graphrec.nn.propagation import light_gcn
from graphrec.nn.sparse import SparseOperator
from graphrec.runtime import generator, logger

log = logger(__name__)
BEHAVIOR, LINEAR = "behavior", "linear"
COUPLING, L2 = 0.1, 0.3
ALIGNED, ALIGNED_LISTS = 0.03, 0.003
NEAR_BEST = 0.5  # of what the relation that knows most of behaviour knows
LEFT_OUT = "%s takes no part: its neighbours are only %.2f times as alike in behaviour as by chance (needed: %.2f); "
LEFT_OUT += "name it in model.relations to have it take part"
SAMPLE = 1_000  # items whose views are measured while training


class Alignment(Config):
    """Cross-modal contrastive alignment of the items of a batch."""

    weight: Annotated[float | None, Field(ge=0), Search(1e-4, 0.1, log=True)] = None
    """By default 0.03 where every modality that takes part has vectors, and 0.003 where one is given as lists."""
    temperature: Annotated[float, Field(gt=0), Search(0.05, 1.0, log=True)] = 0.5
    sample: Annotated[int, Field(ge=2), Search(choices=(256, 512, 1024))] = 512
    """Positives of a batch whose items are aligned: the cost of InfoNCE grows with the square."""
    pairs: tuple[tuple[str, str], ...] | None = None
    """Pairs of views, each a modality or ``behavior``; every pair by default."""


class HeteroLightGCNConfig(ModelConfig):
    """Hyper-parameters of HeteroLightGCN; every relation and loss weight can be switched off."""

    embedding_dim: Annotated[int, Field(ge=1), Search(choices=(64, 128))] = 64
    num_layers: Annotated[int, Field(ge=0), Search(choices=(1, 2, 3))] = 3
    """User–item layers."""
    relations: tuple[str, ...] | None = None
    """The modalities, ``co_consumed`` and matches such as ``image_matches_text`` that take part; by default those in
    the graph that know something of behaviour (``min_homophily``), none for LightGCN."""
    min_homophily: Annotated[float, Field(ge=0)] = 1.5
    """Where ``relations`` are not given, one takes part if its neighbours are so many times as alike in behaviour, in
    training, as two items at random (:func:`~graphrec.graph.homophily.homophily`); 0 for all. Noise has 1. On TikTok
    (1.2 and 1.4) content in propagation and alignment costs a sixth of the Recall; elsewhere there is 1.6 to 8.6. A
    modality also needs half of the best one's excess over 1: on LFm2k two weaker ones beside the text cost .016 of
    Recall@20 once all are aligned."""
    user_relations: tuple[str, ...] | None = ()
    """The user modalities, such as ``user_text``, that take part, with the edges of ``graph.user_neighbors``; null for
    all in the graph. None by default: on MovieLens 100K age and occupation cost warm users accuracy on validation
    (Recall@20 .351 without, .320 with)."""
    coupling: dict[str, float] = Field(default_factory=dict)
    """Initial coupling by relation. By default 1 for ``interacts``, 0.1 for a relation with vectors, and for one that
    is given as lists, where neighbours are all there is, 0.1 for every unit of its homophily above 1, at most 1."""
    learn_coupling: bool = False
    """Whether the couplings are trained. On validation they grew until content drowned behaviour, so it is off."""
    symmetric: bool = True
    """Whether a modality's kNN edges lead both ways: an item then also hears from those in whose lists it stands."""
    edge_keep: Annotated[float, Field(gt=0, le=1), Search(choices=(0.2, 0.5, 1.0))] = 1.0
    """The share of user–item edges that degree-sensitive pruning keeps in an epoch."""
    objective: Objective = Objective()
    alignment: Alignment = Alignment()
    linear: LinearConfig = LinearConfig()
    """The linear channel beside the graph; it takes part in scores, not in training."""
    l2: Annotated[float | None, Field(ge=0), Search(1e-4, 1e-1, log=True)] = None
    """By default ``0.3 / d ** 1.5``, with ``d`` training interactions of a user on average: every pair pulls at its
    user once more. Through what was best by hand on validation: .02 and .03 at 6 interactions, .0015 at 24."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds the pruning, together with the epoch."""


class HeteroLightGCN(Recommender):
    r"""LightGCN propagation over the heterogeneous graph, beside a linear item–item channel.

    .. math:: \mathbf{E}_U, \mathbf{E}_I = \mathrm{LightGCN}(\mathbf{A}, c_0), \qquad
              \mathbf{H}_I = \mathbf{E}_I + \sum_m c_m \mathbf{S}_m (\mathbf{X}_m\mathbf{W}_m + \mathbf{E}^{(0)}_I),
              \qquad s_{ui} = \mathbf{e}_u \cdot \mathbf{h}_i + \ell_{ui}

    with couplings :math:`c`, learnable by option, and the scores :math:`\ell` of a :class:`LinearChannel` of solved
    weights between items. The graph is trained alone, and the channel joins it in every score, those of validation too.
    Trained on top of the channel it would fill its gaps in the training pairs: level on Amazon-Baby and LFm2k, .006 of
    Recall@20 less on TikTok, and slower. Without the channel and with edges one way it is `LightGCN
    <https://arxiv.org/abs/2002.02126>`_ where no modality takes part, and `FREEDOM
    <https://arxiv.org/abs/2211.06924>`_ with vector-less relations, fixed coupling and no alignment.

    The alignment is InfoNCE between every pair of views of an item: its behaviour (LightGCN's read-out) and each
    modality it has. User modalities enter the users' read-out in the form of the items'. An item or user without
    training interactions gets no ID input: it is scored from its content alone.

    Vectors imputed for a missing modality send and receive messages like others, and a learned token its own item's;
    neither is aligned or counts as content, since it is no evidence of the item.
    """

    config_class = HeteroLightGCNConfig
    results_version = 6
    warm: Tensor | None
    warm_user: Tensor | None

    def __init__(self, graph: HeteroData, config: HeteroLightGCNConfig) -> None:
        super().__init__(graph, config)
        self.config = config
        self.l2 = _l2(graph) if config.l2 is None else config.l2
        (names, strengths), people = _relations(graph, config), _people(graph, config)
        self.user_embedding = embedding_table(self.num_users, config.embedding_dim)
        self.item_embedding = embedding_table(self.num_items, config.embedding_dim)
        edges = interactions_of(graph)
        self.interactions = PrunedInteractions(
            edges, self.num_users, self.num_items, keep=config.edge_keep, seed=config.seed
        )
        self.modalities = nn.ModuleDict({name: _modality(graph, name, config) for name in names})
        self.people = nn.ModuleDict({name: _user_modality(graph, name, config) for name in people})
        self.linear = linear_channel(graph, config.linear)
        self.coupling = _couplings((*names, *people), config, strengths)
        self.alignment = _alignment(graph, names, config.alignment)
        pairs = _pairs(names, config.alignment)
        self.pairs = pairs if self.alignment else ()
        self.register_buffer("warm", _warm(edges[1], self.modalities, self.num_items), persistent=False)
        self.register_buffer("warm_user", _warm(edges[0], self.people, self.num_users), persistent=False)

    def settle(self, validate: Callable[[], Tensor]) -> bool:
        """Chooses the weight of the linear channel on validation, where none is given; at 0 there is none any more."""
        if self.linear is None:
            return False
        changed = self.linear.settle(validate)
        if not self.linear.weight:
            self.linear = None
        return changed

    def resolved(self) -> dict[str, Any]:
        """Returns the options that look at the data where they are not given, as they came out."""
        found = {"relations": [*self.modalities], "user_relations": [*self.people], "l2": self.l2}
        found["alignment"] = {"weight": self.alignment}
        return found | {"linear": {"weight": 0.0} if self.linear is None else self.linear.resolved()}

    def refresh(self, epoch: int) -> None:
        """Samples the user–item edges of the epoch."""
        self.interactions.refresh(epoch)

    def embed(self) -> Embeddings:
        """Returns the fused embeddings on the whole graph; the linear channel is not in them."""
        return self._propagate(self.interactions.full)[0]

    def score(self, users: Tensor) -> Tensor:
        """Returns the scores of all items by graph and linear channel ``(len(users), num_items)``."""
        return self.frozen().score(users)

    def frozen(self) -> Part:
        """Returns what scores like the model as it is now, propagated once."""
        graph = InnerProduct(self.embed())
        return graph if self.linear is None else Sum(graph, self.linear)

    def parts(self) -> dict[str, Part]:
        """Returns what every relation brings to the score; exact, since propagation is linear.

        An item's embedding is split by the relation that it comes from, and each part meets the users as they are; a
        user's embedding likewise. What the user–item layers bring is ``behavior``; the linear channel is a part of its
        own, ``linear``.
        """
        user, item = self._warm_tables()
        met, behavior = self._met(self.interactions.full, user, item)
        items, users = self._fused(self._outputs(item)), self._taste(user)
        whole = _sum(behavior, list(items.values()))
        found = {BEHAVIOR: Embeddings(met, behavior)}
        found |= {name: Embeddings(met, part) for name, part in items.items()}
        found |= {name: Embeddings(part, whole) for name, part in users.items()}
        parts: dict[str, Part] = {name: InnerProduct(part) for name, part in found.items()}
        return parts if self.linear is None else parts | {LINEAR: self.linear}

    def diagnostics(self) -> dict[str, float]:
        """Returns couplings, and how the views of the items lie, on a seeded sample of items.

        ``coupling/<relation>``, ``alignment/<relation>`` with the behaviour view of the same items, and
        ``uniformity/<view>``; a view that too few items have is left out, and so are items that it says nothing of.
        """
        with torch.no_grad():
            views = self._propagate(self.interactions.full)[1]
        values = {f"coupling/{name}": coupling.item() for name, coupling in self.coupling.items()}
        usable = {name: self._present(name) & view.any(dim=-1) for name, view in views.items()}
        for name, view in views.items():
            rows, both = self._sample(usable[name]), self._sample(usable[name] & usable[BEHAVIOR])
            if len(rows) > 1:
                values[f"uniformity/{name}"] = uniformity(view[rows]).item()
            if len(both) and name != BEHAVIOR:
                values[f"alignment/{name}"] = alignment(view[both], views[BEHAVIOR][both]).item()
        return values

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the ranking loss, one ``alignment_<view>_<view>`` term per pair of views, and ``l2``."""
        embeddings, views = self._propagate(self.interactions.pruned)
        positive, negative = pair_scores(embeddings, batch)
        terms = self.config.objective(positive, negative, batch.known)
        items = batch.positive[: self.config.alignment.sample].unique()
        for first, second in self.pairs:
            terms[f"alignment_{first}_{second}"] = self.alignment * self._align(items, (first, second), views)
        if self.l2:
            tables = Embeddings(self.user_embedding, self.item_embedding)
            terms["l2"] = self.l2 * batch_l2(tables, batch)
        return terms

    def _propagate(self, interactions: SparseOperator) -> tuple[Embeddings, dict[str, Tensor]]:
        user, item = self._warm_tables()
        outputs = self._outputs(item)
        fused, taste = list(self._fused(outputs).values()), list(self._taste(user).values())
        met, behavior = self._met(interactions, user, item)
        views = {name: output.view for name, output in outputs.items()} | {BEHAVIOR: behavior}
        return Embeddings(_sum(met, taste), _sum(behavior, fused)), views

    def _warm_tables(self) -> tuple[Tensor, Tensor]:
        """Returns the embeddings of users and items, zero for those scored from content alone."""
        user = self.user_embedding if self.warm_user is None else self.user_embedding * self.warm_user
        return user, self.item_embedding if self.warm is None else self.item_embedding * self.warm

    def _outputs(self, item: Tensor) -> dict[str, ModalityOutput]:
        return {name: relation(item) for name, relation in self.modalities.items()}

    def _fused(self, outputs: Mapping[str, ModalityOutput]) -> dict[str, Tensor]:
        """Returns what every relation between items gives them ``(num_items, dim)``."""
        return {name: self.coupling[name] * output.message for name, output in outputs.items()}

    def _taste(self, user: Tensor) -> dict[str, Tensor]:
        """Returns what every user modality gives the users ``(num_users, dim)``."""
        return {name: self.coupling[name] * relation(user).message for name, relation in self.people.items()}

    def _met(self, interactions: SparseOperator, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the read-outs of the user–item layers."""
        return light_gcn(interactions, user, item, self.config.num_layers, self.coupling["interacts"])

    def _present(self, view: str) -> Tensor:
        """Returns which items have a view: the modality, or training interactions ``(num_items,)``."""
        if view != BEHAVIOR:
            return cast(ModalityRelation, self.modalities[view]).present
        return torch.bincount(self.interactions.full.col, minlength=self.num_items) > 0

    def _sample(self, usable: Tensor) -> Tensor:
        """Returns the rows of at most ``SAMPLE`` usable items, the same in every epoch."""
        rows = usable.nonzero().flatten()
        order = torch.randperm(len(rows), generator=generator(self.config.seed))[:SAMPLE]
        return rows[order.to(rows.device)]

    def _align(self, items: Tensor, names: tuple[str, str], views: dict[str, Tensor]) -> Tensor:
        """Aligns two views over the items that have both."""
        for name in names:
            if name != BEHAVIOR:
                items = items[self._present(name)[items]]
        first, second = (views[name].index_select(0, items) for name in names)
        return info_nce(first, second, self.config.alignment.temperature)


def _sum(base: Tensor, messages: list[Tensor]) -> Tensor:
    for message in messages:
        base = base + message
    return base


def _relations(graph: HeteroData, config: HeteroLightGCNConfig) -> tuple[tuple[str, ...], dict[str, float]]:
    """Returns the relations between items that take part, and how strongly by default."""
    known = item_relations(graph)
    _check_names(config.relations or (), known)
    _check_names(config.coupling, ("interacts", *known, *user_modalities(graph)))
    seen = interaction_matrix(graph)
    names = known if config.relations is None else config.relations
    likeness = {name: homophily(item_operator(graph, name)[0], seen) for name in names}
    if config.relations is None and config.min_homophily:
        needed = dict.fromkeys(names, config.min_homophily)
        modalities = [name for name in names if name in graph.node_types]  # not co_consumed, which is behaviour
        half = 1 + NEAR_BEST * (max((likeness[name] for name in modalities), default=1.0) - 1)
        needed |= {name: max(config.min_homophily, half) for name in modalities}
        for name in names:
            if likeness[name] < needed[name]:
                log.info(LEFT_OUT, name, likeness[name], needed[name])
        names = tuple(name for name in names if likeness[name] >= needed[name])
    lists = [name for name in names if name in graph.node_types and "x" not in graph[name]]
    return tuple(names), {name: min(COUPLING * max(likeness[name] - 1, 0.0), 1.0) for name in lists}


def _people(graph: HeteroData, config: HeteroLightGCNConfig) -> tuple[str, ...]:
    """Returns the user modalities that take part."""
    known = user_modalities(graph)
    _check_names(config.user_relations or (), known)
    return known if config.user_relations is None else config.user_relations


def _check_names(names: Iterable[str], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(unknown_name(name, known, kind="relation"))


def _modality(graph: HeteroData, name: str, config: HeteroLightGCNConfig) -> ModalityRelation:
    (edge_index, weight), size = item_operator(graph, name), int(graph["item"].num_nodes)
    nodes = graph[name] if name in graph.node_types else {"item_id": edge_index[1].unique()}  # who has a list
    if config.symmetric and name in graph.node_types:
        edge_index, weight = both_ways(edge_index, weight)
    if name in graph.node_types or name == CO_CONSUMED[1]:
        value = row_norm(edge_index, size, weight)
    else:  # of matches, an item with a picture alone sends and has no list, which would weigh nothing in row_norm
        value = symmetric_norm(edge_index, size, size, weight)
    return _relation(edge_index, value, nodes, nodes["item_id"], size, config)


def _user_modality(graph: HeteroData, name: str, config: HeteroLightGCNConfig) -> ModalityRelation:
    if (name, "similar", name) not in graph.edge_types:
        raise ConfigError(f"expected kNN edges of {name!r} in the graph, got none; set graph.user_neighbors, as in 10")
    nodes, edges = graph[name], graph[name, "similar", name]
    edge_index, size = nodes.user_id[edges.edge_index], int(graph["user"].num_nodes)
    value = row_norm(edge_index, size, edges.get("edge_weight"))
    return _relation(edge_index, value, nodes, nodes.user_id, size, config)


def _relation(
    edge_index: Tensor,
    weight: Tensor,
    nodes: Mapping[str, Any],
    node_id: Tensor,
    size: int,
    config: HeteroLightGCNConfig,
) -> ModalityRelation:
    return ModalityRelation(
        edge_index,
        weight,
        node_id,
        nodes.get("x", None),
        num_items=size,
        dim=config.embedding_dim,
        missing=nodes.get("missing", None),
        token=nodes.get("token", None),
    )


def _couplings(
    names: tuple[str, ...], config: HeteroLightGCNConfig, strengths: Mapping[str, float]
) -> nn.ParameterDict:
    start = {"interacts": 1.0} | dict.fromkeys(names, COUPLING) | dict(strengths) | config.coupling
    used = ("interacts", *names)
    return nn.ParameterDict(
        {name: nn.Parameter(torch.tensor(start[name]), requires_grad=config.learn_coupling) for name in used}
    )


def _l2(graph: HeteroData) -> float:
    """Returns the weight of L2 where none is given."""
    user = graph[INTERACTS].edge_index[0]
    degree = len(user) / max(len(user.unique()), 1)
    return float(L2 / degree**1.5) if degree else 0.0


def _pairs(names: tuple[str, ...], alignment: Alignment) -> tuple[tuple[str, str], ...]:
    views = (BEHAVIOR, *names)
    pairs = tuple(combinations(views, 2)) if alignment.pairs is None else alignment.pairs
    for view in (view for pair in pairs for view in pair):
        if view not in views:
            raise ConfigError(unknown_name(view, views, kind="view"))
    return pairs


def _alignment(graph: HeteroData, names: tuple[str, ...], alignment: Alignment) -> float:
    """Returns the weight of the alignment."""
    if alignment.weight is not None:
        return alignment.weight
    return ALIGNED_LISTS if any(name in graph.node_types and "x" not in graph[name] for name in names) else ALIGNED


def _warm(rows: Tensor, modalities: nn.ModuleDict, size: int) -> Tensor | None:
    """Returns 0 for items (users) scored from content alone and 1 for the others ``(size, 1)``; None if all are 1."""
    cold = torch.bincount(rows, minlength=size) == 0
    has_content = torch.zeros(size, dtype=torch.bool)
    for relation in modalities.values():
        has_content |= cast(ModalityRelation, relation).present
    cold &= has_content
    return (~cold).float().unsqueeze(-1) if cold.any() else None
