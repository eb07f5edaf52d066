"""The numbers of the table against NumPy and the tests they are made with; what is marked, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from graphrec.config import ConfigError
from graphrec.data.files import write_json
from graphrec.evaluation.differences import components
from graphrec.evaluation.ranking import Evaluation
from graphrec.evaluation.significance import benjamini_hochberg, compare, holm, paired_t
from graphrec.report import report
from graphrec.runs import RunFolderError

SEEDS = (0, 1, 2)


def row_of(table, label):
    return next(row for row in table.rows if row.label == label)


def values(scores, label, shift, seeds=SEEDS, metric="Recall@20"):
    return np.array([scores(seed, shift, label).frame[metric].to_numpy() for seed in seeds])


def test_means_and_deviations(runs, scores):
    table = report(runs)
    row = row_of(table, "good")
    expected = values(scores, "good", 0.2).mean(axis=1)
    assert row.mean["Recall@20"] == pytest.approx(expected.mean(), abs=1e-15)
    assert row.deviation["Recall@20"] == pytest.approx(expected.std(ddof=1), abs=1e-15)
    assert table.metrics == ("Recall@20", "NDCG@20")
    assert [row.label for row in table.rows] == ["base", "good", "ease", "final", "oracle"]
    assert table.best("Recall@20") == row.mean["Recall@20"]


def test_means_have_intervals_over_users_and_seeds(runs, scores):
    matrix = values(scores, "good", 0.2, metric="NDCG@20")
    found = components(matrix)
    half = found.quantile(0.975)
    expected = (matrix.mean() - half, matrix.mean() + half)
    assert row_of(report(runs), "good").intervals["NDCG@20"] == pytest.approx(expected)


@pytest.mark.parametrize(("correction", "function"), [("holm", holm), ("bh", benjamini_hochberg)])
def test_rows_are_tested_over_users_and_seeds_and_corrected(runs, scores, correction, function):
    base = values(scores, "base", 0.0)
    others = {
        "good": values(scores, "good", 0.2),
        "ease": values(scores, "ease", 0.05, seeds=(9,)),
        "final": values(scores, "final", 0.1),
    }
    raw = {label: paired_t(found - base) for label, found in others.items()}
    expected = dict(zip(raw, function(list(raw.values())), strict=True))
    table = report(runs, reference="base", correction=correction)
    found = {row.label: row.p_value for row in table.rows}
    assert {label: found[label] for label in expected} == pytest.approx(expected)
    assert np.isnan([found["base"], found["oracle"]]).all()
    assert row_of(table, "ease").comparison.seeds == (0, 3)


def test_the_comparison_of_a_row_is_that_of_compare(runs, scores):
    series = [
        [scores(seed, shift, label).by_id()["NDCG@20"] for seed in SEEDS]
        for label, shift in (("good", 0.2), ("base", 0.0))
    ]
    found = row_of(report(runs, reference="base"), "good").comparisons["NDCG@20"]
    expected = compare(*series, "ndcg@20")
    assert (found.metric, found.seeds, found.is_paired, found.p_value) == ("NDCG@20", (3, 3), True, expected.p_value)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_significantly_better_and_worse_rows_are_marked_in_each_column(write, scores):
    worse = [write("worse", seed, -0.1) for seed in SEEDS]
    same = [write("same", seed) for seed in SEEDS]
    one_column = scores(0, 0.0, "mixed")
    one_column.frame["NDCG@20"] += 0.2
    mixed = write("mixed", values=one_column, closed_form=True)
    runs = [
        *(write("base", seed) for seed in SEEDS),
        *(write("good", seed, 0.2) for seed in SEEDS),
        *worse,
        *same,
        mixed,
    ]
    table = report(runs, reference="base")
    marks = {row.label: tuple(row.mark(metric) for metric in table.metrics) for row in table.rows}
    assert marks["good"] == ("▲", "▲")
    assert marks["worse"] == ("▼", "▼")
    assert marks["same"] == marks["base"] == ("", "")
    assert marks["mixed"] == ("", "▲")


def test_bold_is_only_what_is_significantly_better_than_every_other_model(runs, write):
    table = report(runs)
    bold = {row.label: table.is_bold(row, "Recall@20") for row in table.rows}
    assert bold == {"base": False, "good": True, "ease": False, "final": False, "oracle": False}
    rival = [write("rival", seed, 0.201) for seed in SEEDS]
    close = report([*runs, *rival])
    assert not any(close.is_bold(row, metric) for row in close.rows for metric in close.metrics)
    contest = close.contests["Recall@20"]
    assert {contest.best, *contest.equal} == {"good", "rival"}
    assert "**0." not in close.to_markdown()
    assert "bold: better than every other model; no model is" in close.footnotes


def test_the_best_with_few_noisy_runs_is_not_bold(write):
    """A test over users alone would call it best: its mean is far ahead, but so would be the next run's."""
    lucky = [write("lucky", seed, shift) for seed, shift in zip(SEEDS, (0.3, 0.05, -0.02), strict=True)]
    table = report([*lucky, *(write("base", seed) for seed in SEEDS)], reference="base")
    row = row_of(table, "lucky")
    assert row.mean["Recall@20"] > row_of(table, "base").mean["Recall@20"] + 0.05
    assert row.mark("Recall@20") == ""
    assert table.contests["Recall@20"].winner is None


