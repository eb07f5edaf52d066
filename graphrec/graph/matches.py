"""Cross-modal edges between modalities that share a vector space, such as image and text by one CLIP."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from graphrec.config import ConfigError
from graphrec.graph.neighbors import flagged_nodes, knn_between

MATCHES = "matches"
EdgeType = tuple[str, str, str]


def match_edges(
    graph: HeteroData, spaces: Mapping[str, str | None], k: int, *, own: bool = False
) -> dict[EdgeType, tuple[Tensor, Tensor]]:
    """Connects every node of a modality to its ``k`` nearest nodes of each other modality in the same vector space.

    The edges ``(image, matches, text)`` run from image to text: they are the lists of the text nodes, each with its
    nearest images; ``(text, matches, image)`` are the lists of the image nodes. Weights are cosine similarities; what
    is not similar (zero or less) is left out. Nodes with an imputed vector neither choose nor are chosen.

    From `"Learning Transferable Visual Models From Natural Language Supervision" <https://arxiv.org/abs/2103.00020>`_:
    cosine is what CLIP's towers were trained to agree in.

    Args:
        graph: A graph with the modalities' nodes.
        spaces: The name of the vector space by modality, None for one of its own.
        k: Neighbours per node.
        own: Whether a node may match the other modality's node of its own item. They are connected through their item
            already, so it may not by default.

    Returns:
        ``edge_index (2, num_edges)`` and weights ``(num_edges,)`` by edge type, for both directions of every pair.

    Raises:
        ConfigError: If no two modalities share a space.
        ValueError: If a modality has too few nodes, or vectors of one space differ in length.
    """
    pairs = [pair for pair in permutations(sorted(spaces), 2) if _shared(spaces, *pair)]
    if not pairs:
        found = ", ".join(f"{name}: {space or 'its own'}" for name, space in sorted(spaces.items())) or "no vectors"
        raise ConfigError(
            f"expected two item modalities in one vector space for graph.matches, got {found}; encode them with the "
            "image and the text tower of one model, e.g. open_clip, or leave graph.matches out"
        )
    return {(source, MATCHES, target): _matched(graph, source, target, k, own) for source, target in pairs}


def _shared(spaces: Mapping[str, str | None], first: str, second: str) -> bool:
    return spaces[first] is not None and spaces[first] == spaces[second]


def _matched(graph: HeteroData, source: str, target: str, k: int, own: bool) -> tuple[Tensor, Tensor]:
    chosen, choosing = ((~flagged_nodes(graph, name)).nonzero().flatten() for name in (source, target))
    excluded = None if own else _own_pair(graph[source].item_id[chosen], graph[target].item_id[choosing])
    if len(chosen) <= k:
        raise ValueError(f"expected more than {k} nodes of modality {source!r}, got {len(chosen)}; lower graph.matches")
    x, y = graph[source].x[chosen], graph[target].x[choosing]
    (row, column), weight = knn_between(x, y, k, excluded=excluded)
    kept = weight > 0
    return torch.stack([chosen[row], choosing[column]])[:, kept], weight[kept]


def _own_pair(source: Tensor, target: Tensor) -> Tensor:
    """Returns for every item of ``target`` where ``source`` has it, -1 if nowhere; ``source`` ascends."""
    if not len(source):
        return torch.full_like(target, -1)
    place = torch.searchsorted(source, target).clamp(max=len(source) - 1)
    return torch.where(source[place] == target, place, -1)
