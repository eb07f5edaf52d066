"""The short answer: a win only where there is one, and what the test could have seen where there is none."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from graphrec.config import ConfigError
from graphrec.evaluation.differences import Differences
from graphrec.evaluation.significance import Scores, compare, compare_scores, holm, p_value_by
from graphrec.report import compare_runs
from graphrec.report.compare import answer
from graphrec.report.marking import contest, mark_of
from graphrec.report.table import Row

SEEDS = (0, 1, 2)


@pytest.fixture
def models(write):
    shifts = {"base": 0.0, "good": 0.2, "same": 0.0, "bad": -0.1}
    return {label: [write(label, seed, shift) for seed in SEEDS] for label, shift in shifts.items()}


def printed(found) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200).print(found.to_rich())
    return stream.getvalue()


def test_a_significant_difference_is_named_with_its_numbers(models, scores):
    found = compare_runs([*models["base"], *models["good"]])
    series = [
        [scores(seed, shift, label).by_id()["Recall@20"] for seed in SEEDS]
        for label, shift in (("good", 0.2), ("base", 0.0))
    ]
    expected = compare(*series, "recall@20")
    assert found.reference == "base"
    assert found.answers == (
        f"good is better than base: Recall@20 {expected.first:.4f} against {expected.second:.4f}, "
        f"{expected.difference:+.4f} [{expected.low:+.4f}, {expected.high:+.4f}], p = {expected.p_value:.4f}, "
        f"effect {expected.effect:+.3f}",
    )


def test_the_first_label_is_the_reference(models):
    (answer,) = compare_runs([*models["good"], *models["base"]]).answers
    assert answer.startswith("base is worse than good: ")


def test_no_significant_difference_says_what_the_test_could_have_seen(models):
    found = compare_runs([*models["base"], *models["same"]])
    (row,) = found.compared
    assert found.answers[0].startswith("no significant difference between same and base: Recall@20 ")
    assert found.answers[0].endswith(f"; the test could have seen {row.comparison.detectable:.4f}")


def test_several_models_are_compared_with_the_first_and_corrected(models):
    found = compare_runs([run for runs in models.values() for run in runs])
    assert [answer.split(":")[0] for answer in found.answers] == [
        "good is better than base",
        "no significant difference between same and base",
        "bad is worse than base",
    ]
    raw = [row.comparison.p_value for row in found.compared]
    assert [row.p_value for row in found.compared] == holm(raw).tolist()


def test_single_runs_say_that_training_is_not_covered(models, write):
    (answer,) = compare_runs([models["base"][0], models["good"][0]]).answers
    assert answer.startswith("in these runs good is better than base: ")
    assert answer.endswith("; over users alone: another training run, with another seed, may differ")
    closed = [write("ease", closed_form=True), write("knn", shift=0.2, closed_form=True)]
    assert compare_runs(closed).answers[0].startswith("knn is better than ease: ")
    assert "alone" not in compare_runs(closed).answers[0]


def _against_good(scores):
    found = {
        label: Scores.of([scores(seed, shift, label).by_id()["Recall@20"] for seed in SEEDS], "Recall@20")
        for label, shift in (("good", 0.2), ("base", 0.0), ("same", 0.0))
    }
    return [(found["good"], found[label]) for label in ("base", "same")]


@pytest.mark.parametrize(
    ("test", "name"), [("wilcoxon", "Wilcoxon's signed-rank test"), ("permutation", "Fisher's randomisation test")]
)
def test_other_tests_can_be_asked_for(models, scores, test, name):
    found = compare_runs([*models["base"], *models["good"], *models["same"]], test=test)
    series = [
        [scores(seed, shift, label).by_id()["Recall@20"] for seed in SEEDS]
        for label, shift in (("good", 0.2), ("base", 0.0))
    ]
    expected = compare(*series, "recall@20", test=test)
    good = found.compared[0]
    assert good.comparison.test == test
    assert good.comparison.p_value == expected.p_value != compare(*series, "recall@20").p_value
    assert f"significant: {name} over users and seeds" in " ".join(found.footnotes)
    best = found.table.contests["Recall@20"]
    raw = [p_value_by(test, Differences.between(*pair)) for pair in _against_good(scores)]
    assert best.best == "good"
    assert list(best.p_values.values()) == holm(raw).tolist()


def skewed(share: float, gain: float, loss: float) -> Scores:
    """Returns the scores of a model that gains for some users what it loses for all others, over the reference of 0."""
    values = np.random.default_rng(0).normal(scale=1e-4, size=(3, 2000)) - loss
    values[:, : round(2000 * share)] += gain + loss
    return Scores(values, pd.RangeIndex(2000), (0, 1, 2))


@pytest.mark.parametrize("share", [0.05, 0.0205])
def test_ranks_that_point_away_from_the_mean_claim_nothing(share):
    new, base = skewed(share, 0.5, 0.01), Scores(np.zeros((3, 2000)), pd.RangeIndex(2000), (0, 1, 2))
    (found,) = compare_scores([(new, base)], ["Recall@20"], test="wilcoxon")
    assert found.difference > 0
    assert found.p_value < 1e-6
    assert not found.agrees
    assert mark_of(found, found.p_value) == ""
    text = answer(Row("new", (), {}, {}, comparison=found, p_value=found.p_value), "base")
    assert text.startswith("no significant difference between new and base: ")
    assert "but the ranks of the users point the other way; a t-test could have seen" in text
    means = {"new": float(new.values.mean()), "base": 0.0}
    scores = {"new": {"Recall@20": new}, "base": {"Recall@20": base}}
    assert contest("Recall@20", means, scores, correction="holm", test="wilcoxon").winner is None
    assert contest("Recall@20", means, scores, correction="holm").winner == ("new" if share == 0.05 else None)


def test_a_mean_whose_interval_holds_zero_is_never_best_by_ranks():
    new, base = skewed(0.0195, -0.5, -0.01), Scores(np.zeros((3, 2000)), pd.RangeIndex(2000), (0, 1, 2))
    (found,) = compare_scores([(new, base)], ["Recall@20"], test="wilcoxon")
    assert found.difference > 0
    assert found.agrees
    assert found.p_value < 1e-6
    assert found.low < 0 < found.high
    text = answer(Row("new", (), {}, {}, comparison=found, p_value=found.p_value), "base")
    assert "no significant difference" in text
    assert "but the interval holds 0" in text
    scores = {"new": {"Recall@20": new}, "base": {"Recall@20": base}}
    means = {"new": float(new.values.mean()), "base": 0.0}
    assert contest("Recall@20", means, scores, correction="holm", test="wilcoxon").winner is None


def test_the_terminal_shows_the_answer_first_and_every_metric(models):
    found = compare_runs([*models["base"], *models["good"], *models["same"]], metrics=["ndcg@20", "mrr@20"])
    text = printed(found)
    assert text.startswith("good is better than base: NDCG@20 ")
    assert text.index(found.answers[1]) < text.index("detectable")
    for name in ("NDCG@20", "MRR@20", "50 test users, 3 seeds"):
        assert name in text
    assert sum(line.startswith("│ good") for line in text.splitlines()) == 2
    assert "bold:" not in text


def test_runs_with_one_label_can_be_named_apart(write):
    runs = [write("base", name="a"), write("base", 0, 0.2, name="b")]
    assert compare_runs(runs, labels=["old", "new"]).answers[0].startswith("in these runs new is better than old: ")


def test_a_model_without_values_per_user_is_not_compared(models, write):
    found = compare_runs([*models["base"], write("old", shift=0.3, keep_users=False)])
    assert found.answers == ("old cannot be compared with base: there are no values per user",)
    assert "│ old" in printed(found)


def test_bad_input_is_refused(models, write):
    with pytest.raises(ValueError, match="at least two models, got only base"):
        compare_runs(models["base"])
    with pytest.raises(ConfigError, match="unknown metric 'Recall@5'"):
        compare_runs([*models["base"], *models["good"]], metrics=["recall@5"])
    with pytest.raises(ConfigError, match="unknown test 'wilcoxn': did you mean 'wilcoxon'"):
        compare_runs([*models["base"], *models["good"]], test="wilcoxn")
    other = [write("other", seed) for seed in (3, 4)]
    with pytest.raises(ValueError, match="the same seeds for Wilcoxon's test"):
        compare_runs([*models["base"], *other], test="wilcoxon")
    with pytest.raises(ValueError, match="same data and split"):
        compare_runs([*models["base"], write("other", identity="b")])
