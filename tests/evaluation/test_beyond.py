import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from graphrec.data.interactions import Interactions
from graphrec.evaluation import diversity
from graphrec.evaluation.beyond import MEASURES, BeyondAccuracy, beyond_accuracy, measure_of
from graphrec.evaluation.lists import Lists
from graphrec.evaluation.ranking import evaluate
from graphrec.evaluation.slices import degree_labels
from graphrec.features.table import FeatureTable
from tests.reference import beyond as slow
from tests.reference.ranking import Table, by_user, draw, interactions

GENRES = ["a", None, "b", float("nan"), "c"]
KS = (1, 5, 14)


def genre(item: int) -> str | None:
    found = GENRES[item % 5]
    return found if isinstance(found, str) else None


class Case:
    """Drawn lists with empty places, cold items, users without a profile, and a modality with gaps."""

    def __init__(self, seed: int) -> None:
        scores, train, _, test = draw(seed, num_users=40, num_items=14)
        self.train = train.take(~np.isin(train.item, (3, 9)))  # cold items
        self.test = test
        self.evaluation = evaluate(Table(scores), seen=self.train, truth=test, ks=(14,))
        rng = np.random.default_rng(seed)
        rows = np.array([0, 1, 2, 4, 5, 6, 8, 9, 12])
        values = rng.normal(size=(9, 6)).astype(np.float32)
        values[4] = 0
        self.table = FeatureTable(train.items, rows, values)
        self.result = beyond_accuracy(
            self.evaluation,
            self.train,
            KS,
            truth=test,
            features={"image": self.table},
            item_groups={"genre": [GENRES[item % 5] for item in range(14)]},
        )


@pytest.fixture(scope="module", params=[0, 1, 2])
def case(request) -> Case:
    return Case(request.param)


def slow_row(case: Case, user: int, ranked: list[int], k: int) -> dict[str, float]:
    profile, held_out = by_user(case.train)[user], by_user(case.test)[user]
    degree = case.train.item_degree().tolist()
    active = int((case.train.user_degree() > 0).sum())
    groups = [slow.group_of(item, degree) for item in range(14)]
    vectors = dict(zip(case.table.rows.tolist(), case.table.values, strict=True))
    users = dict(enumerate(case.train.csr().toarray().T))
    return {
        f"Novelty@{k}": slow.novelty(ranked, degree, active),
        f"Popularity@{k}": slow.mean(degree[item] for item in ranked),
        f"PopularityLift@{k}": slow.popularity_lift(ranked, profile, degree),
        f"LongTail@{k}": slow.mean(groups[item] == 2 for item in ranked),
        f"Miscalibration-popularity@{k}": slow.miscalibration(ranked, profile, groups),
        f"Miscalibration-genre@{k}": slow.miscalibration(ranked, profile, [genre(item) for item in range(14)]),
        f"ILD-behavior@{k}": slow.diversity(ranked, users),
        f"ILD-image@{k}": slow.diversity(ranked, vectors),
        f"Serendipity@{k}": slow.serendipity(ranked, profile, held_out, degree, k),
    }


def test_measures_of_users_equal_their_slow_versions(case):
    found = case.result.users
    assert (case.evaluation.lists == -1).any()
    for place, user in enumerate(case.evaluation.frame.index):
        for k in KS:
            ranked = [item for item in case.evaluation.lists[place, :k].tolist() if item >= 0]
            expected = slow_row(case, user, ranked, k)
            values = found.loc[user, list(expected)]
            np.testing.assert_allclose(values, list(expected.values()), rtol=1e-6, atol=1e-6, err_msg=f"{user} {k}")
    assert found.shape[1] == 9 * len(KS)


def test_users_without_a_profile_have_no_lift_and_are_counted_out(case):
    nobody = case.result.users.index[case.train.user_degree()[case.result.users.index] == 0]
    assert len(nobody)
    for column in ("PopularityLift@5", "Miscalibration-popularity@5", "Miscalibration-genre@5"):
        assert case.result.users.loc[nobody, column].isna().all()
        known = case.result.users[column].dropna()
        assert case.result.count()[column] == len(known) < len(case.result.users)
        assert case.result.mean()[column] == pytest.approx(known.mean(), rel=1e-12)
    assert case.result.users.loc[nobody, "Novelty@5"].notna().all()


