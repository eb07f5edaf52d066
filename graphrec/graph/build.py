"""One heterogeneous graph from training interactions and item content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

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
from graphrec.graph.neighbors import item_modalities, knn_graph

INTERACTS = ("user", "interacts", "item")
CO_CONSUMED = ("item", "co_consumed", "item")
CO_USER = ("user", "co_user", "user")


class GraphConfig(Config):
    """How the graph is built."""

    modalities: tuple[str, ...] | None = None
    """The item modalities to use; all by default."""

    neighbors: Annotated[int, Field(ge=1), Search(choices=(5, 10, 20))] = 10
    """The length k of the kNN lists made from vectors; given kNN graphs are taken as they are."""

    metric: Literal["cosine", "dot", "euclidean"] = "cosine"

    co_consumed: Annotated[int, Field(ge=1), Search(choices=(5, 10, 20))] | None = None
    """Items each item is connected to by shared users, weighted by cosine; not built by default."""

    co_user: Annotated[int, Field(ge=1), Search(choices=(5, 10, 20))] | None = None
    """Users each user is connected to by shared items, weighted by cosine; not built by default."""


def build_graph(
    data: Dataset,
    config: GraphConfig | None = None,
    features: Mapping[str, FeatureTable] | None = None,
) -> HeteroData:
    """Builds the heterogeneous graph of the training interactions.

    Node types: ``user``, ``item`` and one per modality. Modality nodes are compact: only items that have the modality
    have one, and ``graph[modality].item_id`` maps nodes to item rows. User vectors become nodes such as ``user_text``
    likewise, with ``user_id``; no model here reads them yet. Edge types, each with its reverse:
    ``(user, interacts, item)``, ``(item, has_<modality>, <modality>)`` and the directed kNN edges
    ``(<modality>, similar, <modality>)``, neighbour to node. On demand, behaviour edges ``(item, co_consumed, item)``
    and ``(user, co_user, user)``, likewise directed.

    Args:
        data: The data set; only its training interactions become edges.
        config: How to build.
        features: Feature tables by modality; made from ``data`` by default.

    Raises:
        ValueError: If a modality is unknown or has fewer items than neighbours.
    """
    config = config or GraphConfig()
    tables = dict(feature_tables(data) if features is None else features)
    graph = HeteroData()
    _add_interactions(graph, data)
    for modality in _chosen(config, {*tables, *data.neighbors}):
        _add_modality(graph, modality, tables.get(modality), data.neighbors.get(modality), config)
    for modality, table in user_feature_tables(data).items():
        _add_user_modality(graph, modality, table, config)
    _add_behavior(graph, config)
    graph.validate(raise_on_error=True)
    return graph


def item_relations(graph: HeteroData) -> tuple[str, ...]:
    """Returns what connects items with items: the modalities, sorted, and ``co_consumed`` where it was built."""
    behavior = (CO_CONSUMED[1],) if CO_CONSUMED in graph.edge_types else ()
    return (*item_modalities(graph), *behavior)


def item_operator(graph: HeteroData, relation: str) -> tuple[Tensor, Tensor | None]:
    """Returns the edges between items of a relation; composes item → modality → similar modality → item into one.

    Three separate hops would be out of reach of two layers.

    Returns:
        The edges ``(2, num_edges)`` in item rows, neighbour to item, and their weights where there are some.
    """
    store = graph[CO_CONSUMED if relation == CO_CONSUMED[1] else (relation, "similar", relation)]
    edge_index = store.edge_index if relation == CO_CONSUMED[1] else graph[relation].item_id[store.edge_index]
    return edge_index, store.edge_weight if "edge_weight" in store else None


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


def _add_modality(
    graph: HeteroData,
    modality: str,
    table: FeatureTable | None,
    neighbors: sp.csr_array | None,
    config: GraphConfig,
) -> None:
    has_edges = np.zeros(graph["item"].num_nodes, bool) if neighbors is None else _touched(neighbors)
    rows = np.flatnonzero(has_edges if table is None else table.mask)
    graph[modality].item_id = torch.from_numpy(rows)
    graph[modality].num_nodes = len(rows)
    if table is not None:
        graph[modality].x = torch.from_numpy(table.values)
    nodes = torch.arange(len(rows))
    _add_edges(graph, ("item", f"has_{modality}", modality), torch.stack([torch.from_numpy(rows), nodes]))
    similar, weight = _similar(modality, table, neighbors, rows, config)
    _add_edges(graph, (modality, "similar", modality), similar, weight)


def _add_user_modality(graph: HeteroData, modality: str, table: FeatureTable, config: GraphConfig) -> None:
    """Adds what users are, such as ``user_text``: nodes with ``user_id`` instead of ``item_id``."""
    rows = torch.from_numpy(table.rows)
    graph[modality].user_id, graph[modality].x = rows, torch.from_numpy(table.values)
    graph[modality].num_nodes = len(rows)
    _add_edges(graph, ("user", f"has_{modality}", modality), torch.stack([rows, torch.arange(len(rows))]))
    similar, weight = _similar(modality, table, None, table.rows, config)
    _add_edges(graph, (modality, "similar", modality), similar, weight)


def _add_behavior(graph: HeteroData, config: GraphConfig) -> None:
    for edge_type, k in ((CO_CONSUMED, config.co_consumed), (CO_USER, config.co_user)):
        if k is not None:
            target: Target = "item" if edge_type is CO_CONSUMED else "user"
            edge_index, weight = co_occurrence(interaction_matrix(graph), k, target=target)
            _add_edges(graph, edge_type, edge_index, weight.float())


def _similar(
    modality: str,
    table: FeatureTable | None,
    neighbors: sp.csr_array | None,
    rows: np.ndarray,
    config: GraphConfig,
) -> tuple[Tensor, Tensor | None]:
    if neighbors is not None:
        matrix = neighbors[rows][:, rows].tocoo()
        edge_index = torch.from_numpy(np.stack([matrix.col, matrix.row]).astype(np.int64))
        equal = len(matrix.data) == 0 or (matrix.data == matrix.data[0]).all()
        return edge_index, None if equal else torch.from_numpy(matrix.data.astype(np.float32))
    if table is None or len(rows) <= config.neighbors:
        message = f"expected more than {config.neighbors} nodes of modality {modality!r}, got {len(rows)}"
        raise ValueError(
            f"{message}; lower graph.neighbors, in Python fit(..., graph={{'neighbors': {max(1, len(rows) - 1)}}}) "
            f"or GraphConfig(neighbors={max(1, len(rows) - 1)}), or leave the modality out"
        )
    edge_index, _ = knn_graph(torch.from_numpy(table.values), config.neighbors, metric=config.metric)
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
