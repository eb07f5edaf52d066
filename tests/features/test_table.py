from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids
from graphrec.features.encoder import Encoder, UnreadableError, encode_values
from graphrec.features.table import FeatureTable

IDS = Ids(["a", "b", "c", "d"], name="item")


class Lengths:
    """Encodes a text as its length and 1."""

    name = "lengths"

    def encode(self, values):
        return np.array([[len(value), 1] for value in values])


class Broken(Lengths):
    name = "broken"

    def encode(self, values):
        return np.ones((len(values) + 1, 2))


@given(order=st.permutations(range(4)), count=st.integers(1, 4))
def test_rows_follow_ids_in_any_order(order, count):
    values = np.arange(8, dtype=np.float64).reshape(4, 2)
    chosen = order[:count]
    table = FeatureTable.align(Vectors(Ids(IDS.ids(chosen)), values[chosen]), IDS)
    assert table.rows.tolist() == sorted(chosen)
    assert table.values.dtype == np.float32
    for row in range(4):
        assert table.mask[row] == (row in chosen)
        assert table.dense(fill=-1)[row].tolist() == (values[row].tolist() if row in chosen else [-1, -1])
    assert table.dim == 2


def test_unknown_ids_are_named():
    vectors = Vectors(Ids(["a", "x", "y"]), np.ones((3, 2)))
    with pytest.raises(ValueError, match="of the 4 items at most, got 3 rows of 'clip' with 2 unknown ids: 'x', 'y'"):
        FeatureTable.align(vectors, IDS, source="clip")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(bad):
    values = np.ones((3, 2))
    values[1, 0] = bad
    with pytest.raises(ValueError, match=r"NaN or infinity in 1 row\(s\) of 'given', ids: 7; mend them"):
        FeatureTable.align(Vectors(Ids([9, 7, 8]), values), Ids(range(10), name="item"))


def test_overflow_to_float32_is_not_finite():
    with pytest.warns(RuntimeWarning, match="overflow"), pytest.raises(ValueError, match="infinity"):
        FeatureTable.align(Vectors(Ids(["a"]), np.array([[1e300]])), IDS)


@pytest.mark.parametrize(
    ("rows", "values", "message"),
    [
        ([0, 1], np.ones((3, 2)), r"expected 2 feature rows, got an array of shape \(3, 2\)"),
        ([0, 1], np.ones(2), r"expected 2 feature rows, got an array of shape \(2,\)"),
        ([1, 0], np.ones((2, 2)), "ascending, unique rows"),
        ([1, 1], np.ones((2, 2)), "ascending, unique rows"),
    ],
)
def test_wrong_shapes_and_rows_are_refused(rows, values, message):
    with pytest.raises(ValueError, match=message):
        FeatureTable(IDS, np.array(rows), values.astype(np.float32))


def test_fingerprint_sees_values_rows_ids_and_source():
    def make(ids=IDS, rows=(0, 2), scale=1.0, source="given"):
        return FeatureTable(ids, np.array(rows), np.full((2, 3), scale, np.float32), source).fingerprint()

    others = [make(ids=Ids("abce")), make(rows=(0, 3)), make(scale=2.0), make(source="clip")]
    assert make() == make()
    assert len({make(), *others}) == 5


class Picky:
    """Encodes lengths, and refuses what is too long."""

    name = "picky"

    def encode(self, values):
        wrong = {at: f"{value!r} is too long" for at, value in enumerate(values) if len(value) > 3}
        if wrong:
            raise UnreadableError(wrong)
        return np.array([[len(value)] for value in values], np.float32)


def test_values_are_encoded_where_they_are_present():
    assert isinstance(Lengths(), Encoder)
    table = encode_values(IDS, [None, "x", None, "long"], Lengths(), name="text")
    assert table.rows.tolist() == [1, 3]
    assert table.values.tolist() == [[1, 1], [4, 1]]
    assert table.source == "lengths"
    assert table.unreadable == {}


def test_values_that_cannot_be_read_are_absent_and_named():
    values = ["long", "x", None, "xy"]
    table = encode_values(IDS, values, Picky(), name="text")
    assert (table.rows.tolist(), table.values.tolist()) == ([1, 3], [[1], [2]])
    assert table.unreadable == {0: "'long' is too long"}
    with pytest.raises(UnreadableError, match=rf"{IDS.ids([0])[0]!r}: 'long' is too long"):
        encode_values(IDS, values, Picky(), name="text", strict=True)
    with pytest.raises(UnreadableError, match="got 2 that cannot be read"):
        encode_values(IDS, ["long", None, "longer", None], Picky(), name="text")


def test_encoding_errors():
    with pytest.raises(ValueError, match="expected values in column 'image' of the catalogue, got none"):
        encode_values(IDS, [None] * 4, Lengths(), name="image")
    with pytest.raises(ValueError, match=r"expected 1 vectors from broken, got an array of shape \(2, 2\)"):
        encode_values(IDS, [None, None, None, "long"], Broken(), name="text")


def test_the_fingerprint_goes_by_the_recipe_where_there_is_one():
    table = encode_values(IDS, [None, "x", None, "long"], Lengths(), name="text")
    made, rounded = (replace(table, recipe="a", values=values) for values in (table.values, table.values + 1e-6))
    assert made.fingerprint() == rounded.fingerprint() != table.fingerprint()
    assert replace(table, recipe="b").fingerprint() != made.fingerprint()
