"""Texts before a model sees them: cleaned, cut where a tokenizer would cut, or laid out in windows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

CHARACTERS_PER_TOKEN = 16  # a text of fewer characters per token of the limit is never cut
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(value: Any) -> str:
    """Returns a text that every tokenizer takes: halves of characters that stand alone become U+FFFD.

    Raises:
        ValueError: If it is not a text, or holds nothing.
    """
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {type(value).__name__}")
    if not value.strip():
        raise ValueError("an empty text")
    if _SURROGATE.search(value):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def cut_text(text: str, limit: int, holds: Callable[[str, int], bool]) -> str:
    """Returns a beginning of a text that is certain to hold more tokens than a tokenizer keeps.

    Tokenizing 100,000 words to keep 256 tokens wastes time and memory. The text is cut between words and by a wide
    margin, so that the tokens kept are those of the whole text.

    Args:
        text: The text.
        limit: The tokens that are kept.
        holds: Whether a text has at least so many tokens.
    """
    length = CHARACTERS_PER_TOKEN * limit
    while length < len(text):
        space = max(text.rfind(mark, length // 2, length) for mark in (" ", "\n", "\t"))
        start = text[: space if space > 0 else length]
        if holds(start, 2 * limit):
            return start
        length *= 4
    return text


def window_spans(num_tokens: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Returns the spans of windows over tokens, each beginning ``size - overlap`` after the one before.

    >>> window_spans(10, 4, 1)
    [(0, 4), (3, 7), (6, 10)]
    """
    step = size - overlap
    starts = range(0, max(num_tokens - overlap, 1), step)
    return [(start, min(start + size, num_tokens)) for start in starts]


def pad_tokens(
    rows: Sequence[Sequence[int]], pad: int, *, length: int = 0, left: bool = False
) -> tuple[Tensor, Tensor]:
    """Returns token rows as one matrix and its mask, both ``(len(rows), at least length)``.

    Args:
        rows: Token ids.
        pad: The id that fills up.
        length: The least width.
        left: Whether to fill up on the left.
    """
    import torch

    width = max(length, *(len(row) for row in rows))
    tokens = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for at, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        tokens[at, place] = torch.tensor(row, dtype=torch.long)
        mask[at, place] = 1
    return tokens, mask


def average_windows(vectors: Tensor, counts: Sequence[Sequence[int]]) -> Tensor:
    """Returns one vector per text: the mean over its windows, weighted by their tokens ``(len(counts), dim)``.

    Args:
        vectors: The vectors of all windows, text after text ``(number of windows, dim)``.
        counts: The tokens of each window of each text.
    """
    import torch

    sizes = [len(text) for text in counts]
    weights = torch.tensor([count / sum(text) for text in counts for count in text], device=vectors.device)
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(vectors.device)
    total = torch.zeros(len(sizes), vectors.shape[1], device=vectors.device)
    return total.index_add(0, owner, vectors.float() * weights.unsqueeze(1))
