"""The heterogeneous graph inside a run folder: safetensors for its tensors, JSON for its types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphrec.data.files import write_bytes, write_json
from graphrec.runs.files import RunFolderError, read_json, share

TENSORS, TYPES = "graph.safetensors", "graph.json"
REVERSE = "rev_"
SEPARATOR = "/"
INT32_MAX = 2**31 - 1


def save_graph(folder: Path, graph: HeteroData) -> None:
    """Writes the graph; reverse edges are left out and row numbers are narrowed to int32 where they fit."""
    from safetensors.torch import save

    nodes = {name: int(graph[name].num_nodes) for name in graph.node_types}
    edges = [edge for edge in graph.edge_types if not _is_reverse(edge, graph)]
    tensors = {
        f"node{SEPARATOR}{name}{SEPARATOR}{key}": value for name in nodes for key, value in _tensors(graph[name])
    }
    for number, edge in enumerate(edges):
        tensors |= {f"edge{SEPARATOR}{number}{SEPARATOR}{key}": value for key, value in _tensors(graph[edge])}
    narrow = [name for name, value in tensors.items() if _fits(value)]
    plain = {name: _plain(value.int() if name in narrow else value) for name, value in tensors.items()}
    write_bytes(folder / TENSORS, save(plain))
    write_json(folder / TYPES, {"nodes": nodes, "edges": [list(edge) for edge in edges], "narrowed": narrow})


def share_graph(source: Path, target: Path) -> None:
    """Makes ``target`` hold the same graph files as ``source``, as links where the disk allows it."""
    for name in (TENSORS, TYPES):
        share(source / name, target / name)


def load_graph(folder: Path) -> HeteroData:
    """Reads what ``save_graph`` wrote, and adds the reverse edges.

    Raises:
        RunFolderError: If a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    types = read_json(folder / TYPES)
    try:
        tensors = load_file(folder / TENSORS)
        return _assemble(types, {name: _widened(value, name in types["narrowed"]) for name, value in tensors.items()})
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise RunFolderError(f"cannot read the graph in {folder}: {error}") from error


def _assemble(types: dict[str, Any], tensors: dict[str, Tensor]) -> HeteroData:
    graph = HeteroData()
    edges = [tuple(edge) for edge in types["edges"]]
    for name, size in types["nodes"].items():
        graph[name].num_nodes = size
    for name, value in tensors.items():
        part, _, rest = name.partition(SEPARATOR)
        owner, _, key = rest.rpartition(SEPARATOR)
        graph[owner if part == "node" else edges[int(owner)]][key] = value
    for source, relation, target in edges:
        store, reverse = graph[source, relation, target], graph[target, f"{REVERSE}{relation}", source]
        reverse.edge_index = store.edge_index.flip(0).contiguous()
        if "edge_weight" in store:
            reverse.edge_weight = store.edge_weight
    graph.validate(raise_on_error=True)
    return graph


def _is_reverse(edge: tuple[str, str, str], graph: HeteroData) -> bool:
    source, relation, target = edge
    return relation.startswith(REVERSE) and (target, relation.removeprefix(REVERSE), source) in graph.edge_types


def _tensors(store: Any) -> list[tuple[str, Tensor]]:
    return [(key, value) for key, value in store.items() if isinstance(value, Tensor)]


def _fits(value: Tensor) -> bool:
    return value.dtype == torch.int64 and (value.numel() == 0 or bool(value.abs().max() <= INT32_MAX))


def _plain(value: Tensor) -> Tensor:
    return value.detach().cpu().contiguous().clone()


def _widened(value: Tensor, narrowed: bool) -> Tensor:
    return value.long() if narrowed else value
