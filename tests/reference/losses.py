"""Losses as plain loops over numbers."""

import math


def slow_bpr(positive, negative, known=None):
    total, count = 0.0, 0
    for row, above in enumerate(positive):
        for column, below in enumerate(negative[row]):
            if known is not None and known[row][column]:
                continue
            total += -math.log(1 / (1 + math.exp(below - above)))
            count += 1
    return total / max(count, 1)


def slow_sampled_softmax(positive, negative, temperature=1.0, known=None):
    total = 0.0
    for row, above in enumerate(positive):
        below = [s for k, s in enumerate(negative[row]) if known is None or not known[row][k]]
        share = math.exp(above / temperature)
        total += -math.log(share / (share + sum(math.exp(s / temperature) for s in below)))
    return total / len(positive)


def slow_info_nce(first, second, temperature):
    size = len(first)
    similarity = [[_cosine(a, b) / temperature for b in second] for a in first]
    total = 0.0
    for i in range(size):
        total += -math.log(math.exp(similarity[i][i]) / sum(math.exp(similarity[i][j]) for j in range(size)))
        total += -math.log(math.exp(similarity[i][i]) / sum(math.exp(similarity[j][i]) for j in range(size)))
    return total / (2 * size)


def slow_l2(tensors, size):
    return sum(value * value for tensor in tensors for row in tensor for value in row) / (2 * size)


def _cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
