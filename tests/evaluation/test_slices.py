import numpy as np
import pytest
import torch

from graphrec.data.catalog import Catalog
from graphrec.evaluation.lists import Lists
from graphrec.evaluation.metrics import METRICS
from graphrec.evaluation.ranking import evaluate
from graphrec.evaluation.slices import (
    item_slices,
    mean_by_degree,
    slice_items,
    slice_users,
    split_by_coldness,
    user_slices,
)
from tests.reference.ranking import Table, by_user, draw, interactions


def test_mean_by_degree():
    train = interactions([(1, 0)] + [(2, i) for i in range(4)] + [(3, i) for i in range(5)], 5, 12)
    test = interactions([(user, 11) for user in (0, 1, 2, 3)], 5, 12)
    scores = torch.zeros(5, 12)
    scores[[1, 3], 11] = 1.0
    result = evaluate(Table(scores), seen=train, truth=test, metrics=("recall",), ks=(1,))
    frame = mean_by_degree(result, train.user_degree())
    assert frame.index.tolist() == ["0", "1–4", "5–9"]
    assert frame["num_users"].tolist() == [1, 2, 1]
    assert frame["Recall@1"].tolist() == [0.0, 0.5, 1.0]
    assert mean_by_degree(result, train.user_degree(), edges=(5,)).index.tolist() == ["0–4", "5+"]
    with pytest.raises(ValueError, match="each of 5 users, got 3"):
        mean_by_degree(result, np.zeros(3, np.int64))


def test_slices_by_degree_average_back_to_the_mean():
    scores, train, _, test = draw(13)
    result = evaluate(Table(scores), seen=train, truth=test, metrics=("ndcg",), ks=(10,))
    frame = mean_by_degree(result, train.user_degree(), edges=(1, 3, 5))
    assert np.average(frame["NDCG@10"], weights=frame["num_users"]) == pytest.approx(result.mean()["NDCG@10"])


def test_cold_items_are_scored_apart_but_ranked_among_all():
    train = interactions([(0, 0), (1, 1), (2, 1)], 3, 4)
    test = interactions([(0, 2), (0, 1), (1, 3), (2, 0)], 3, 4)
    cold, warm = split_by_coldness(test, train)
    assert sorted(cold.item.tolist()) == [2, 3]
    assert sorted(warm.item.tolist()) == [0, 1]
    scores = torch.tensor([[0.0, 3, 2, 1], [2, 0, 1, 3], [0, 0, 0, 0]])
    result = evaluate(Table(scores), seen=train, truth=cold, metrics=("mrr",), ks=(3,))
    assert result.frame["MRR@3"].to_dict() == {0: 1 / 2, 1: 1.0}
    assert sorted(split_by_coldness(test, train, threshold=1)[0].item.tolist()) == [0, 2, 3]


def masks(**found) -> dict[str, np.ndarray]:
    return {name: np.asarray(mask, dtype=bool) for name, mask in found.items()}


@pytest.fixture(scope="module")
def scored():
    scores, train, _, test = draw(20)
    train = train.take(~np.isin(train.item, (4, 5, 17)))
    return scores, train, test, evaluate(Table(scores), seen=train, truth=test, ks=(5, 31))


def test_a_slice_of_items_is_the_evaluation_of_its_held_out_items(scored):
    scores, train, test, evaluation = scored
    slices = item_slices(train)
    found = slice_items(evaluation, test, slices, ks=(5, 31))
    for name, mask in slices.items():
        part = test.take(mask[test.item])
        if len(part):
            expected = evaluate(Table(scores), seen=train, truth=part, ks=(5, 31)).frame
            assert found.of(name).equals(expected)
            assert found.mean().loc[name, "NDCG@5"] == pytest.approx(expected["NDCG@5"].mean(), rel=1e-12)
        assert found.counts.loc[name].tolist() == [mask.sum(), len(part), len(np.unique(part.user))]


def test_metrics_of_a_slice_equal_ranx(scored, ranx):
    _, train, test, evaluation = scored
    mask = item_slices(train)["mid"]
    truth = [{item for item in items if mask[item]} for items in by_user(test)]
    users = [user for user in evaluation.frame.index if truth[user]]
    place = {user: row for row, user in enumerate(evaluation.frame.index)}
    qrels = ranx.Qrels({str(user): {str(item): 1 for item in truth[user]} for user in users})
    run = ranx.Run(
        {
            str(user): {str(item): 1 / (1 + r) for r, item in enumerate(evaluation.lists[place[user]]) if item >= 0}
            for user in users
        }
    )
    found = slice_items(evaluation, test, {"mid": mask}, ks=(5,)).of("mid")
    for name, label in zip(METRICS, found, strict=True):
        ranx.evaluate(qrels, run, f"{name}@5", return_mean=False)
        theirs = [run.scores[f"{name}@5"][str(user)] for user in users]
        np.testing.assert_allclose(found.loc[users, label], theirs, rtol=1e-12, atol=1e-15, err_msg=name)


def test_cold_tail_mid_and_head_are_a_partition(scored):
    _, train, _, _ = scored
    slices = item_slices(train)
    assert list(slices) == ["cold", "tail", "mid", "head"]
    assert (sum(mask.astype(int) for mask in slices.values()) == 1).all()
    assert np.flatnonzero(slices["cold"]).tolist() == [4, 5, 17]
    degree = train.item_degree()
    assert degree[slices["head"]].min() >= degree[slices["mid"]].max() >= degree[slices["tail"]].max()


