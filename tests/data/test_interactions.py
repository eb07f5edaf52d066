import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec.data.interactions import Ids, Interactions

ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(1, 9)), min_size=1, max_size=40)


def make(rows, weights=None, times=None):
    rows = np.asarray(rows, dtype=np.int64).reshape(-1, 2)
    return Interactions(
        user=rows[:, 0],
        item=rows[:, 1],
        users=Ids([f"u{n}" for n in range(6)], name="user"),
        items=Ids([f"i{n}" for n in range(7)], name="item"),
        weight=None if weights is None else np.asarray(weights, dtype=np.float32),
        time=None if times is None else np.asarray(times),
    )


@pytest.mark.parametrize("values", [[3, 1, 2], ["b", "a"], [(1, "a"), (0, "b")], [1.5, "x", None.__class__]])
def test_ids_find_their_rows(values):
    ids = Ids(values)
    assert ids.rows(values).tolist() == list(range(len(values)))
    assert list(ids.ids(range(len(values)))) == values
    assert values[0] in ids
    assert len(ids) == len(values)


def test_ids_name_the_unknown_ones():
    with pytest.raises(KeyError, match=r"2 unknown item id\(s\): 'c', 'd'"):
        Ids(["a", "b"], name="item").rows(["a", "c", "d", "c"])
    assert Ids(["a", "b"]).find(["b", "z"]).tolist() == [1, -1]


def test_ids_are_unique_and_present():
    with pytest.raises(ValueError, match="unique user ids, got duplicates: 'a'"):
        Ids(["a", "b", "a"], name="user")
    with pytest.raises(ValueError, match="got a missing value"):
        Ids(["a", None])


def test_ids_from_values_are_sorted_where_they_can_be():
    assert Ids.from_values(["b", "a", "b"]).ids([0, 1]).tolist() == ["a", "b"]
    assert Ids.from_values(pd.Index([3, 1, 3])).ids([0, 1]).tolist() == [1, 3]
    assert Ids.from_values(pd.Series(["b", 1, "b"], dtype=object)).ids([0, 1]).tolist() == ["b", 1]


def test_ids_compare_and_hash_by_content_and_order():
    assert Ids([1, 2]) == Ids([1, 2])
    assert Ids([1, 2]) != Ids([2, 1])
    assert Ids([1, 2]).fingerprint() != Ids([2, 1]).fingerprint()
    assert repr(Ids([1, 2], name="item")) == "Ids(2 items)"


def test_from_frame_keeps_ids_weights_and_times():
    frame = pd.DataFrame({"who": ["b", "a"], "what": [7, 5], "stars": [4, 5], "when": [10, 20]})
    data = Interactions.from_frame(frame, user="who", item="what", weight="stars", time="when")
    assert data.user.tolist() == [1, 0]
    assert data.item.tolist() == [1, 0]
    pd.testing.assert_frame_equal(
        data.to_frame(),
        pd.DataFrame({"user": ["b", "a"], "item": [7, 5], "weight": np.float32([4, 5]), "time": [10, 20]}),
        check_dtype=False,
    )


@pytest.mark.parametrize(
    "column", [["2024-03-01", "2024-02-01"], pd.to_datetime(["2024-03-01", "2024-02-01"]).tz_localize("CET")]
)
def test_dates_become_comparable_times(column):
    data = Interactions.from_frame(pd.DataFrame({"user": [1, 1], "item": [1, 2], "time": column}), time="time")
    assert data.time.dtype.kind == "M"
    assert data.time[0] > data.time[1]


def test_from_frame_errors_name_the_column():
    frame = pd.DataFrame({"user": ["a", "b"], "item": [1.0, np.nan]})
    with pytest.raises(ValueError, match=r"missing \['rating'\]; the columns are \['user', 'item'\]"):
        Interactions.from_frame(frame, weight="rating")
    with pytest.raises(ValueError, match=r"found some in \['item'\]"):
        Interactions.from_frame(frame)
    with pytest.raises(KeyError, match="unknown user"):
        Interactions.from_frame(frame.dropna(), users=Ids(["z"], name="user"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": np.array([0, 9])}, r"user rows in \[0, 2\), got \[0, 9\]"),
        ({"item": np.array([-1, 0])}, "item rows in"),
        ({"item": np.array([0])}, r"item rows of shape \(2,\)"),
        ({"weight": np.ones(3, np.float32)}, "weight of shape"),
        ({"time": np.ones(1)}, "time of shape"),
    ],
)
def test_wrong_rows_are_refused(changes, message):
    good = {"user": np.array([0, 1]), "item": np.array([0, 1]), "users": Ids([1, 2]), "items": Ids([1, 2])}
    with pytest.raises(ValueError, match=message):
        Interactions(**(good | changes))


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, timed=st.booleans())
def test_deduplicate_equals_a_slow_loop(rows, timed):
    times = [time for *_, time in rows] if timed else list(range(len(rows)))
    weights = [user + 1 for user, *_ in rows]
    data = make([row[:2] for row in rows], weights, times if timed else None)
    groups = {}
    for position, (user, item, _) in enumerate(rows):
        groups.setdefault((user, item), []).append((times[position], position))
    for keep in ("sum", "first", "last"):
        merged = data.deduplicate(keep)
        assert merged.is_unique()
        assert len(merged) == len(groups)
        for row in range(len(merged)):
            group = groups[merged.user[row], merged.item[row]]
            kept = min(group) if keep == "first" else max(group)
            weight = sum(weights[position] for _, position in group) if keep == "sum" else weights[kept[1]]
            assert merged.weight[row] == weight
            assert not timed or merged.time[row] == kept[0]


