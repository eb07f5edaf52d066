"""The answer: it says that a model is best exactly where the table makes it bold."""

from __future__ import annotations

from graphrec.report.page.answer import answer
from graphrec.report.page.study import make_study


def study_of(*runs):
    return make_study(runs, runs[0].path.parent)


def test_a_clear_winner_is_named_with_its_lead(write):
    study = study_of(*(write(label, mean, seed) for label, mean in (("a", 0.3), ("b", 0.6)) for seed in (0, 1, 2)))
    found = answer(study)
    row = next(row for row in study.table.rows if row.label == "b")
    assert study.table.is_bold(row, "Recall@20")
    assert found.sentence.startswith("<strong>b</strong> is best")
    assert found.sentence.endswith("and the difference is significant.")
    assert f"{row.mean['Recall@20']:.4f}" in found.sentence
    assert "the seeds" in found.detail


def test_a_difference_by_chance_is_no_win(write):
    runs = [write(label, 0.3, seed, noise=n) for n, label in enumerate("abc") for seed in (0, 1, 2)]
    study = study_of(*runs)
    found = answer(study)
    assert not any(study.table.is_bold(row, "Recall@20") for row in study.table.rows)
    assert found.sentence.startswith("No model is shown to be best")
    assert "not significant" in found.sentence
    assert " % above" not in found.sentence  # a ratio would sell it
    assert "is best:" not in found.sentence


def test_one_seed_each_is_no_win_and_said_to_leave_training_out(write):
    study = study_of(write("a", 0.3), write("b", 0.6))
    found = answer(study)
    assert not any(study.table.is_bold(row, "Recall@20") for row in study.table.rows)
    assert found.sentence.startswith("In these runs <strong>b</strong> has the highest Recall@20")
    assert "Of b and a there is one training run only, so no model is shown to be better." in found.sentence
    assert "how much training varies is not in it" in found.detail


def test_a_model_on_its_own_is_compared_with_nothing(write):
    found = answer(study_of(write("a<b", 0.3)))
    assert found.sentence.startswith("<strong>a&lt;b</strong>, the only model here")


def test_the_known_ceiling_takes_no_part(write):
    oracle = write("oracle", 0.9, kind="oracle", closed_form=True, seed=0)
    found = answer(study_of(oracle, *(write(label, mean) for label, mean in (("a", 0.3), ("b", 0.6)))))
    assert "oracle" not in found.sentence
