"""What stands for a missing modality: nothing, a constant, a learned token, or what behaviour says about the item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphrec.features.table import FeatureTable
from graphrec.graph.behavior import co_occurrence
from graphrec.graph.neighbors import BLOCK_ENTRIES

Policy = Literal["absent", "drop", "zero", "mean", "token", "neighbors", "propagate"]
CONSTANT: tuple[Policy, ...] = ("zero", "mean", "token")  # policies that give all missing nodes one vector


class Imputed(NamedTuple):
    """The nodes of a modality.

    Args:
        rows: Their item rows ``(num_nodes,)``, ascending.
        values: Their vectors ``(num_nodes, dim)``.
        missing: Which vectors were made up ``(num_nodes,)``.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float32]
    missing: NDArray[np.bool_]


class Filled(NamedTuple):
    """Vectors for absent items ``values (num_absent, dim)``, and which items got one ``reached (num_absent,)``."""

    values: NDArray[np.float32]
    reached: NDArray[np.bool_]


def policy_of(missing: Policy | Mapping[str, Policy], modality: str) -> Policy:
    """Returns the policy of a modality, ``absent`` where none is named.

    >>> policy_of({"image": "mean"}, "image"), policy_of({"image": "mean"}, "text"), policy_of("zero", "text")
    ('mean', 'absent', 'zero')
    """
    return missing if isinstance(missing, str) else missing.get(modality, "absent")


def impute(
    table: FeatureTable, policy: Policy, interactions: sp.csr_array, *, k: int = 10, layers: int = 10
) -> Imputed:
    r"""Gives items that lack a modality a vector, from the vectors of the others and training interactions alone.

    ``absent``, ``drop``
        None: the item has no node.
    ``zero``, ``token``
        A zero vector; for ``token`` a model that is trained learns one vector in its place.
    ``mean``
        The mean of the vectors that are there.
    ``neighbors``
        The mean of the vectors of the ``k`` items that most share the item's users, among the items that have the
        modality, weighted by the cosine of :func:`~graphrec.graph.behavior.co_occurrence`; items that tie with the
        last of them count too. After NeighMean of `"Do We Really Need to Drop Items with Missing Modalities in
        Multimodal Recommendation?" <https://arxiv.org/abs/2408.11767>`_, which counts all neighbours equally.
    ``propagate``
        Feature propagation, from `"On the Unreasonable Effectiveness of Feature Propagation in Learning on Graphs with
        Missing Node Features" <https://arxiv.org/abs/2111.12128>`_, on the graph of items that share users, as in
        `"Dealing with Missing Modalities in Multimodal Recommendation" <https://arxiv.org/abs/2403.19841>`_:
        ``layers`` times :math:`\mathbf{X} \leftarrow \mathbf{D}^{-1/2}\mathbf{A}\mathbf{D}^{-1/2}\mathbf{X}`, where
        known rows are set back each time and unknown ones start at zero. :math:`\mathbf{A}` connects every item to
        the ``k`` that most share its users, made symmetric. Differs from the papers: :math:`\mathbf{A}` holds cosines
        instead of counts, which popular items would dominate.

    An item that behaviour does not connect to a vector – one without training interactions, for one – stays absent,
    under ``mean`` any item if there is no vector at all. Products are sparse or in blocks of bounded size.

    Args:
        table: The vectors.
        policy: What stands for a missing one.
        interactions: Training interactions ``(num_users, num_items)``; every entry that is not zero counts as one.
        k: For ``neighbors`` and ``propagate``.
        layers: For ``propagate``.

    Raises:
        ValueError: If a number is out of range or the interactions are of other items.
    """
    if k < 1 or layers < 1:
        raise ValueError(f"expected k >= 1 and layers >= 1, got k={k}, layers={layers}")
    if interactions.shape[1] != len(table.ids):
        raise ValueError(f"expected interactions with {len(table.ids)} items, got a matrix {interactions.shape}")
    absent = np.flatnonzero(~table.mask)
    if policy not in _FILL or not len(absent):
        return Imputed(table.rows, table.values, np.zeros(len(table.rows), bool))
    values, reached = _FILL[policy](table, absent, interactions, k, layers)
    rows = np.concatenate([table.rows, absent[reached]])
    order = np.argsort(rows)
    missing = np.arange(len(rows)) >= len(table.rows)
    return Imputed(rows[order], np.concatenate([table.values, values[reached]])[order], missing[order])


