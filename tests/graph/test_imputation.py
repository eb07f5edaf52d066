import numpy as np
import pytest
import scipy.sparse as sp

from graphrec.data.interactions import Ids
from graphrec.features.table import FeatureTable
from graphrec.graph import imputation
from graphrec.graph.imputation import impute

ITEMS, USERS, DIM = 12, 15, 3
MADE = ("zero", "mean", "token", "neighbors", "propagate")
RNG = np.random.default_rng(0)
SEEN = sp.csr_array((RNG.random((USERS, ITEMS)) < 0.3).astype(np.float32))
VECTORS = RNG.normal(size=(ITEMS, DIM)).astype(np.float32)


def table_of(rows, vectors=VECTORS):
    rows = np.array(rows, dtype=np.int64)
    return FeatureTable(Ids([f"i{row}" for row in range(len(vectors))]), rows, vectors[rows])


SOME = table_of([0, 3, 4, 7, 9])


def cosine(seen):
    """Returns the cosine of every two items' users, item by item."""
    matrix, size = seen.toarray(), seen.shape[1]
    weight = np.zeros((size, size))
    for one in range(size):
        for other in range(size):
            shared = (matrix[:, one] * matrix[:, other]).sum()
            if one != other and shared:
                weight[one, other] = shared / np.sqrt(matrix[:, one].sum() * matrix[:, other].sum())
    return weight


def slow_neighbors(table, seen, k):
    """Averages, item by item, over the k strongest items with a vector and those that tie with the last."""
    weight, found = cosine(seen).astype(np.float32), {}
    for item in np.flatnonzero(~table.mask):
        near = sorted((float(weight[item, other]) for other in table.rows), reverse=True)[:k]
        pairs = [(weight[item, o], v) for o, v in zip(table.rows, table.values, strict=True) if weight[item, o] > 0]
        pairs = [(w, v) for w, v in pairs if w >= near[-1]]
        if pairs:
            found[item] = sum(w * v for w, v in pairs) / sum(w for w, _ in pairs)
    return found


def slow_propagation(table, seen, k, layers):
    """Propagates on dense matrices; the lists of k break ties by the lowest row."""
    weight, size = cosine(seen).astype(np.float32), seen.shape[1]
    kept = np.zeros_like(weight)
    for item in range(size):
        for other in sorted(range(size), key=lambda o, i=item: (-weight[i, o], o))[:k]:
            kept[other, item] = weight[item, other]
    adjacency = np.maximum(kept, kept.T)
    degree = adjacency.sum(axis=1)
    operator = adjacency / np.sqrt(np.outer(degree, degree)).clip(1e-12)
    x, reached = table.dense(), table.mask
    for _ in range(layers):
        x, reached = operator @ x, (adjacency @ reached) > 0
        x[table.rows], reached[table.rows] = table.values, True
    return {item: x[item] for item in np.flatnonzero(reached & ~table.mask)}