def test_hits_of_all_items_are_those_of_the_slices_together(scored):
    _, train, test, evaluation = scored
    slices = item_slices(train)
    found = slice_items(evaluation, test, slices | {"all": np.ones(31, bool)}, ("precision",), (5,))
    assert found.of("all").equals(evaluation.frame[["Precision@5"]])
    total = found.values.drop("all", level="slice")["Precision@5"].groupby(level="user").sum()
    np.testing.assert_allclose(total, evaluation.frame["Precision@5"], rtol=1e-12)
    assert found.counts["num_held_out"].drop("all").sum() == len(test)


def test_a_slice_of_users_is_their_own_values(scored):
    _, train, test, evaluation = scored
    slices = user_slices(train, edges=(1, 4, 6))
    found = slice_users(evaluation, test, slices, ks=(5, 31))
    assert list(slices) == ["0 interactions", "1–3 interactions", "4–5 interactions", "6+ interactions"]
    assert found.values.droplevel("slice").sort_index().equals(evaluation.frame)
    by_degree = mean_by_degree(evaluation, train.user_degree(), edges=(1, 4, 6))
    means = found.mean()
    np.testing.assert_allclose(means[by_degree.columns[:-1]], by_degree[by_degree.columns[:-1]], rtol=1e-12)
    assert means["num_users"].tolist() == by_degree["num_users"].tolist()
    assert means["size"].sum() == 23
    assert means["num_held_out"].sum() == len(test)


def test_an_empty_slice_is_counted_but_has_no_value(scored):
    _, _, test, evaluation = scored
    slices = masks(none=np.zeros(31), all=np.ones(31))
    found = slice_items(evaluation, test, slices, ("recall",), (5,))
    assert found.of("none").empty
    assert found.mean().loc["none", ["size", "num_held_out", "num_users"]].tolist() == [0, 0, 0]
    assert np.isnan(found.mean().loc["none", "Recall@5"])
    only = slice_items(evaluation, test, masks(none=np.zeros(31)), ("recall",), (5,))
    assert only.mean()["Recall@5"].isna().all()


def test_users_without_a_list_do_not_count(scored):
    _, train, test, evaluation = scored
    lists = Lists.of(evaluation)
    few = Lists(lists.users[:4], lists.items[:4])
    found = slice_items(few, test, masks(all=np.ones(31)), ("recall",), (5,))
    assert found.of("all").equals(evaluation.frame[["Recall@5"]].iloc[:4])
    assert found.counts.loc["all", "num_held_out"] == np.isin(test.user, lists.users[:4]).sum()
    assert slice_users(few, test, user_slices(train), ("recall",), (5,)).counts["num_users"].sum() == 4


def test_slices_by_modality_are_the_combinations_that_occur():
    _, train, _, _ = draw(0, num_users=5, num_items=6)
    image, text = [1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 0, 0]
    found = item_slices(train, modalities=masks(text=text, image=image))
    named = {name: np.flatnonzero(mask).tolist() for name, mask in list(found.items())[4:]}
    assert named == {"no modality": [4, 5], "image only": [1], "text only": [3], "image + text": [0, 2]}
    alone = item_slices(train, modalities=masks(image=image))
    assert list(alone)[4:] == ["no modality", "image"]


def test_slices_by_column_take_the_frequent_values_apart():
    _, train, _, _ = draw(0, num_users=5, num_items=31)
    column = {f"i{row}": value for row, value in enumerate([*("a" * 4), *("b" * 3), *map(str, range(20)), "", "  "])}
    catalog = Catalog.from_columns(train.items, {"genre": column, "year": {"i3": 1999}})
    found = item_slices(train, catalog=catalog, columns=("genre", "year"))
    named = {name: int(mask.sum()) for name, mask in list(found.items())[4:]}
    assert list(named)[:3] == ["genre=a", "genre=b", "genre=0"]
    assert (named["genre=a"], named["genre=b"], named["genre=other"], named["genre=?"]) == (4, 3, 11, 4)
    assert sum(count for name, count in named.items() if name.startswith("genre")) == 31
    assert (named["year=1999"], named["year=?"]) == (1, 30)


def test_many_numbers_are_sliced_in_quarters():
    _, train, _, _ = draw(0, num_users=5, num_items=22)
    prices = {f"i{row}": value for row, value in enumerate([*range(16), 0.5, 2.5, 15, 15])}
    found = item_slices(train, catalog=Catalog.from_columns(train.items, {"price": prices}), columns=("price",))
    sizes = {name: int(mask.sum()) for name, mask in found.items() if name.startswith("price")}
    assert sizes == {"price=0–2.5": 5, "price=3–7": 5, "price=8–12": 5, "price=13–15": 5, "price=?": 2}


def test_users_are_sliced_by_their_columns():
    _, train, _, _ = draw(0)
    people = Catalog.from_columns(train.users, {"age": {"u3": "young", "u4": "old", "u5": "old"}})
    found = user_slices(train, catalog=people, columns=("age",))
    assert np.flatnonzero(found["age=old"]).tolist() == [4, 5]
    assert found["age=?"].sum() == 20


def test_bad_slices_are_refused(scored):
    _, train, test, evaluation = scored
    with pytest.raises(ValueError, match=r"booleans \(31,\) over items in 'few', got bool \(3,\)"):
        slice_items(evaluation, test, masks(few=[1, 0, 1]))
    with pytest.raises(ValueError, match=r"booleans \(23,\) over users in 'rows', got int64"):
        slice_users(evaluation, test, {"rows": np.arange(23)})
    with pytest.raises(ValueError, match="at least one slice"):
        slice_items(evaluation, test, {})
    with pytest.raises(ValueError, match=r"over items in 'image'"):
        item_slices(train, modalities=masks(image=[1]))
    with pytest.raises(ValueError, match=r"catalogue of 31 rows for the columns \['genre'\], got none"):
        item_slices(train, columns=("genre",))
    with pytest.raises(KeyError, match="no column 'genre'"):
        item_slices(train, catalog=Catalog.empty(train.items), columns=("genre",))
