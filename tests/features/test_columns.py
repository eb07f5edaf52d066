import itertools

import numpy as np
import pandas as pd
import pytest

from graphrec.config import ConfigError
from graphrec.data.catalog import Catalog
from graphrec.data.interactions import Ids
from graphrec.features.columns import EARTH_RADIUS, CategoricalEncoder, NumericEncoder, PlaceEncoder
from graphrec.features.encoder import Encoder, UnreadableError, encode_values

ENCODERS = [PlaceEncoder, CategoricalEncoder, NumericEncoder]
VALUES = {PlaceEncoder: [(1, 2), (3, 4)], CategoricalEncoder: ["a|b", "b"], NumericEncoder: [1, 2.5]}
BERLIN, POTSDAM, PARIS, SYDNEY = (52.52, 13.40), (52.39, 13.06), (48.86, 2.35), (-33.87, 151.21)


def random_places(count, seed=0):
    random = np.random.default_rng(seed)
    return list(zip(np.degrees(np.arcsin(random.uniform(-1, 1, count))), random.uniform(-180, 180, count), strict=True))


def unreadable(encoder, values):
    with pytest.raises(UnreadableError) as caught:
        encoder.encode(values)
    return caught.value.reasons


@pytest.mark.parametrize("cls", ENCODERS)
def test_they_are_encoders_with_every_setting_in_their_name(cls):
    encoder = cls(dim=8)
    assert isinstance(encoder, Encoder)
    assert all(f"{key}={value!r}" in encoder.name for key, value in encoder)
    assert cls.parse({"dim": 8}) == encoder
    with pytest.raises(ConfigError):
        cls.parse({"size": 8})


@pytest.mark.parametrize("cls", ENCODERS)
def test_they_encode_columns_of_users_and_items_and_absence_stays(cls):
    ids = Ids(["a", "b", "c"], name="user")
    catalog = Catalog(ids, pd.DataFrame({"x": pd.Series([VALUES[cls][0], None, VALUES[cls][1]], dtype=object)}))
    table = encode_values(ids, catalog.values("x"), cls(dim=8), name="x")
    np.testing.assert_array_equal(table.rows, [0, 2])
    np.testing.assert_array_equal(table.values, cls(dim=8).encode(VALUES[cls]))
    assert table.values.dtype == np.float32


@pytest.mark.parametrize("cls", ENCODERS)
def test_no_values_are_refused(cls):
    with pytest.raises(ValueError, match="got none"):
        cls().encode([])


def test_the_cosine_of_places_is_the_kernel_of_the_paper():
    places = random_places(60) + [(lat + 0.3, lon) for lat, lon in random_places(20) if lat < 89]
    vectors = PlaceEncoder(dim=20_003, scales=(50, 3000)).encode(places)
    points = [
        (np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)) for lat, lon in np.radians(np.array(places))
    ]
    for (p, v), (q, w) in itertools.product(zip(points, vectors, strict=True), repeat=2):
        far = EARTH_RADIUS * np.linalg.norm(np.subtract(p, q))
        kernel = np.mean([np.exp(-(far**2) / (2 * scale**2)) for scale in (50, 3000)])
        assert v @ w == pytest.approx(np.dot(p, q) / 4 + 3 * kernel / 4, abs=0.05)


@pytest.mark.parametrize(("dim", "length"), [(5, 5), (6, 5), (63, 63), (64, 63)])
def test_places_have_unit_vectors_that_are_the_same_every_time(dim, length):
    first, second = (PlaceEncoder(dim=dim).encode(random_places(50)) for _ in range(2))
    assert first.shape == (50, length)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(PlaceEncoder(dim=dim).encode(random_places(50)[:3]), first[:3])


def test_nearer_places_are_more_alike():
    berlin, potsdam, paris, sydney = PlaceEncoder().encode([BERLIN, POTSDAM, PARIS, SYDNEY])
    assert berlin @ potsdam > berlin @ paris > berlin @ sydney
    assert berlin @ potsdam > 0.8


