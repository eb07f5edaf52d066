import pytest
import torch

from graphrec.config import ConfigError
from graphrec.features.towers.pooling import POOLINGS, check_poolings, pool


def slowly(rows, mode):
    """Pools the vectors of one text without padding ``(length, dim)``."""
    length = len(rows)
    if mode == "cls":
        return rows[0]
    if mode == "last":
        return rows[-1]
    if mode == "max":
        return torch.stack([max(column) for column in rows.T])
    weights = [place + 1 if mode == "weighted_mean" else 1 for place in range(length)]
    total = sum(weight * row for weight, row in zip(weights, rows, strict=True))
    return total / {"mean": length, "mean_sqrt": length**0.5, "weighted_mean": sum(weights)}[mode]


@pytest.mark.parametrize("mode", sorted(POOLINGS))
@pytest.mark.parametrize("left", [False, True])
def test_every_pooling_equals_a_slow_one_whatever_side_is_padded(mode, left):
    lengths = (1, 5, 3)
    texts = [torch.randn(length, 4) for length in lengths]
    tokens, mask = torch.full((3, 5, 4), 99.0), torch.zeros(3, 5, dtype=torch.long)
    for row, text in enumerate(texts):
        place = slice(5 - len(text), 5) if left else slice(0, len(text))
        tokens[row, place], mask[row, place] = text, 1
    torch.testing.assert_close(pool(tokens, mask, [mode]), torch.stack([slowly(text, mode) for text in texts]))


def test_several_poolings_lie_side_by_side_and_in_32_bits():
    tokens, mask = torch.randn(2, 3, 4, dtype=torch.bfloat16), torch.ones(2, 3, dtype=torch.long)
    both = pool(tokens, mask, ["mean", "max"])
    assert both.dtype == torch.float32
    torch.testing.assert_close(both[:, :4], tokens.float().mean(dim=1))
    torch.testing.assert_close(both[:, 4:], tokens.float().amax(dim=1))


def test_unknown_poolings_are_refused():
    assert check_poolings(["mean", "cls"]) == ("mean", "cls")
    with pytest.raises(ConfigError, match="did you mean 'mean'"):
        check_poolings(["maen"])
