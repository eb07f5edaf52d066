from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st

from graphrec.config import ConfigError
from graphrec.data.dataset import check_disjoint
from graphrec.data.interactions import Ids, Interactions
from graphrec.data.splits import (
    SPLITS,
    SplitConfig,
    cold_item,
    given,
    hold_out_valid,
    leave_one_out,
    merge_repeats,
    random_mmrec,
    random_ratio,
    split_given,
    temporal_global,
    temporal_user,
)


def make(num_users=30, num_items=40, density=0.3, seed=0, times=True):
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((num_users, num_items)) < density)
    order = rng.permutation(len(user))
    return Interactions(
        user=user[order],
        item=item[order],
        users=Ids([f"u{n:03}" for n in range(num_users)], name="user"),
        items=Ids([f"i{n:03}" for n in range(num_items)], name="item"),
        time=rng.integers(0, 50, len(user)) if times else None,
    )


def history(lengths, times=True):
    user = np.repeat(np.arange(len(lengths)), lengths)
    item = np.concatenate([np.arange(length) for length in lengths])
    ids = Ids(range(len(lengths)), name="user"), Ids(range(max(lengths)), name="item")
    return Interactions(user, item, *ids, time=item * 10 if times else None)


def pairs(interactions):
    return set(zip(interactions.users.ids(interactions.user), interactions.items.ids(interactions.item), strict=True))


def counts(interactions):
    return interactions.user_degree().tolist()


def slow_ratio_counts(n, ratios):
    if n < 3:
        return n, 0, 0
    valid, test = (max(1, int(n * ratio / sum(ratios) + 0.5)) for ratio in ratios[1:])
    while valid + test > n - 1:
        if test > 1:
            test -= 1
        elif valid:
            valid -= 1
        else:
            test -= 1
    return n - valid - test, valid, test


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_is_a_partition_with_the_same_vocabulary(name):
    data = make()
    split, test = SplitConfig(name=name).apply(data)
    parts = (split.train, split.valid, test)
    assert sum(map(len, parts)) == len(data)
    assert set.union(*map(pairs, parts)) == pairs(data)
    assert all(part.users == data.users and part.items == data.items for part in parts)
    check_disjoint(split.train, test, names=("train", "test"))
    check_disjoint(split.valid, test, names=("valid", "test"))


@pytest.mark.parametrize("name", SPLITS)
def test_the_order_of_the_rows_does_not_matter(name):
    data = make()
    shuffled = data.take(np.random.default_rng(9).permutation(len(data)))
    (split, test), (again, test_again) = (SplitConfig(name=name).apply(part) for part in (data, shuffled))
    assert pairs(split.train) == pairs(again.train)
    assert pairs(split.valid) == pairs(again.valid)
    assert pairs(test) == pairs(test_again)


@pytest.mark.parametrize("name", ["random", "mmrec", "cold-item"])
def test_seeds_draw_differently_and_repeatably(name):
    tests = [SplitConfig(name=name, seed=seed).apply(make())[1] for seed in (0, 0, 1)]
    assert pairs(tests[0]) == pairs(tests[1])
    assert pairs(tests[0]) != pairs(tests[2])


@settings(max_examples=60, deadline=None)
@draw(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    ratios=st.tuples(*[st.integers(1, 10)] * 3),
)
def test_ratio_counts_equal_the_slow_rule(lengths, ratios):
    data = history([5, *lengths])
    expected = [slow_ratio_counts(n, ratios) for n in (5, *lengths)]
    for split, test in (random_ratio(data, ratios), temporal_user(data, ratios)):
        found = zip(counts(split.train), counts(split.valid), counts(test), strict=True)
        assert list(found) == expected
        assert min(counts(split.train)) >= 1


def test_default_ratio_of_ten_is_eight_one_one():
    split, test = random_ratio(history([10, 20]))
    assert (counts(split.train), counts(split.valid), counts(test)) == ([8, 16], [1, 2], [1, 2])