def assert_made(imputed, table, expected):
    """Checks that known vectors are kept bit for bit and that made ones are as expected."""
    assert imputed.rows.tolist() == sorted([*table.rows.tolist(), *expected])
    assert imputed.rows[~imputed.missing].tolist() == table.rows.tolist()
    assert (imputed.values[~imputed.missing] == table.values).all()
    assert imputed.values.dtype == np.float32
    for row, value in zip(imputed.rows[imputed.missing], imputed.values[imputed.missing], strict=True):
        np.testing.assert_allclose(value, expected[row], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("policy", ["absent", "drop"])
def test_absent_and_dropped_items_get_no_node(policy):
    assert_made(impute(SOME, policy, SEEN), SOME, {})


@pytest.mark.parametrize("policy", ["zero", "token"])
def test_zero_and_token_hold_a_zero_for_every_item(policy):
    missing = np.flatnonzero(~SOME.mask)
    assert_made(impute(SOME, policy, SEEN), SOME, dict.fromkeys(missing, np.zeros(DIM)))


def test_mean_is_the_mean_of_the_present():
    expected = sum(SOME.values) / len(SOME.values)
    assert_made(impute(SOME, "mean", SEEN), SOME, dict.fromkeys(np.flatnonzero(~SOME.mask), expected))


@pytest.mark.parametrize("k", [1, 2, 3, 20])
@pytest.mark.parametrize("entries", [1, 12, 2**22])
def test_neighbors_equal_a_slow_loop_whatever_the_block(k, entries, monkeypatch):
    monkeypatch.setattr(imputation, "BLOCK_ENTRIES", entries)
    expected = slow_neighbors(SOME, SEEN, k)
    assert len(expected) > 3
    assert_made(impute(SOME, "neighbors", SEEN, k=k), SOME, expected)


@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize("layers", [1, 4])
def test_propagation_equals_dense_algebra(k, layers):
    expected = slow_propagation(SOME, SEEN, k, layers)
    assert expected
    assert_made(impute(SOME, "propagate", SEEN, k=k, layers=layers), SOME, expected)


def test_propagation_converges_to_what_neighbours_agree_on():
    chain = sp.csr_array(np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]))  # a path of four items
    table = table_of([0, 3], np.array([[1.0], [0.0], [0.0], [1.0]], dtype=np.float32))
    made = impute(table, "propagate", chain, layers=100)
    weight = cosine(chain)
    degree = weight.sum(axis=1)
    operator = weight / np.sqrt(np.outer(degree, degree))
    expected = np.linalg.solve(np.eye(2) - operator[1:3, 1:3], operator[1:3][:, [0, 3]] @ np.ones(2))
    np.testing.assert_allclose(made.values[1:3, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("policy", MADE)
def test_relabelling_users_and_items_moves_the_vectors_along(policy):
    rng = np.random.default_rng(3)
    users, items = rng.permutation(USERS), rng.permutation(ITEMS)
    moved = table_of(np.sort(np.flatnonzero(SOME.mask[items])), VECTORS[items])
    own = impute(SOME, policy, SEEN, k=ITEMS)
    other = impute(moved, policy, SEEN[users][:, items], k=ITEMS)
    assert sorted(items[other.rows]) == own.rows.tolist()
    place = np.searchsorted(own.rows, items[other.rows])
    assert (own.missing[place] == other.missing).all()
    np.testing.assert_allclose(other.values, own.values[place], rtol=1e-5, atol=1e-6)


def test_neighbors_do_not_depend_on_rows_where_items_tie():
    seen = sp.csr_array(np.ones((2, 5)))
    table = table_of([1, 2, 3, 4], np.arange(5, dtype=np.float32)[:, None])
    assert impute(table, "neighbors", seen, k=1).values[0].item() == 2.5


@pytest.mark.parametrize("policy", MADE)
def test_with_nothing_missing_nothing_changes(policy):
    everything = table_of(range(ITEMS))
    assert_made(impute(everything, policy, SEEN), everything, {})


@pytest.mark.parametrize("policy", MADE)
def test_one_missing_item_gets_one_vector(policy):
    table = table_of([row for row in range(ITEMS) if row != 5])
    made = impute(table, policy, SEEN)
    assert made.missing.tolist() == [row == 5 for row in range(ITEMS)]
    assert np.isfinite(made.values).all()


@pytest.mark.parametrize("policy", MADE)
def test_with_all_missing_there_is_nothing_to_impute_from(policy):
    made = impute(table_of([]), policy, SEEN)
    assert made.values.shape == (ITEMS if policy in ("zero", "token") else 0, DIM)
    assert not made.values.any()
    assert made.missing.all()


@pytest.mark.parametrize("policy", ["neighbors", "propagate"])
def test_items_that_behaviour_does_not_connect_to_a_vector_stay_absent(policy):
    seen = SEEN.toarray()
    seen[:, 5] = 0  # seen by nobody
    seen = np.block([[seen, np.zeros((USERS, 2))], [np.zeros((1, ITEMS)), np.ones((1, 2))]])  # two items on their own
    made = impute(table_of([0, 3, 4, 7, 9], np.zeros((ITEMS + 2, 1), np.float32)), policy, sp.csr_array(seen))
    assert not set(made.rows) & {5, ITEMS, ITEMS + 1}
    assert set(made.rows) >= {1, 2}


@pytest.mark.parametrize("policy", ["neighbors", "propagate"])
def test_without_interactions_nothing_is_imputed_from_behaviour(policy):
    assert_made(impute(SOME, policy, sp.csr_array((USERS, ITEMS), dtype=np.float32)), SOME, {})


@pytest.mark.parametrize("policy", ["neighbors", "propagate"])
def test_every_interaction_counts_as_one(policy):
    weighted = SEEN.copy()
    weighted.data[:] = np.arange(1, len(weighted.data) + 1)
    assert (impute(SOME, policy, weighted).values == impute(SOME, policy, SEEN).values).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"k": 0}, "k >= 1 and layers >= 1, got k=0"), ({"layers": 0}, "got k=10, layers=0")],
)
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        impute(SOME, "propagate", SEEN, **settings)


def test_interactions_of_other_items_are_refused():
    with pytest.raises(ValueError, match="expected interactions with 12 items"):
        impute(SOME, "neighbors", SEEN[:, :5])
