import numpy as np
import pandas as pd
import pytest

from graphrec.evaluation.lists import Lists
from graphrec.evaluation.metrics import METRICS
from graphrec.evaluation.ranking import Evaluation, evaluate
from tests.reference.ranking import Table, by_user, draw


def lists(users, items) -> Lists:
    return Lists(np.asarray(users, dtype=np.int64), np.asarray(items, dtype=np.int32))


@pytest.fixture(scope="module")
def scored():
    scores, train, _, test = draw(3)
    return train, test, evaluate(Table(scores), seen=train, truth=test, ks=(3, 31))


def test_accuracy_of_lists_is_that_of_evaluate(scored):
    _, test, evaluation = scored
    assert Lists.of(evaluation).accuracy(test, ks=(3, 31)).equals(evaluation.frame)


def test_accuracy_at_a_cut_off_that_was_not_asked_for_then(scored):
    train, test, evaluation = scored
    scores = draw(3)[0]
    other = evaluate(Table(scores), seen=train, truth=test, ks=(7,))
    assert Lists.of(evaluation).accuracy(test, tuple(METRICS), (7,)).equals(other.frame)


def test_hits_are_the_held_out_items_of_the_user(scored):
    _, test, evaluation = scored
    found = Lists.of(evaluation)
    truth = by_user(test)
    expected = [
        [item in truth[user] for item in row]
        for user, row in zip(found.users.tolist(), found.items.tolist(), strict=True)
    ]
    assert found.hits(test).tolist() == expected
    assert (found.items == -1).any()


def test_an_item_of_none_is_no_hit_of_the_user_before():
    _, _, _, test = draw(0)
    last = test.take(test.item == test.num_items - 1)
    user = int(last.user[0]) + 1
    assert not lists([user], [[-1]]).hits(last).any()


def test_lists_by_id_are_those_by_row(scored):
    _, test, evaluation = scored
    shuffled = np.random.default_rng(0).permutation(len(evaluation))
    ids = evaluation.by_id().index[shuffled]
    found = Lists.by_id(ids, evaluation.lists[shuffled], test.users)
    assert found.users.tolist() == evaluation.frame.index[shuffled].tolist()
    assert found.accuracy(test, ks=(3, 31)).loc[evaluation.frame.index].equals(evaluation.frame)
    with pytest.raises(KeyError, match="nobody"):
        Lists.by_id(["nobody"], evaluation.lists[:1], test.users)


def test_users_without_held_out_items_have_no_accuracy(scored):
    _, test, evaluation = scored
    user = int(evaluation.frame.index[0])
    values = Lists.of(evaluation).accuracy(test.take(test.user == user), ("recall",), (3,))
    assert values.index.tolist() == [user]


def test_an_evaluation_without_lists_is_refused(scored):
    evaluation = scored[2]
    with pytest.raises(ValueError, match="expected an evaluation with lists"):
        Lists.of(Evaluation(evaluation.frame, evaluation.users))


@pytest.mark.parametrize(
    ("users", "items", "message"),
    [
        ([0, 1], [[1]], r"users \(num_lists,\) and items \(num_lists, depth\), got \(2,\) and \(1, 1\)"),
        ([0], [1], "items"),
        ([0], [[-2]], "item rows from -1"),
        ([-1], [[2]], "user rows from 0"),
        ([0, 0], [[1], [2]], "a user twice"),
        ([0], [[-1, 2]], "-1 only at the end"),
    ],
)
def test_lists_that_are_none_are_refused(users, items, message):
    with pytest.raises(ValueError, match=message):
        lists(users, items)


@pytest.mark.parametrize(("users", "items", "kind"), [([23], [[0]], "user"), ([0], [[31]], "item")])
def test_rows_of_other_data_are_refused(users, items, kind):
    _, _, _, test = draw(0)
    with pytest.raises(ValueError, match=f"{kind} rows below .*are the lists of other data"):
        lists(users, items).accuracy(test)


def test_cut_offs_and_metrics_that_lists_cannot_give_are_refused(scored):
    _, test, evaluation = scored
    found = Lists.of(evaluation)
    with pytest.raises(ValueError, match="'AUC', which needs the scores"):
        found.accuracy(test, ("auc",))
    for k in (0, 32):
        with pytest.raises(ValueError, match="cut-off"):
            found.top(k)
    with pytest.raises(ValueError, match="cut-off"):
        found.accuracy(test, ks=(32,))


def test_no_lists_give_no_values():
    _, _, _, test = draw(0)
    empty = Lists(np.empty(0, np.int64), np.empty((0, 5), np.int32))
    assert empty.accuracy(test, ("recall",), (5,)).equals(
        pd.DataFrame({"Recall@5": np.empty(0)}, index=pd.Index(np.empty(0, np.int64), name="user"))
    )