def test_mmrec_counts():
    lengths = list(range(1, 41))
    split, test = random_mmrec(history(lengths))
    assert counts(split.valid) == [0] + [max(1, n // 10) for n in lengths[1:]]
    assert counts(test) == [(n + 5) // 10 for n in lengths]
    assert min(counts(split.train)) >= 1


def test_random_ratio_is_uniform_over_a_history():
    data = history([10], times=False)
    drawn = [random_ratio(data, seed=seed)[1].item[0] for seed in range(600)]
    frequency = np.bincount(drawn, minlength=10) / 600
    assert np.abs(frequency - 0.1).max() < 0.05


def test_leave_one_out_takes_the_last_two_by_time():
    data = history([4, 2, 1, 3]).take([3, 0, 2, 1, 4, 5, 6, 9, 8, 7])
    split, test = leave_one_out(data)
    assert pairs(test) == {(0, 3), (3, 2)}
    assert pairs(split.valid) == {(0, 2), (3, 1)}
    assert counts(split.train) == [2, 2, 1, 1]


def test_leave_one_out_without_times_draws_by_seed():
    data = make(times=False)
    assert pairs(leave_one_out(data, seed=0)[1]) != pairs(leave_one_out(data, seed=1)[1])
    assert set(counts(leave_one_out(data)[1])) == {1}


def test_temporal_user_equals_a_slow_loop():
    data = make()
    split, test = temporal_user(data, (6, 2, 2))
    expected = defaultdict(set)
    for user in range(data.num_users):
        rows = np.flatnonzero(data.user == user)
        rows = sorted(rows, key=lambda row: (data.time[row], data.item[row]))
        train, valid, _ = slow_ratio_counts(len(rows), (6, 2, 2))
        for place, row in enumerate(rows):
            part = "train" if place < train else "valid" if place < train + valid else "test"
            expected[part] |= pairs(data.take([row]))
    assert pairs(split.train) == expected["train"]
    assert pairs(split.valid) == expected["valid"]
    assert pairs(test) == expected["test"]


def test_temporal_global_cuts_at_two_moments():
    split, test = temporal_global(make())
    assert split.train.time.max() < split.valid.time.min()
    assert split.valid.time.max() < test.time.min()
    assert len(split.train) == pytest.approx(0.8 * len(make()), rel=0.1)


def test_temporal_splits_read_dates():
    data = make()
    dated = Interactions(data.user, data.item, data.users, data.items, time=data.time.astype("datetime64[D]"))
    for function in (temporal_user, temporal_global):
        assert pairs(function(data)[1]) == pairs(function(dated)[1])


def test_cold_items_never_train():
    data = make()
    split, test = cold_item(data, (5, 2, 3))
    parts = [set(part.item.tolist()) for part in (split.train, split.valid, test)]
    assert [len(part) for part in parts] == [20, 8, 12]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_cold_item_counts_only_items_with_interactions():
    data = history([10, 10]).reindex(items=Ids(range(1000), name="item"))
    split, test = cold_item(data)
    assert (len(split.train), len(split.valid), len(test)) == (16, 2, 2)


def test_given_follows_the_labels():
    data = history([3, 3])
    split, test = given(data, [0, 1, 2, 0, 0, 2])
    assert pairs(split.train) == {(0, 0), (1, 0), (1, 1)}
    assert pairs(split.valid) == {(0, 1)}
    assert pairs(test) == {(0, 2), (1, 2)}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2], r"one label per interaction \(6,\), got \(3,\)"),
        ([0, 1, 2, 3, 0, 0], r"labels 0 \(train\), 1 \(valid\) and 2 \(test\), got \[.*3.*\] as well"),
        ([0, 1, np.nan, 2, 0, 0], "got .*nan.* as well"),
        ([0, 1, 0, 0, 0, 1], "empty split: no test"),
        ([0, 2, 0, 0, 0, 2], "empty split: no valid"),
        ([1, 2, 1, 1, 2, 2], "empty split: no train"),
    ],
)
def test_given_refuses_wrong_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        given(history([3, 3]), labels)


