"""How far neighbours in a modality are neighbours in behaviour."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from torch import Tensor

BLOCK = 2**16  # edges compared at once


def homophily(edge_index: Tensor, interactions: sp.csr_array) -> float:
    r"""Returns how much more alike in behaviour neighbours are than two ends of edges put together at random.

    .. math:: h = \frac{\frac{1}{|S|}\sum_{(i,j) \in S} \cos(\mathbf{x}_i, \mathbf{x}_j)}
        {\bigl(\frac{1}{|S|}\sum_{(i,j) \in S} \mathbf{x}_i / \lVert\mathbf{x}_i\rVert\bigr) \cdot
        \bigl(\frac{1}{|S|}\sum_{(i,j) \in S} \mathbf{x}_j / \lVert\mathbf{x}_j\rVert\bigr)}

    with the users of an item :math:`\mathbf{x}_i`: 1 for a graph that knows nothing of behaviour, however popular the
    items that it connects. It is a form of edge homophily (`Zhu et al., 2020
    <https://arxiv.org/abs/2006.11468>`_) for nodes that have users in place of a label, against the null model of
    modularity. Only training interactions may be given.

    Args:
        edge_index: Edges between items ``(2, num_edges)``; self-loops do not count.
        interactions: The 0/1 matrix ``(num_users, num_items)``.

    Returns:
        The ratio, at least 0; 1 where no edge joins items with interactions.
    """
    source, target = edge_index.cpu().numpy()
    source, target = source[source != target], target[source != target]
    items = interactions.T.tocsr().astype(np.float64)
    length = np.sqrt(items.multiply(items).sum(axis=1))
    items = sp.csr_array(sp.diags_array(1 / np.maximum(length, 1e-12)) @ items)
    together = 0.0
    for start in range(0, len(source), BLOCK):
        rows = slice(start, start + BLOCK)
        together += items[source[rows]].multiply(items[target[rows]]).sum()
    ends = [np.bincount(end, minlength=items.shape[0]) @ items for end in (source, target)]
    apart = float(ends[0] @ ends[1]) / max(len(source), 1)
    return float(together / apart) if apart > 0 else 1.0