def test_no_model_wins_against_itself_alone(write):
    table = report([write("one")])
    assert table.contests == {}
    assert "**0." not in table.to_markdown()
    assert not any("bold" in note for note in table.footnotes)


def test_metrics_that_are_not_kept_per_user_or_not_accuracy_are_shown_without_marks(write, scores):
    def run(label, shift):
        found = scores(0, shift, label)
        found.frame["Popularity@20"] = found.frame["MRR@20"] * 100
        return write(label, values=found, closed_form=True, test=found.mean() | {"Coverage@20": 0.5 + shift})

    table = report(
        [run("base", 0.0), run("good", 0.2)], reference="base", metrics=["mrr@20", "Coverage@20", "Popularity@20"]
    )
    row = row_of(table, "good")
    assert table.metrics == ("MRR@20", "Coverage@20", "Popularity@20")
    assert [row.mark(name) for name in table.metrics] == ["▲", "", ""]
    assert [table.is_bold(row, name) for name in table.metrics] == [True, False, False]
    assert set(row.comparisons) == {"MRR@20", "Popularity@20"}
    assert table.to_csv().count("Coverage@20 p") == 1


def test_a_run_without_values_per_user_is_shown_and_not_tested(runs, write):
    table = report([*runs, write("old", shift=0.3, keep_users=False)], reference="base")
    row = row_of(table, "old")
    assert row.comparison is None
    assert np.isnan(row.p_value)
    assert not any(table.is_bold(row, metric) for row in table.rows for metric in table.metrics)
    assert "not tested, no values of two users or more: old; no bold" in table.footnotes
    assert row_of(table, "good").mark("Recall@20") == "▲"


def test_single_training_runs_get_hollow_marks_and_no_bold(write):
    runs = [write("base"), write("good", shift=0.2), write("bad", shift=-0.1)]
    table = report(runs, reference="base")
    assert [row_of(table, label).mark("Recall@20") for label in ("good", "bad")] == ["△", "▽"]
    assert not any(table.is_bold(row, metric) for row in table.rows for metric in table.metrics)
    assert table.contests["Recall@20"].equal == ()
    assert table.contests["Recall@20"].single == ("base", "good", "bad")
    assert r"$\vartriangle$" in table.to_latex()
    assert "significant: paired t-test over users, p < 0.05 after Holm for the models of a column" in table.footnotes
    assert not any("▲" in note for note in table.footnotes)


def test_one_single_training_run_among_several_seeds_takes_the_bold_away(write):
    runs = [write(label, seed, shift) for label, shift in (("base", 0.0), ("good", 0.3)) for seed in (0, 1, 2)]
    table, more = report(runs), report([*runs, write("lone")])
    assert table.is_bold(row_of(table, "good"), "Recall@20")
    assert not more.is_bold(row_of(more, "good"), "Recall@20")


