"""One heterogeneous graph from training interactions and item content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import Field
from torch import Tensor
from torch_geometric.data import HeteroData

from graphrec.config import Config, Search, unknown_name
from graphrec.data.dataset import Dataset
from graphrec.features.table import FeatureTable
from graphrec.features.tables import feature_tables, user_feature_tables
from graphrec.graph.behavior import Target, co_occurrence, interaction_matrix
from graphrec.graph.imputation import CONSTANT, Imputed, Policy, impute, policy_of
from graphrec.graph.matches import MATCHES, EdgeType, match_edges
from graphrec.graph.neighbors import Metric, flagged_nodes, item_modalities, similar_nodes
from graphrec.runtime import logger

log = logger(__name__)

INTERACTS = ("user", "interacts", "item")
CO_CONSUMED = ("item", "co_consumed", "item")
CO_USER = ("user", "co_user", "user")


class GraphConfig(Config):
    """How the graph is built."""

    modalities: tuple[str, ...] | None = None
    """The item modalities to use; all by default."""

    neighbors: Annotated[int, Field(ge=1), Search(choices=(5, 10, 20))] = 10
    """The length k of the kNN lists made from vectors, shorter where a modality has fewer nodes; given kNN graphs are
    taken as they are."""

    metric: Metric = "cosine"

    co_consumed: Annotated[int, Field(ge=1), Search(choices=(5, 10, 20))] | None = None
    """Items each item is connected to by shared users, weighted by cosine; not built by default."""

    missing: Policy | dict[str, Policy] = "absent"
    """What stands for an item's missing vector, for all item modalities or by modality: ``absent`` (no node), ``drop``
    (the item leaves training, where it can only be a negative: see ``drop_incomplete``), ``zero``, ``mean``,
    ``token`` (learned), ``neighbors`` (mean over items that share users) or ``propagate`` (feature propagation over
    them)."""

    missing_neighbors: Annotated[int, Field(ge=1), Search(choices=(5, 10, 20))] = 10
    """Items that ``neighbors`` and ``propagate`` connect each item to, by shared users."""

    missing_layers: Annotated[int, Field(ge=1), Search(choices=(2, 5, 10, 20))] = 10
    """Steps of ``propagate``."""

    matches: Annotated[int, Field(ge=1), Search(choices=(5, 10, 20))] | None = None
    """Nodes of other modalities in the same vector space (image and text by one CLIP) that each is connected to, by
    cosine; not built by default."""

    match_own: bool = False
    """Whether a node may match the other modality's node of its own item."""

    user_neighbors: Annotated[int, Field(ge=1), Search(choices=(5, 10, 20))] | None = None
    """The length of the kNN lists of user modalities; not built by default, since their cost grows with the square."""

    co_user: Annotated[int, Field(ge=1), Search(choices=(5, 10, 20))] | None = None
    """Users each user is connected to by shared items, weighted by cosine; not built by default."""


def build_graph(
    data: Dataset,
    config: GraphConfig | None = None,
    features: Mapping[str, FeatureTable] | None = None,
    user_features: Mapping[str, FeatureTable] | None = None,
) -> HeteroData:
    """Builds the heterogeneous graph of the training interactions.

    Node types: ``user``, ``item`` and one per modality. Modality nodes are compact: only items that have the modality
    have one, and ``graph[modality].item_id`` maps nodes to item rows. User vectors become nodes such as ``user_text``
    likewise, with ``user_id``, and kNN edges on demand. Edge types, each with its reverse:
    ``(user, interacts, item)``, ``(item, has_<modality>, <modality>)`` and the directed kNN edges
    ``(<modality>, similar, <modality>)``, neighbour to node. On demand, behaviour edges ``(item, co_consumed, item)``
    and ``(user, co_user, user)``, likewise directed, and ``(image, matches, text)`` with ``(text, matches, image)``
    between modalities in one vector space: see ``match_edges``.

    Where ``config.missing`` gives items a node that lack a vector, ``graph[modality].missing`` tells which nodes these
    are, ``constant`` those that were all given one vector (zero, mean, token), and ``token`` those whose vector a model
    is to learn. Zeros and tokens have no ``similar`` edges, and means are nobody's neighbours, since they would tie.

    Args:
        data: The data set; only its training interactions become edges.
        config: How to build.
        features: Feature tables by modality; made from ``data`` by default.
        user_features: The same about users, by names such as ``user_text``; the given vectors by default.

    Raises:
        ConfigError: If matches are wanted and no two modalities share a space.
        ValueError: If a modality is unknown, has no vectors to impute from, or is called like one of the users.
    """
    config = config or GraphConfig()
    tables = dict(feature_tables(data) if features is None else features)
    graph = HeteroData()
    _add_interactions(graph, data)
    chosen = _chosen(config, {*tables, *data.neighbors})
    _check_policies(config, chosen, tables)
    people = user_feature_tables(data) if user_features is None else user_features
    _check_apart(chosen, people)
    for modality in chosen:
        _add_modality(graph, modality, tables.get(modality), data.neighbors.get(modality), config)
    if config.matches is not None:
        spaces = {modality: tables[modality].space for modality in chosen if modality in tables}
        for edge_type, (edge_index, weight) in match_edges(graph, spaces, config.matches, own=config.match_own).items():
            _add_edges(graph, edge_type, edge_index, weight)
    for modality, table in people.items():
        _add_user_modality(graph, modality, table, config)
    _add_behavior(graph, config)
    graph.validate(raise_on_error=True)
    return graph