def test_values_over_all_items_come_from_the_exposure(case):
    counts = np.zeros(14, np.int64)
    for item in case.evaluation.lists[:, :5].ravel():
        counts[item] += item >= 0
    assert case.result.items["Exposure@5"].tolist() == counts.tolist()
    assert case.result.items["degree"].tolist() == case.train.item_degree().tolist()
    assert case.result.overall["Coverage@5"] == (counts > 0).mean()
    assert case.result.mean()["Gini@5"] == case.result.overall["Gini@5"]
    assert case.result.overall["Entropy@14"] > case.result.overall["Entropy@1"]


def test_gap_equals_its_slow_version():
    scores, train, _, test = draw(5, num_users=400, num_items=14)
    evaluation = evaluate(Table(scores), seen=train, truth=test, metrics=("ndcg",), ks=(5,))
    labels = degree_labels(train.user_degree())
    values = evaluation.frame["NDCG@5"].to_dict()
    expected = slow.gap(values, labels, 30)
    result = beyond_accuracy(evaluation, train, (5,), truth=test)
    assert result.overall["Gap-activity@5"] == pytest.approx(expected, rel=1e-12)
    parity = np.arange(400) % 2
    result = beyond_accuracy(evaluation, train, (5,), truth=test, user_groups={"parity": parity})
    assert result.overall["Gap-parity@5"] == pytest.approx(slow.gap(values, parity, 30), rel=1e-12)
    assert "Gap-activity@5" not in result.overall


def test_without_truth_nothing_that_needs_it_is_measured(case):
    result = beyond_accuracy(case.evaluation, case.train, (5,))
    assert not [name for name in result.mean() if name.startswith(("Serendipity", "Gap"))]
    shared = [name for name in result.users if name in case.result.users]
    assert result.users.equals(case.result.users[shared])


def test_the_blocks_change_nothing(case, monkeypatch):
    monkeypatch.setattr(diversity, "BLOCK_CELLS", 7)
    top = case.evaluation.lists
    np.testing.assert_allclose(
        diversity.feature_diversity(top, case.table), case.result.users["ILD-image@14"], rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(
        diversity.behavior_diversity(top, case.train.csr()), case.result.users["ILD-behavior@14"], rtol=1e-9, atol=1e-9
    )


def test_lists_of_a_user_do_not_depend_on_the_others(case):
    chosen = [7, 3]
    lists = Lists.of(case.evaluation)
    few = beyond_accuracy(
        Lists(lists.users[chosen], lists.items[chosen]), case.train, (5,), features={"image": case.table}
    )
    whole = case.result.users.iloc[chosen][few.users.columns]
    np.testing.assert_allclose(few.users.to_numpy(), whole.to_numpy(), rtol=1e-6)
    assert few.users.index.tolist() == lists.users[chosen].tolist()


def test_repeated_interactions_count_once(case):
    train = case.train.take(np.r_[np.arange(len(case.train)), np.arange(len(case.train))])
    assert beyond_accuracy(case.evaluation, train, (5,), truth=case.test).users.equals(
        beyond_accuracy(case.evaluation, case.train, (5,), truth=case.test).users
    )


def test_vectors_of_any_length_give_the_same_diversity(case):
    long = FeatureTable(case.table.ids, case.table.rows, case.table.values * np.float32(1e19))
    result = beyond_accuracy(case.evaluation, case.train, (5,), features={"image": long})
    np.testing.assert_allclose(result.users["ILD-image@5"], case.result.users["ILD-image@5"], rtol=1e-5, atol=1e-6)


def test_equal_vectors_have_no_diversity():
    table = FeatureTable(draw(0)[1].items, np.arange(31), np.full((31, 300), 0.1, np.float32))
    found = diversity.feature_diversity(np.array([[1, 2, 3, 4], [5, -1, -1, -1]]), table)
    assert 0 <= found[0] < 1e-6
    assert np.isnan(found[1])


def test_popular_lists_are_what_the_names_say():
    """Popularity has no serendipity, and everything about it is on the popular side of a random list."""
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, 61)
    pairs = {(user, int(item)) for user in range(300) for item in rng.choice(60, 8, p=chance / chance.sum())}
    pairs = np.array(sorted(pairs))
    held_out = rng.random(len(pairs)) < 0.2
    train, test = interactions(pairs[~held_out], 300, 60), interactions(pairs[held_out], 300, 60)
    popular = torch.from_numpy(train.item_degree().astype(np.float32)).repeat(300, 1)
    chosen = torch.rand(300, 60, generator=torch.Generator().manual_seed(0))
    first, second = (measured(scores, train, test) for scores in (popular, chosen))
    assert first["Serendipity@10"] == 0.0 < second["Serendipity@10"]
    for name in ("Popularity", "PopularityLift", "Gini"):
        assert first[f"{name}@10"] > second[f"{name}@10"], name
    for name in ("Novelty", "LongTail", "Coverage", "Entropy"):
        assert first[f"{name}@10"] < second[f"{name}@10"], name


