from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from graphrec.data import Catalog, Ids
from graphrec.features.finetuning.pairs import Pairs, contrast_batches, split_pairs


def catalog():
    ids = Ids(["a", "b", "c", "d"], name="item")
    return Catalog.from_columns(
        ids, {"image": {"a": "1.png", "c": "2.png", "d": "3.png"}, "text": {"a": "x", "d": "y"}}
    )


def labels(first, second):
    return np.stack([np.array(first), np.array(second)], axis=1).astype(np.int64)


def random_labels(count, pictures, texts, seed=0):
    draw = np.random.default_rng(seed)
    return labels(draw.integers(0, pictures, count), draw.integers(0, texts, count))


def test_a_catalogue_gives_the_items_that_have_both():
    pairs = Pairs.gather(catalog(), ("image", "text"))
    assert (pairs.ids, pairs.first, pairs.second) == (["a", "d"], ["1.png", "3.png"], ["x", "y"])


def test_a_sequence_is_named_by_position():
    pairs = Pairs.gather([("p", "q"), ["r", "s"]], ("image", "text"))
    assert (pairs.ids, pairs.first, pairs.second) == ([0, 1], ["p", "r"], ["q", "s"])
    assert pairs.take([1]).second == ["s"]


@pytest.mark.parametrize(
    ("pairs", "columns", "error", "reason"),
    [
        ([], ("image", "text"), ValueError, "no item in the sequence"),
        (["ab"], ("image", "text"), ValueError, "got 'ab' at position 0"),
        ([("a", "b", "c")], ("image", "text"), ValueError, "pairs of two values"),
        (Catalog.empty(Ids([1], name="item")), ("image", "text"), KeyError, "no column"),
        (
            Catalog.from_columns(Ids([1, 2], name="item"), {"image": {1: "p"}, "text": {2: "t"}}),
            ("image", "text"),
            ValueError,
            "no item with both 'image' and 'text'",
        ),
    ],
)
def test_what_is_no_pair_is_a_clear_error(pairs, columns, error, reason):
    with pytest.raises(error, match=reason):
        Pairs.gather(pairs, columns)


def test_pairs_that_cannot_be_read_are_left_out_and_named(tmp_path):
    def read(value):
        if value == "broken":
            raise ValueError("no picture")
        return value

    pairs = Pairs(list("abcdef"), ["1", "broken", "3", "4", None, "6"], ["u", "v", "broken", " ", "w", "x"])
    with ThreadPoolExecutor(2) as pool:
        kept, reasons = pairs.readable(read, read, pool)
    assert (kept.ids, kept.first, kept.second) == (["a", "f"], ["1", "6"], ["u", "x"])
    assert reasons == {"b": "no picture", "c": "no picture", "d": "it is empty", "e": "it is empty"}


def test_equal_files_and_equal_texts_have_equal_labels(tmp_path):
    for name, content in (("one", b"1"), ("copy", b"1"), ("two", b"2")):
        (tmp_path / name).write_bytes(content)
    pairs = Pairs([0, 1, 2], [tmp_path / name for name in ("one", "copy", "two")], ["x", "y", "x "])
    found = pairs.labels()
    assert found[:, 0].tolist() == [0, 0, 1]
    assert found[:, 1].tolist() == [0, 1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_parts_are_disjoint_of_the_size_asked_for_and_share_no_value(seed):
    rows = random_labels(400, 300, 2000, seed)
    parts = split_pairs(rows, valid=0.1, held_out=0.2, seed=seed)
    everything = np.concatenate([parts.train, parts.valid, parts.held_out])
    assert sorted(everything.tolist()) == list(range(400))
    assert (len(parts.valid), len(parts.held_out)) == (40, 80)
    for side in (0, 1):
        values = [set(rows[part, side].tolist()) for part in (parts.train, parts.valid, parts.held_out)]
        assert all(one.isdisjoint(other) for one, other in (*pairwise(values), (values[0], values[2])))


def test_the_split_follows_the_seed():
    rows = random_labels(100, 1000, 1000)
    one, same, other = (split_pairs(rows, valid=0.1, held_out=0.1, seed=seed).held_out.tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_items_in_a_chain_of_common_values_stay_together_in_training():
    chain = labels([0, 0, 1, 1, *range(2, 18)], [0, 1, 1, 2, *range(3, 19)])  # the first four hang together
    for seed in range(20):
        parts = split_pairs(chain, valid=0.15, held_out=0.15, seed=seed)  # three items each
        assert {0, 1, 2, 3} <= set(parts.train.tolist())


@pytest.mark.parametrize("rows", [labels([0] * 50, range(50)), labels(range(5), range(5))])
def test_parts_too_small_are_an_error(rows):
    with pytest.raises(ValueError, match="at least 2 items to train on"):
        split_pairs(rows, valid=0.1, held_out=0.1, seed=0)


@pytest.mark.parametrize(("pictures", "texts"), [(1000, 1000), (20, 1000), (1000, 15), (30, 30)])
def test_no_value_comes_twice_in_a_batch_and_no_row_twice_in_an_epoch(pictures, texts):
    rows = random_labels(200, pictures, texts)
    batches = contrast_batches(rows, 8, np.random.default_rng(0))
    used = np.concatenate(batches).tolist()
    assert len(used) == len(set(used))
    for batch in batches:
        assert 2 <= len(batch) <= 8
        assert all(len(set(rows[batch, side].tolist())) == len(batch) for side in (0, 1))


def test_rows_without_common_values_fill_all_batches():
    rows = labels(range(100), range(100))
    assert [len(batch) for batch in contrast_batches(rows, 16, np.random.default_rng(0))] == [16] * 6


def test_a_value_of_many_items_comes_once_in_every_batch():
    rows = labels([0] * 50 + list(range(1, 51)), range(100))
    batches = contrast_batches(rows, 10, np.random.default_rng(0))
    assert all((rows[batch, 0] == 0).sum() <= 1 for batch in batches)
    used = np.concatenate(batches)
    assert (rows[used, 0] > 0).sum() == 50
    assert len(used) > 55


def test_batches_follow_the_generator():
    rows = random_labels(60, 40, 40)
    one, same, other = (
        [batch.tolist() for batch in contrast_batches(rows, 8, np.random.default_rng(seed))] for seed in (0, 0, 1)
    )
    assert one == same != other
