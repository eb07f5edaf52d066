from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphrec.features.towers.windows import average_windows, clean_text, cut_text, pad_tokens, window_spans


@given(st.integers(0, 200), st.integers(2, 30), st.integers(0, 28))
def test_windows_hold_every_token_and_overlap_as_asked(num_tokens, size, overlap):
    overlap = min(overlap, size - 1)
    spans = window_spans(num_tokens, size, overlap)
    assert sorted({token for span in spans for token in range(*span)}) == list(range(num_tokens))
    assert all(end - start == size for start, end in spans[:-1])
    assert all(later[0] == before[1] - overlap for before, later in pairwise(spans))
    assert len(spans) == 1 or spans[-1][1] - spans[-1][0] > overlap


def test_averages_are_weighted_by_tokens():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [4.0, 4.0], [2.0, 2.0]])
    found = average_windows(vectors, [[3, 1], [5], [2]])
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.25], [4.0, 4.0], [2.0, 2.0]]))


@pytest.mark.parametrize(
    ("left", "expected", "mask"),
    [
        (False, [[1, 2, 9, 9], [3, 9, 9, 9]], [[1, 1, 0, 0], [1, 0, 0, 0]]),
        (True, [[9, 9, 1, 2], [9, 9, 9, 3]], [[0, 0, 1, 1], [0, 0, 0, 1]]),
    ],
)
def test_rows_are_padded(left, expected, mask):
    tokens, found = pad_tokens([[1, 2], [3]], 9, length=4, left=left)
    assert (tokens.tolist(), found.tolist()) == (expected, mask)
    assert pad_tokens([[1, 2], [3]], 9)[0].shape == (2, 2)


def test_a_text_is_cut_between_words_once_it_holds_enough_tokens():
    asked = []

    def holds(text, count):
        asked.append(text)
        return len(text.split()) >= count

    words = "word " * 10_000
    found = cut_text(words, 10, holds)
    assert found == ("word " * 32).strip()
    assert asked == [found]
    assert cut_text("x" * 10_000, 10, holds) == "x" * 10_000  # one word: never enough
    assert cut_text("short", 10, holds) == "short"


def test_texts_are_cleaned():
    assert clean_text(" é \ud83d\ude00 \udc00") == " é 😀 �"
    for wrong, message in (("\n ", "an empty text"), (None, "expected a text, got NoneType")):
        with pytest.raises(ValueError, match=message):
            clean_text(wrong)