@pytest.mark.parametrize("labels", [[0, 2, 1], [0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_given_refuses_a_pair_in_two_parts(labels):
    data = history([2]).take([0, 0, 1])
    with pytest.raises(ValueError, match="disjoint, got 1 shared pairs"):
        given(data, labels)


def test_split_given_applies_the_threshold_and_merges_repeats(caplog):
    rows = history([4]).take([0, 0, 1, 2, 3, 3])
    rated = Interactions(
        rows.user, rows.item, rows.users, rows.items, weight=np.array([5, 4, 4, 5, 5, 1], dtype=np.float32)
    )
    split, test = split_given(rated, [0, 0, 0, 1, 2, 0], threshold=4, name="shop")
    assert pairs(split.train) == {(0, 0), (0, 1)}
    assert split.train.weight.tolist() == [2, 1]
    assert pairs(test) == {(0, 3)}
    assert "shop: merged 1 repeated interactions" in caplog.text


def test_merge_repeats_is_quiet_without_repeats(caplog):
    data = history([3])
    assert merge_repeats(data) is data
    assert not caplog.text


@pytest.mark.parametrize("name", SPLITS)
def test_repeated_pairs_are_refused(name):
    with pytest.raises(ValueError, match=r"repeated ones; call deduplicate\(\)"):
        SplitConfig(name=name).apply(history([9, 9]).take([0, *range(18)]))


@pytest.mark.parametrize("name", SPLITS)
def test_too_little_data_is_an_empty_split(name):
    with pytest.raises(ValueError, match=r"empty split: no (train|valid|test) interactions out of 2"):
        SplitConfig(name=name).apply(history([1, 1]).take([0, 1]))


@pytest.mark.parametrize("name", SPLITS)
def test_no_data_at_all_is_an_empty_split(name):
    with pytest.raises(ValueError, match="empty split"):
        SplitConfig(name=name).apply(history([3]).take([]))


@pytest.mark.parametrize("function", [temporal_user, temporal_global])
def test_temporal_splits_need_times(function):
    with pytest.raises(ValueError, match="expected times for a temporal split"):
        function(make(times=False))


@pytest.mark.parametrize("ratios", [(8, 1), (8, 1, 0), (8, -1, 1), (8, 1, float("nan")), (8, 1, float("inf"))])
@pytest.mark.parametrize("function", [random_ratio, temporal_user, temporal_global, cold_item])
def test_wrong_ratios(function, ratios):
    with pytest.raises(ValueError, match="expected three positive ratios"):
        function(make(), ratios)


def test_hold_out_valid_leaves_everybody_something():
    split = hold_out_valid(history([1, 2, 4, 20]), fraction=0.25, seed=3)
    assert counts(split.train) == [1, 1, 3, 15]
    assert counts(split.valid) == [0, 1, 1, 5]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_hold_out_valid_refuses_a_wrong_fraction(fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        hold_out_valid(history([5]), fraction=fraction)


def test_config_round_trip_and_errors():
    config = SplitConfig.parse({"name": "temporal-user", "ratios": [7, 1, 2]})
    assert SplitConfig.parse(config.model_dump()) == config
    with pytest.raises(ConfigError, match="did you mean 'cold-item'"):
        SplitConfig.parse({"name": "cold-items"})
    with pytest.raises(ConfigError, match="three positive ratios"):
        SplitConfig.parse({"ratios": [8, 1, 0]})
    with pytest.raises(ConfigError, match="no ratios for the split 'mmrec'"):
        SplitConfig.parse({"name": "mmrec", "ratios": [8, 1, 1]})


def test_weights_and_times_follow_their_interactions():
    data = make()
    weighted = Interactions(data.user, data.item, data.users, data.items, weight=data.item + 0.5, time=data.user * 7)
    split, test = random_ratio(weighted)
    for part in (split.train, split.valid, test):
        assert (part.weight == part.item + 0.5).all()
        assert (part.time == part.user * 7).all()


def test_a_bare_string_is_the_name_of_a_split():
    assert SplitConfig.model_validate("temporal-user") == SplitConfig(name="temporal-user")
    with pytest.raises(ValueError, match="unknown split 'temporal-usr': did you mean 'temporal-user'"):
        SplitConfig.model_validate("temporal-usr")
