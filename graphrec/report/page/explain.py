"""Why an item was recommended: what the parts of a model bring to its score, and the ways to it through the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch_geometric.data import HeteroData

from graphrec.graph.behavior import interaction_matrix
from graphrec.graph.build import CO_CONSUMED, item_operator, item_relations
from graphrec.graph.neighbors import flagged_nodes
from graphrec.models.base import ClosedForm, NoEmbeddings, Part, Recommender

T = TypeVar("T")
FloatArray = NDArray[np.float64]

BEHAVIOR = "behavior"
WORDS = {"text": "text alike", "image": "looks alike", "audio": "sounds alike", "video": "film alike"}
TINY = 1e-12
BLOCK = 2048  # edges whose vectors are held at once


@dataclass(frozen=True)
class Path:
    """A way through the training graph from a user to an item.

    Args:
        liked: The item row that the user interacted with.
        relation: How it goes on: ``behavior`` for other users of both items, else the relation between the items.
        item: The item row it leads to.
        strength: The product of the normalised weights of its edges, see ``Ways``.
        others: How many other users it leads through; 0 for a relation between items.
    """

    liked: int
    relation: str
    item: int
    strength: float
    others: int = 0


class Ways:
    r"""The ways from users to items through the training graph, and how strong they are.

    The strength of a way is the product of the normalised weights of its edges. From a user to a liked item the weight
    is :math:`1 / d_u`: everything liked counts alike. From there, with degrees :math:`d`,

    ``behavior``: over other users :math:`v` of both items, :math:`\sum_v \frac{1}{\sqrt{d_j d_v}}
    \frac{1}{\sqrt{d_v d_i}}`, LightGCN's weights of the two edges; the ways over all users count as one.

    a modality: the weight of :math:`j` in the list of neighbours of :math:`i`, divided by the sum of that list. Where
    the graph keeps no weights it is the cosine of the vectors, at least 0, or 1 where there are none. Vectors that
    were imputed lead nowhere: they are no evidence.

    Strengths compare ways of one relation. Those of two relations do not compare: a list of ten neighbours has larger
    weights than five hundred users, and neither says what a model makes of it.

    Args:
        graph: The training graph.
    """

    def __init__(self, graph: HeteroData) -> None:
        self.seen = interaction_matrix(graph).astype(np.float64)
        self.users_of = self.seen.T.tocsr()
        self.user_degree, self.item_degree = (np.diff(matrix.indptr) for matrix in (self.seen, self.users_of))
        self.lists = {name: neighbour_lists(graph, name) for name in item_relations(graph) if name != CO_CONSUMED[1]}

    @property
    def relations(self) -> tuple[str, ...]:
        """What ways may go over."""
        return (BEHAVIOR, *self.lists)

    def liked(self, user: int) -> NDArray[np.int64]:
        """Returns the item rows of the user's training interactions, ascending."""
        return np.sort(self.seen.indices[self.seen.indptr[user] : self.seen.indptr[user + 1]]).astype(np.int64)

    def strongest(
        self, user: int, item: int, *, count: int = 3, relations: Sequence[str] | None = None
    ) -> tuple[Path, ...]:
        """Returns the strongest ways from a user to an item.

        Relations take turns, since their strengths do not compare: first the strongest of each, then the second ones.

        Args:
            user: A user row.
            item: An item row.
            count: How many ways at most; there are fewer where fewer lead to the item.
            relations: The order of turns; ``relations`` by default.
        """
        found = [self.over(name, user, item)[:count] for name in relations or self.relations]
        return tuple(islice(_in_turn(found), count))

    def over(self, relation: str, user: int, item: int) -> list[Path]:
        """Returns all ways over one relation, the strongest first; ties go to the lowest item row."""
        liked = self.liked(user)
        liked = liked[liked != item]
        strength, others = (
            self._behavior(user, item, liked) if relation == BEHAVIOR else self._list(relation, item, liked)
        )
        strength = strength / max(1, self.user_degree[user])
        order = np.argsort(-strength, kind="stable")
        return [
            Path(int(liked[place]), relation, item, float(strength[place]), int(others[place]))
            for place in order
            if strength[place] > 0
        ]

    def _behavior(self, user: int, item: int, liked: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        others = self.users_of.indices[self.users_of.indptr[item] : self.users_of.indptr[item + 1]]
        others = others[others != user]
        both = self.seen[others][:, liked]  # (others, liked)
        norm = np.sqrt(np.maximum(1, self.item_degree[liked] * self.item_degree[item]))
        return (both.T @ (1.0 / self.user_degree[others])) / norm, np.asarray(both.sum(axis=0)).ravel()

    def _list(self, relation: str, item: int, liked: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        strength = self.lists[relation][[item]][:, liked].toarray().ravel()
        return strength, np.zeros(len(liked))


def neighbour_lists(graph: HeteroData, relation: str) -> sp.csr_array:
    """Returns the neighbours of every item over a relation ``(num_items, num_items)``; rows sum to 1, or are empty."""
    edge_index, weight = item_operator(graph, relation)
    source, target = edge_index.cpu().numpy()
    value = _similarity(graph, relation) if weight is None else weight.cpu().numpy().astype(np.float64)
    value = np.where(_evidence(graph, relation, source, target), value.clip(min=0), 0.0)
    size = int(graph["item"].num_nodes)
    matrix = sp.coo_array((value, (target, source)), shape=(size, size)).tocsr()
    total = np.asarray(matrix.sum(axis=1)).ravel()
    return sp.csr_array(sp.diags_array(1.0 / np.maximum(total, TINY)) @ matrix)


def sentence(path: Path, title: Callable[[int], str]) -> str:
    """Returns a way in words, such as ``liked Toy Story – text alike – A Bug's Life``.

    Args:
        path: The way.
        title: Gives the words of an item row.
    """
    return f"liked {title(path.liked)} – {link(path)} – {title(path.item)}"


def link(path: Path) -> str:
    """Returns what leads from the liked item to the other, in words."""
    if path.relation == BEHAVIOR:
        return f"{path.others} other{'' if path.others == 1 else 's'} had both"
    first, matches, second = path.relation.partition("_matches_")
    return f"{first} like the {second} of" if matches else WORDS.get(path.relation, f"{path.relation} alike")


def parts_of(model: Recommender) -> dict[str, Part]:
    """Returns the parts of a model, see ``Recommender.parts``.

    Returns:
        What scores by part; empty for models that score without embeddings or have a single part, which says nothing.
    """
    try:
        with torch.no_grad():
            parts = model.parts()
    except NoEmbeddings:
        return {}
    return parts if len(parts) > 1 else {}


def contributions(parts: Mapping[str, Part], user: int) -> dict[str, FloatArray]:
    """Returns what every part adds to a user's scores ``(num_items,)``; together they are the scores.

    Args:
        parts: The parts of a model.
        user: A user row.
    """
    rows = torch.tensor([user])
    with torch.no_grad():
        return {name: part.score(rows)[0].cpu().numpy().astype(np.float64) for name, part in parts.items()}


def lifts(parts: Mapping[str, FloatArray], item: int) -> dict[str, float]:
    """Returns by how much every part lifts an item above the user's average item; together, how far its score is above.

    The average is taken off because what a part adds to all items alike moves none of them up.

    Args:
        parts: A user's scores by part, from ``contributions``.
        item: An item row.
    """
    return {name: float(scores[item] - scores.mean()) for name, scores in parts.items()}


def shares(values: Mapping[T, float]) -> dict[T, float]:
    """Returns signed shares: every value divided by the sum of all values without their signs.

    A negative share speaks against the item. Without their signs shares sum to 1; all are 0 where all values are.

    >>> shares({"behavior": 3.0, "text": -1.0})
    {'behavior': 0.75, 'text': -0.25}
    """
    total = sum(abs(value) for value in values.values())
    return {name: value / total if total > 0 else 0.0 for name, value in values.items()}


def liked_weights(model: Recommender, liked: NDArray[np.int64], item: int) -> dict[int, float]:
    """Returns what every liked item adds to the score of an item, for models whose scores are sums of such weights.

    Those are closed forms with item–item ``weights (num_items, num_items)``, row = seen, column = scored: the score of
    EASE and of item-based neighbours is their sum.

    Args:
        model: The model.
        liked: The item rows of the user's training interactions.
        item: An item row.

    Returns:
        Weights that are not zero by item row, the largest first; empty for other models.
    """
    weights = getattr(model, "weights", None) if isinstance(model, ClosedForm) else None
    if not isinstance(weights, Tensor | sp.csr_array) or tuple(weights.shape) != (model.num_items, model.num_items):
        return {}
    column = _column(weights, liked, item)
    order = [place for place in np.argsort(-column, kind="stable") if column[place] != 0]
    return {int(liked[place]): float(column[place]) for place in order}


def _column(weights: Tensor | sp.csr_array, liked: NDArray[np.int64], item: int) -> FloatArray:
    if isinstance(weights, Tensor):
        return np.asarray(weights[liked.tolist(), item].cpu().numpy(), dtype=np.float64)
    return np.asarray(weights[liked][:, [item]].toarray(), dtype=np.float64).ravel()


def _in_turn(found: Sequence[Sequence[Path]]) -> Iterator[Path]:
    return (path for path in chain.from_iterable(zip_longest(*found)) if path is not None)


def _similarity(graph: HeteroData, relation: str) -> FloatArray:
    """Returns the cosine of the vectors at both ends of every edge; ones where a modality has no vectors."""
    edges = graph[relation, "similar", relation].edge_index.cpu()
    x: Any = graph[relation].get("x", None)
    if x is None:
        return np.ones(edges.shape[1])
    unit = functional.normalize(x.detach().cpu().float(), dim=1)
    blocks = [(unit[source] * unit[target]).sum(dim=1) for source, target in edges.split(BLOCK, dim=1)]
    return np.asarray(torch.cat(blocks).numpy(), dtype=np.float64) if blocks else np.zeros(0)


def _evidence(graph: HeteroData, relation: str, source: NDArray[Any], target: NDArray[Any]) -> NDArray[np.bool_]:
    made = np.zeros(int(graph["item"].num_nodes), bool)
    if relation in graph.node_types:
        made[graph[relation].item_id[flagged_nodes(graph, relation, "missing")].cpu().numpy()] = True
    return np.asarray(~(made[source] | made[target]))