def drop_incomplete(data: Dataset, config: GraphConfig, features: Mapping[str, FeatureTable] | None = None) -> Dataset:
    """Drops the training interactions of items without a modality whose policy is ``drop``; a note says how many.

    Validation and test stay as they are, so that tables stay comparable. To train on both parts, merge them first.

    Args:
        data: The data set.
        config: The policies and the modalities in use.
        features: Feature tables by modality; made from ``data`` by default.

    Raises:
        ValueError: If a modality is unknown, or no training interaction is left.
    """
    tables = dict(feature_tables(data) if features is None else features)
    for modality in _chosen(config, {*tables, *data.neighbors}):
        if modality in tables and policy_of(config.missing, modality) == "drop":
            data = data.drop_without(modality, tables[modality].rows)
    return data


def item_relations(graph: HeteroData) -> tuple[str, ...]:
    """Returns what connects items with items: the modalities, then ``co_consumed`` and matches where they were built.

    Matches are called by their edge type, such as ``image_matches_text``.
    """
    behavior = (CO_CONSUMED[1],) if CO_CONSUMED in graph.edge_types else ()
    return (*item_modalities(graph), *behavior, *sorted(_matches(graph)))


def item_operator(graph: HeteroData, relation: str) -> tuple[Tensor, Tensor | None]:
    """Returns the edges between items of a relation; composes item → modality → similar modality → item into one.

    Three separate hops would be out of reach of two layers. ``image_matches_text`` leads from an item with an image to
    the items with a text that it is near to.

    Returns:
        The edges ``(2, num_edges)`` in item rows, neighbour to item, and their weights where there are some.
    """
    edge_type = _matches(graph).get(relation, (relation, "similar", relation))
    store = graph[CO_CONSUMED if relation == CO_CONSUMED[1] else edge_type]
    weight = store.edge_weight if "edge_weight" in store else None
    if relation == CO_CONSUMED[1]:
        return store.edge_index, weight
    (source, target), (source_type, _, target_type) = store.edge_index, edge_type
    return torch.stack([graph[source_type].item_id[source], graph[target_type].item_id[target]]), weight


def _matches(graph: HeteroData) -> dict[str, EdgeType]:
    return {"_".join(edge_type): edge_type for edge_type in graph.edge_types if edge_type[1] == MATCHES}


def _chosen(config: GraphConfig, available: set[str]) -> list[str]:
    if config.modalities is None:
        return sorted(available)
    for modality in config.modalities:
        if modality not in available:
            raise ValueError(unknown_name(modality, available, kind="modality"))
    return list(config.modalities)


def _add_interactions(graph: HeteroData, data: Dataset) -> None:
    train = data.split.train
    graph["user"].num_nodes = data.num_users
    graph["item"].num_nodes = data.num_items
    edge_index = torch.from_numpy(np.stack([train.user, train.item]))
    _add_edges(graph, INTERACTS, edge_index, None if train.weight is None else torch.from_numpy(train.weight))
    if train.time is not None and np.issubdtype(train.time.dtype, np.number):
        graph[INTERACTS].time = torch.from_numpy(train.time)


def _check_policies(config: GraphConfig, chosen: list[str], tables: Mapping[str, FeatureTable]) -> None:
    for modality in config.missing if isinstance(config.missing, dict) else ():
        if modality not in chosen:
            raise ValueError(unknown_name(modality, chosen, kind="modality in graph.missing"))
    for modality in chosen:
        policy = policy_of(config.missing, modality)
        if policy == "absent" or modality in tables:
            continue
        if isinstance(config.missing, dict):
            raise ValueError(
                f"expected vectors for graph.missing of {modality!r}, got given neighbours only, from which {policy!r} "
                "makes nothing; leave the modality out of graph.missing"
            )
        log.info("%s has given neighbours and no vectors: graph.missing=%s leaves it as it is", modality, policy)


def _check_apart(items: Iterable[str], users: Iterable[str]) -> None:
    if both := sorted({*items} & {*users}):
        raise ValueError(
            f"expected item modalities called other than those of the users, got {', '.join(both)}; rename one"
        )


def _add_modality(
    graph: HeteroData,
    modality: str,
    table: FeatureTable | None,
    neighbors: sp.csr_array | None,
    config: GraphConfig,
) -> None:
    if table is None:
        rows = np.flatnonzero(_touched(neighbors))
    else:
        nodes = _imputed(graph, modality, table, config)
        rows, graph[modality].x = nodes.rows, torch.from_numpy(nodes.values)
    graph[modality].item_id = torch.from_numpy(rows)
    graph[modality].num_nodes = len(rows)
    if table is not None:
        _add_flags(graph, modality, nodes.missing, policy_of(config.missing, modality))
    item_to_node = torch.stack([torch.from_numpy(rows), torch.arange(len(rows))])
    _add_edges(graph, ("item", f"has_{modality}", modality), item_to_node)
    edge_type = (modality, "similar", modality)
    if neighbors is None:
        _add_edges(graph, edge_type, *_similar(graph, modality, config.neighbors, config.metric))
    else:
        _add_edges(graph, edge_type, *_given(graph, modality, neighbors))