def test_a_single_test_user_is_shown_and_not_tested(write, scores):
    def one(label):
        found = scores(0, 0.0, label)
        return Evaluation(found.frame.iloc[:1], found.users)

    table = report([write("base", values=one("base")), write("good", values=one("good"))], reference="base")
    assert [row.comparison for row in table.rows] == [None, None]
    assert "not tested, no values of two users or more: base, good; no bold" in table.footnotes


def test_seeds_that_differ_between_models_are_two_samples(write):
    table = report(
        [*(write("base", seed) for seed in (0, 1)), *(write("good", seed, 0.2) for seed in (5, 6, 7))], reference="base"
    )
    found = row_of(table, "good").comparison
    assert (found.seeds, found.is_paired) == ((3, 2), False)


def test_footnotes_say_what_a_reader_must_know(runs, write):
    single = write("single", 0, 0.02)
    notes = report([*runs, single, *(write("double", seed) for seed in (0, 1))], reference="base").footnotes
    text = "\n".join(notes)
    for note in (
        "50 test users, 1 to 3 seeds; mean ± standard deviation over seeds",
        "solved, not trained, one run without a seed: ease",
        "one training run, so how much training varies is not known: single",
        "two seeds, from which the variance of training is hardly known: double",
        "significant: paired t-test over users and seeds, p < 0.05 after Holm for the models of a column",
        "no bold: a single training run cannot show that a model is best",
        "▲ better, ▼ worse than base; △ better, ▽ worse than base in single training runs; difference",
        "smallest difference in Recall@20 from base that one test at 5 % finds in 4 of 5 cases: 0.0",
        "refit: trained once more",
        "known ceiling: the true preference",
        "unseen ids dropped: 3 valid",
    ):
        assert note in text


def test_the_tuning_budget_is_named(write, tmp_path):
    tuned = [write("tuned", seed, name=f"tuned/seed-{seed}") for seed in (0, 1)]
    write_json(tmp_path / "tuned" / "tuning" / "study.json", {"budget": {"trials": 20}})
    notes = report([*tuned, write("plain", name="plain/seed-0")], footnotes=["all on one machine"]).footnotes
    assert "tuning: 20 trials on validation (tuned); settings as given (plain)" in notes
    assert notes[-2:] == ("all on one machine", "unseen ids dropped: 3 valid, 4 test")
    assert not any(note.startswith("tuning") for note in report([write("plain", name="again/seed-0")]).footnotes)


@pytest.mark.parametrize(("complete", "said"), [(17, "20 trials"), (16, "19 of 20 trials"), (37, "40 trials")])
def test_the_tuning_budget_is_what_was_spent(write, tmp_path, complete, said):
    states = {"complete": complete, "pruned": 2, "failed": 1, "lost": 3, "running": 0, "waiting": 0}
    runs = [write("tuned", name="tuned/seed-0"), write("sum", name="sum/seed-0", kind="fusion")]
    write_json(tmp_path / "tuned" / "tuning" / "study.json", {"budget": {"trials": 20}, "trials": states})
    notes = report(runs).footnotes
    assert f"tuning: {said} on validation (tuned); as its parts, then 0 weights on validation (sum)" in notes


def test_unknown_names_are_refused(runs):
    with pytest.raises(ConfigError, match="unknown label 'bass': did you mean 'base'"):
        report(runs, reference="bass")
    with pytest.raises(ConfigError, match="unknown metric 'Recall@7'"):
        report(runs, metrics=["recall@7"])
    with pytest.raises(ConfigError, match="unknown correction 'bonferroni'"):
        report(runs, reference="base", correction="bonferroni")


def test_a_damaged_file_is_named(runs):
    (runs[1].path / "users-test.parquet").write_bytes(b"nothing")
    with pytest.raises(RunFolderError, match=r"users-test\.parquet"):
        report(runs)