def test_the_date_line_and_the_poles_have_no_seam():
    vectors = PlaceEncoder().encode(
        [(10, 179.9999), (10, -179.9999), (90, 0), (90, 123), (89.9999, -77), (10, 180.0001)]
    )
    for one, other in ((0, 1), (2, 3), (2, 4), (1, 5)):
        np.testing.assert_allclose(vectors[one], vectors[other], atol=1e-3)


def test_pairs_arrays_and_texts_of_places_are_the_same():
    forms = [BERLIN, list(BERLIN), np.array(BERLIN), "52.52, 13.40", "52.52 13.4", "(52.52,13.40)", ("52.52", "13.40")]
    vectors = PlaceEncoder().encode(forms)
    np.testing.assert_array_equal(vectors, np.tile(vectors[0], (len(forms), 1)))


def test_places_out_of_range_are_named_by_position():
    bad = [
        "x",
        (91, 0),
        (0, 361),
        (float("nan"), 0),
        (1, None),
        (1, 2, 3),
        5,
        "52.52",
        {"lat": 1, "lon": 2},
        (0, "inf"),
    ]
    reasons = unreadable(PlaceEncoder(), [BERLIN, *bad, PARIS])
    assert sorted(reasons) == list(range(1, 11))
    assert "latitude from -90 to 90" in reasons[2]
    assert "longitude from -180" in reasons[3]


def test_categories_are_multi_hot_against_a_loop():
    values = ["Drama|Comedy", "a, b", ["Drama", "a, b"], "drama; COMEDY ", "", ("x",), 3, 3.0, "3", True]
    sets = [
        {"drama", "comedy"},
        {"a", "b"},
        {"drama", "a, b"},
        {"drama", "comedy"},
        set(),
        {"x"},
        {"3"},
        {"3"},
        {"3"},
        {"true"},
    ]
    order = ["3", "drama", "comedy", "a", "a, b", "b", "true", "x"]
    expected = np.array([[category in have for category in order] for have in sets], dtype=float)
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1)
    np.testing.assert_allclose(CategoricalEncoder().encode(values), expected, atol=1e-6)
    np.testing.assert_allclose(CategoricalEncoder(min_count=2).encode(["a", "b|a", "c"]), [[1], [1], [0]])


def test_the_most_frequent_categories_are_kept_and_the_rest_is_nothing():
    values = ["a"] * 3 + ["b"] * 2 + ["c"] * 2 + ["d", "a|d"]
    vectors = CategoricalEncoder(dim=2).encode(values)
    np.testing.assert_allclose(vectors, [[1, 0]] * 3 + [[0, 1]] * 2 + [[0, 0]] * 3 + [[1, 0]])


def test_rare_categories_weigh_more_by_idf():
    vectors = CategoricalEncoder(idf=True).encode(["a|b", "a", "a", "a"])
    weights = np.array([1, np.log(4) + 1])
    np.testing.assert_allclose(vectors[0], weights / np.linalg.norm(weights), rtol=1e-6)
    np.testing.assert_allclose(vectors[1], [1, 0])


def test_without_separators_a_text_is_one_category():
    assert CategoricalEncoder(separators="").encode(["Portland, OR", "Salem, OR"]).shape == (2, 2)
    assert CategoricalEncoder(separators="]^-\\").encode(["a]b^c-d\\e", "a"]).shape == (2, 5)


def test_values_that_are_no_categories_are_named_by_position():
    assert sorted(unreadable(CategoricalEncoder(), ["a", {"a": 1}, None, [["a"]], np.nan, b"a", ["b"]])) == [
        1,
        2,
        3,
        4,
        5,
    ]


@pytest.mark.parametrize(
    ("encoder", "values"), [(CategoricalEncoder(min_count=3), ["a", "a"]), (CategoricalEncoder(), ["", "|"])]
)
def test_no_frequent_category_is_refused(encoder, values):
    with pytest.raises(ValueError, match=r"expected categories of at least .*lower min_count"):
        encoder.encode(values)