def measured(scores, train: Interactions, test: Interactions) -> dict[str, float]:
    return beyond_accuracy(evaluate(Table(scores), seen=train, truth=test, ks=(10,)), train, (10,), truth=test).mean()


def test_every_column_has_a_measure_and_every_measure_a_column(case):
    seen = {measure_of(name).label for name in case.result.mean()}
    assert seen == set(MEASURES)
    assert {measure_of(name).of for name in case.result.users} == {"user"}
    assert {measure_of(name).of for name in case.result.overall} == {"items", "groups"}
    with pytest.raises(ValueError, match="unknown measure 'Novelti': did you mean 'Novelty'"):
        measure_of("Novelti@20")


@pytest.mark.parametrize("module", ["popularity", "diversity", "exposure"])
def test_every_measure_is_defined_with_its_source(module):
    text = (Path(diversity.__file__).parent / f"{module}.py").read_text(encoding="utf-8")
    functions = re.findall(r"^def ([a-z]\w+)\(.*?^    \"\"\"(.*?)\"\"\"", text, flags=re.MULTILINE | re.DOTALL)
    helpers = {"mean_over", "recommended", "exposure", "group_means", "gap_p_value", "behavior_diversity"}
    for name, docstring in functions:
        assert name in helpers or "https://" in docstring, name


def test_values_of_other_lengths_are_refused(case):
    short = FeatureTable(draw(0)[1].items, np.arange(2), np.ones((2, 2), np.float32))
    with pytest.raises(ValueError, match="features 'image' over the 14 item rows of training, got 31"):
        beyond_accuracy(case.evaluation, case.train, features={"image": short})
    with pytest.raises(ValueError, match="groups 'genre' over the 14 item rows"):
        beyond_accuracy(case.evaluation, case.train, item_groups={"genre": ["a"]})
    with pytest.raises(ValueError, match="groups 'age' over the 40 user rows"):
        beyond_accuracy(case.evaluation, case.train, user_groups={"age": [1, 2]})
    with pytest.raises(ValueError, match=r"cut-off in \[1, 14\]"):
        beyond_accuracy(case.evaluation, case.train, (20,))


def test_lists_of_nothing_have_no_values_but_raise_nothing(case):
    nothing = Lists(np.array([0, 1]), np.full((2, 5), -1, np.int32))
    result = beyond_accuracy(nothing, case.train, (5,), truth=case.test, features={"image": case.table})
    assert isinstance(result, BeyondAccuracy)
    assert result.users.drop(columns="Serendipity@5").isna().all(axis=None)
    assert result.overall["Coverage@5"] == 0.0
    assert np.isnan(result.overall["Gini@5"])
    nobody = Lists(np.empty(0, np.int64), np.empty((0, 5), np.int32))
    assert beyond_accuracy(nobody, case.train, (5,), features={"image": case.table}).users.empty
    assert pd.isna(beyond_accuracy(nobody, case.train, (5,), truth=case.test).overall["Gap-activity@5"])