def _zero(table: FeatureTable, absent: NDArray[np.int64], *_: object) -> Filled:
    return Filled(np.zeros((len(absent), table.dim), np.float32), np.ones(len(absent), bool))


def _mean(table: FeatureTable, absent: NDArray[np.int64], *_: object) -> Filled:
    if not len(table.rows):
        return _nothing(table, absent)
    mean = table.values.mean(axis=0, dtype=np.float64).astype(np.float32)
    return Filled(np.tile(mean, (len(absent), 1)), np.ones(len(absent), bool))


def _from_neighbors(
    table: FeatureTable, absent: NDArray[np.int64], interactions: sp.csr_array, k: int, layers: int
) -> Filled:
    filling = _nothing(table, absent)
    seen = sp.csr_array((interactions != 0).astype(np.float32)).T.tocsr()  # (num_items, num_users)
    degree = np.maximum(seen.sum(axis=1), 1).astype(np.float64)
    size = max(1, BLOCK_ENTRIES // max(len(table.rows), 1))
    known = seen[table.rows].T.tocsr()
    for start in range(0, len(absent) if len(table.rows) else 0, size):
        block = slice(start, start + size)
        weight = (seen[absent[block]] @ known).toarray() / np.sqrt(np.outer(degree[absent[block]], degree[table.rows]))
        weight = _strongest(weight.astype(np.float32), k)  # before they are compared: rounding must not break ties
        total = weight.sum(axis=1, keepdims=True)
        filling.values[block] = weight @ table.values / np.maximum(total, 1e-12)
        filling.reached[block] = total[:, 0] > 0
    return filling


def _strongest(weight: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Sets all entries of a row to zero but the ``k`` largest and those that equal the last of them."""
    if weight.shape[1] > k:
        weight[weight < np.partition(weight, -k, axis=1)[:, [-k]]] = 0.0
    return weight


def _propagated(
    table: FeatureTable, absent: NDArray[np.int64], interactions: sp.csr_array, k: int, layers: int
) -> Filled:
    operator = _normalized_co_consumption(interactions, k)
    values, reached = table.dense(), table.mask
    for _ in range(layers):
        values, reached = operator @ values, (operator @ reached.astype(np.float32)) > 0
        values[table.rows], reached[table.rows] = table.values, True
    return Filled(values[absent], reached[absent])


def _normalized_co_consumption(interactions: sp.csr_array, k: int) -> sp.csr_array:
    edge_index, weight = co_occurrence(interactions, k)
    size = interactions.shape[1]
    directed = sp.coo_array((weight.numpy(), tuple(edge_index.numpy())), shape=(size, size)).tocsr()
    adjacency = directed.maximum(directed.T.tocsr())
    scale = 1 / np.sqrt(np.maximum(adjacency.sum(axis=1), 1e-12))
    diagonal = sp.dia_array((scale[None].astype(np.float32), [0]), shape=(size, size)).tocsr()
    return sp.csr_array(diagonal @ adjacency @ diagonal)


def _nothing(table: FeatureTable, absent: NDArray[np.int64]) -> Filled:
    return Filled(np.zeros((len(absent), table.dim), np.float32), np.zeros(len(absent), bool))


_FILL: dict[Policy, Callable[[FeatureTable, NDArray[np.int64], sp.csr_array, int, int], Filled]] = {
    "zero": _zero,
    "mean": _mean,
    "token": _zero,
    "neighbors": _from_neighbors,
    "propagate": _propagated,
}