def _imputed(graph: HeteroData, modality: str, table: FeatureTable, config: GraphConfig) -> Imputed:
    policy = policy_of(config.missing, modality)
    if policy == "absent":
        return Imputed(table.rows, table.values, np.zeros(len(table.rows), bool))
    seen = interaction_matrix(graph)
    if policy == "drop":
        _check_dropped(seen, table, modality)
    nodes = impute(table, policy, seen, k=config.missing_neighbors, layers=config.missing_layers)
    made, absent = int(nodes.missing.sum()), len(table.ids) - len(nodes.rows)
    log.info("%s: %d items have vectors, %d by %s, %d stay absent", modality, len(table.rows), made, policy, absent)
    return nodes


def _check_dropped(seen: sp.csr_array, table: FeatureTable, modality: str) -> None:
    left = int(seen[:, np.flatnonzero(~table.mask)].nnz)
    if left:
        raise ValueError(
            f"expected no training interactions with items without {modality!r} under graph.missing=drop, got {left}; "
            "apply graphrec.graph.build.drop_incomplete to the data set first"
        )


def _add_flags(graph: HeteroData, modality: str, missing: np.ndarray, policy: Policy) -> None:
    if not missing.any():
        return
    flags = {"missing": True, "constant": policy in CONSTANT, "token": policy == "token"}
    for flag, applies in flags.items():
        if applies:
            graph[modality][flag] = torch.from_numpy(missing.copy())


def _add_user_modality(graph: HeteroData, modality: str, table: FeatureTable, config: GraphConfig) -> None:
    """Adds what users are, such as ``user_text``: nodes with ``user_id`` instead of ``item_id``."""
    rows = torch.from_numpy(table.rows)
    graph[modality].user_id, graph[modality].x = rows, torch.from_numpy(table.values)
    graph[modality].num_nodes = len(rows)
    _add_edges(graph, ("user", f"has_{modality}", modality), torch.stack([rows, torch.arange(len(rows))]))
    if config.user_neighbors is not None:
        similar = _similar(graph, modality, config.user_neighbors, config.metric)
        _add_edges(graph, (modality, "similar", modality), *similar)


def _add_behavior(graph: HeteroData, config: GraphConfig) -> None:
    for edge_type, k in ((CO_CONSUMED, config.co_consumed), (CO_USER, config.co_user)):
        if k is not None:
            target: Target = "item" if edge_type is CO_CONSUMED else "user"
            edge_index, weight = co_occurrence(interaction_matrix(graph), k, target=target)
            _add_edges(graph, edge_type, edge_index, weight.float())


def _given(graph: HeteroData, modality: str, neighbors: sp.csr_array) -> tuple[Tensor, Tensor | None]:
    """Returns the given kNN graph among the nodes; tokens take no part in it."""
    rows, token = graph[modality].item_id.numpy(), flagged_nodes(graph, modality, "token").numpy()
    matrix = neighbors[rows][:, rows].tocoo()
    kept = ~(token[matrix.row] | token[matrix.col])
    edge_index = torch.from_numpy(np.stack([matrix.col, matrix.row]).astype(np.int64)[:, kept])
    value = matrix.data[kept]
    equal = len(value) == 0 or (value == value[0]).all()
    return edge_index, None if equal else torch.from_numpy(value.astype(np.float32))


def _similar(graph: HeteroData, modality: str, neighbors: int, metric: Metric) -> tuple[Tensor, None]:
    """Returns the kNN graph of a modality's vectors, of items or users."""
    store = graph[modality]
    constant = store.get("constant", None)
    size = len(store.x) - (0 if constant is None else int(constant.sum()))  # nodes that may be neighbours
    if size <= neighbors:
        log.warning("%s has %d nodes: each is connected to all others, not to %d", modality, size, neighbors)
    if size < 2:
        return torch.zeros(2, 0, dtype=torch.int64), None
    edge_index, _ = similar_nodes(store.x, min(neighbors, size - 1), constant=constant, metric=metric)
    return edge_index, None


def _touched(matrix: sp.csr_array) -> np.ndarray:
    touched = np.diff(matrix.indptr) > 0
    touched[matrix.indices] = True
    return touched


def _add_edges(
    graph: HeteroData, edge_type: tuple[str, str, str], edge_index: Tensor, weight: Tensor | None = None
) -> None:
    source, relation, target = edge_type
    reverse = (target, f"rev_{relation}", source)
    for name, edges in ((edge_type, edge_index), (reverse, edge_index.flip(0))):
        graph[name].edge_index = edges.contiguous()
        if weight is not None:
            graph[name].edge_weight = weight