def test_deduplicate_counts_repeats_without_weights():
    merged = make([(0, 1), (2, 3), (0, 1)]).deduplicate()
    assert dict(zip(merged.user.tolist(), merged.weight.tolist(), strict=True)) == {0: 2, 2: 1}
    unique = make([(0, 1), (2, 3)])
    assert unique.deduplicate() is unique
    with pytest.raises(ValueError, match="expected keep="):
        unique.deduplicate("any")


def test_ratings_become_implicit_by_the_threshold():
    data = make([(0, 1), (0, 2), (1, 1)], weights=[3, 4, 5])
    kept = data.implicit(4)
    assert kept.weight is None
    assert list(zip(kept.user, kept.item, strict=True)) == [(0, 2), (1, 1)]
    assert len(data.implicit()) == 3
    assert data.positive(4).tolist() == [False, True, True]


def test_threshold_errors():
    with pytest.raises(ValueError, match=r"at or above threshold=6, got none; the highest is 5\.0"):
        make([(0, 1)], weights=[5]).implicit(6)
    with pytest.raises(ValueError, match="expected ratings for threshold=4, got none; name the rating column"):
        make([(0, 1)]).implicit(4)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, k=st.integers(1, 3))
def test_k_core_equals_a_slow_loop(rows, k):
    left = {row[:2] for row in rows}
    while True:
        users = [user for user, _ in left]
        items = [item for _, item in left]
        kept = {(user, item) for user, item in left if users.count(user) >= k and items.count(item) >= k}
        if kept == left:
            break
        left = kept
    core = make([row[:2] for row in rows]).k_core(k)
    assert set(zip(core.users.ids(core.user), core.items.ids(core.item), strict=True)) == {
        (f"u{user}", f"i{item}") for user, item in left
    }
    assert core.num_users == len({user for user, _ in left})
    assert core.num_items == len({item for _, item in left})


def test_k_core_refuses_less_than_one():
    with pytest.raises(ValueError, match="k >= 1, got 0"):
        make([(0, 1)]).k_core(0)


def test_take_accepts_positions_masks_and_nothing():
    data = make([(0, 1), (2, 3)], weights=[1, 2], times=[5, 6])
    assert data.take([1]).weight.tolist() == [2]
    assert data.take(np.array([True, False])).time.tolist() == [5]
    assert len(data.take([])) == 0
    assert data.users.ids([]).tolist() == []


def test_reindex_moves_to_another_vocabulary():
    data = make([(0, 1), (5, 6)])
    larger = Ids(["new", *data.items.ids(range(7))[::-1]], name="item")
    moved = data.reindex(items=larger)
    assert moved.to_frame().equals(data.to_frame())
    assert moved.num_items == 8
    with pytest.raises(KeyError, match="unknown item"):
        data.reindex(items=Ids(["i1"], name="item"))


def test_compact_drops_ids_without_interactions():
    data = make([(0, 1), (5, 6)])
    assert data.compact().to_frame().equals(data.to_frame())
    assert (data.compact().num_users, data.compact().num_items) == (2, 2)
    assert data.take([]).compact().num_users == 0


def test_csr_counts_pairs_once_and_carries_weights():
    data = make([(0, 1), (0, 1), (2, 3)], weights=[2, 3, 4])
    dense, weighted = np.zeros((6, 7)), np.zeros((6, 7))
    dense[0, 1] = dense[2, 3] = 1
    weighted[0, 1], weighted[2, 3] = 5, 4
    assert (data.csr().toarray() == dense).all()
    assert (data.csr(weighted=True).toarray() == weighted).all()


def test_statistics_of_a_known_table():
    statistics = make([(0, 0), (0, 1), (1, 0), (2, 0)]).statistics()
    assert statistics["num_users"] == 6
    assert statistics["users_without_interaction"] == 3
    assert statistics["items_without_interaction"] == 5
    assert statistics["density"] == pytest.approx(4 / 42)
    assert statistics["mean_user_degree"] == pytest.approx(4 / 3)
    assert statistics["mean_item_degree"] == 2
    degrees = [3, 1, 0, 0, 0, 0, 0]
    gaps = sum(abs(a - b) for a in degrees for b in degrees)
    assert statistics["gini_item_degree"] == pytest.approx(gaps / (2 * len(degrees) * sum(degrees)))


def test_statistics_of_nothing_are_zero():
    empty = make([]).statistics()
    assert (empty["num_interactions"], empty["gini_item_degree"], empty["mean_user_degree"]) == (0, 0, 0)


def test_fingerprint_sees_content_not_order():
    data = make([(0, 1), (2, 3)], weights=[1, 2])
    assert data.fingerprint() == data.take([1, 0]).fingerprint()
    assert data.fingerprint() != make([(0, 1), (2, 3)], weights=[2, 1]).fingerprint()
    assert data.fingerprint() != make([(0, 1), (2, 4)], weights=[1, 2]).fingerprint()
    assert data.fingerprint() != data.compact().fingerprint()


def test_times_that_are_no_dates_are_named():
    frame = pd.DataFrame({"user": [1, 1], "item": [1, 2], "when": ["2024-03-01", "soon"]})
    with pytest.raises(ValueError, match="expected numbers or dates in 'when', got 'soon'"):
        Interactions.from_frame(frame, time="when")