def test_columns_are_standardised():
    from sklearn.preprocessing import StandardScaler

    numbers = np.random.default_rng(0).lognormal(3, 2, (50, 3))
    np.testing.assert_allclose(
        NumericEncoder().encode(numbers.tolist()), StandardScaler().fit_transform(numbers), atol=1e-5
    )
    expected = StandardScaler().fit_transform(np.log1p(numbers))
    np.testing.assert_allclose(NumericEncoder(log=True).encode(list(numbers)), expected, atol=1e-5)


def test_one_column_and_numbers_as_texts():
    expected = np.array([-1, 1, -1, 1])[:, None]
    np.testing.assert_allclose(NumericEncoder().encode([1, "3", " 1.0 ", np.float32(3)]), expected, rtol=1e-6)


def test_logarithms_keep_the_sign():
    np.testing.assert_allclose(NumericEncoder(log=True).encode([-5, 5]), [[-1], [1]], rtol=1e-6)


def test_absent_entries_take_the_mean_of_the_others():
    vectors = NumericEncoder().encode([(1, 10), (3, None), (np.nan, 20), (5, 30)])
    np.testing.assert_allclose(vectors[:, 0], np.array([-2, 0, 0, 2]) / np.std([1, 3, 5]), atol=1e-6)
    np.testing.assert_allclose(vectors[:, 1], np.array([-10, 0, 0, 10]) / np.std([10, 20, 30]), atol=1e-6)


@pytest.mark.parametrize("values", [[5, 5, 5], [0, 0], [0.1] * 7, [1e300] * 3, [7]])
def test_a_constant_column_is_zero(values):
    np.testing.assert_array_equal(NumericEncoder().encode(values), np.zeros((len(values), 1)))


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1, 1e9, 1e300])
def test_the_unit_of_a_column_does_not_matter(scale):
    np.testing.assert_allclose(
        NumericEncoder().encode([scale, 2 * scale, 3 * scale]), NumericEncoder().encode([1, 2, 3])
    )


def test_values_that_are_no_finite_numbers_are_named_by_position():
    bad = ["inf", -np.inf, "1,5", None, np.nan, 10**400, (None, None), [np.inf, 1], {"a": 1}]
    assert sorted(unreadable(NumericEncoder(), [1, *bad, 2])) == list(range(1, 10))
    assert sorted(unreadable(NumericEncoder(), [(1, 2), (1,), 3, (4, 5)])) == [1, 2]


def test_more_columns_than_dim_are_refused():
    with pytest.raises(ValueError, match=r"at most dim=2, got 3 column\(s\): dim=3"):
        NumericEncoder(dim=2).encode([(1, 2, 3)])
    with pytest.raises(ValueError, match=r"at most dim=64, got 3 column\(s\): dim=96"):
        NumericEncoder(waves=16).encode([(1, 2, 3)])


def test_the_cosine_of_waves_is_a_bell_of_the_difference():
    ages = np.random.default_rng(0).uniform(10, 80, 40)
    vectors = NumericEncoder(waves=32).encode(ages.tolist())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    gaps = (ages[:, None] - ages) / ages.std()
    np.testing.assert_allclose(vectors @ vectors.T, np.exp(-(gaps**2) / 2), atol=0.03)


def test_the_cosine_of_waves_of_several_columns_is_the_mean_over_those_present():
    vectors = NumericEncoder(waves=8).encode([(1, 5), (2, 5), (2, None), (3, 6)])
    assert vectors.shape == (4, 32)
    first = NumericEncoder(waves=8).encode([1, 2, 2, 3])
    second = NumericEncoder(waves=8).encode([(5, 0), (5, 1), (None, 0), (6, 1)])[:, :16] * np.sqrt(2)
    np.testing.assert_allclose(vectors[0] @ vectors[3], (first[0] @ first[3] + second[0] @ second[3]) / 2, atol=1e-5)
    np.testing.assert_allclose(vectors[2] @ vectors[3], first[2] @ first[3] / np.sqrt(2), atol=1e-5)
    assert not vectors[2, 16:].any()
