"""Propagation and normalisation on dense matrices, in float64."""

import torch


def dense_matrix(edge_index, weight, num_sources, num_targets):
    """Returns the matrix (num_targets, num_sources) that adds up the entries one by one."""
    matrix = torch.zeros(num_targets, num_sources, dtype=torch.float64)
    for edge, (source, target) in enumerate(edge_index.T.tolist()):
        matrix[target, source] += 1.0 if weight is None else weight[edge].double()
    return matrix


def dense_symmetric_norm(matrix):
    """Divides every entry by the roots of its row sum and its column sum; empty rows and columns stay zero."""
    rows, columns = matrix.sum(1), matrix.sum(0)
    left, right = (torch.where(d > 0, d.clamp(min=1e-30).rsqrt(), 0.0) for d in (rows, columns))
    return left[:, None] * matrix * right[None, :]


def dense_row_norm(matrix):
    """Divides every entry by the roots of the row sums at both of its ends."""
    rows = matrix.sum(1)
    scale = torch.where(rows > 0, rows.clamp(min=1e-30).rsqrt(), 0.0)
    return scale[:, None] * matrix * scale[None, :]


def dense_light_gcn(matrix, user, item, num_layers, coupling=1.0):
    """Averages the powers of the square bipartite adjacency of a (num_users, num_items) matrix."""
    num_users = len(user)
    size = num_users + len(item)
    square = torch.zeros(size, size, dtype=matrix.dtype)
    square[:num_users, num_users:] = matrix
    square[num_users:, :num_users] = matrix.T
    state = torch.cat([user, item])
    layers = [torch.linalg.matrix_power(square, power) @ state * coupling**power for power in range(num_layers + 1)]
    mean = torch.stack(layers).mean(0)
    return mean[:num_users], mean[num_users:]
