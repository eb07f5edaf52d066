"""What a graph knows of the modalities of its items, as feature tables and masks over all item rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch_geometric.data import HeteroData

from graphrec.data.interactions import Ids
from graphrec.features.table import FeatureTable
from graphrec.graph.neighbors import flagged_nodes, item_modalities


def modality_masks(graph: HeteroData) -> dict[str, NDArray[np.bool_]]:
    """Returns which items have a modality ``(num_items,)``, by name; what was imputed counts as missing."""
    masks = {}
    for name in item_modalities(graph):
        masks[name] = np.zeros(int(graph["item"].num_nodes), dtype=bool)
        masks[name][_present(graph, name)[0]] = True
    return masks


def feature_tables(graph: HeteroData, items: Ids) -> dict[str, FeatureTable]:
    """Returns the vectors of every modality that has some, by name; imputed ones are left out.

    Args:
        graph: The training graph.
        items: The ids of its items.
    """
    return {name: _table(graph, name, items) for name in item_modalities(graph) if "x" in graph[name]}


def _table(graph: HeteroData, modality: str, items: Ids) -> FeatureTable:
    rows, present = _present(graph, modality)
    order = np.argsort(rows)
    values = graph[modality].x.detach().cpu().numpy()[present][order]
    return FeatureTable(items, rows[order], np.ascontiguousarray(values, dtype=np.float32))


def _present(graph: HeteroData, modality: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Returns the items of the nodes that stand for something real, and which nodes those are."""
    present = ~flagged_nodes(graph, modality).cpu().numpy()
    return graph[modality].item_id.cpu().numpy()[present], present
