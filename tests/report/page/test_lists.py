"""Recommendation lists: the users, what is recommended to them, the marks and the reasons."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest

from graphrec.pipeline import load
from graphrec.report.page import lists_models
from graphrec.report.page.lists import labels, recommendations, signed
from graphrec.report.page.lists_models import (
    by_validation,
    first_model,
    is_validated,
    loaded,
    with_embeddings,
    with_parts,
)
from graphrec.report.page.lists_picks import LENGTH, hardest, picks, readers
from graphrec.report.page.study import make_study
from graphrec.runs import RunFolderError, scan_runs
from tests.report.page.atlas_shop import HOSTILE, shop


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return shop(tmp_path_factory.mktemp("lists"))


@pytest.fixture(scope="module")
def runs(study):
    return dict(loaded(study, ["ease", "hetero"]))


@pytest.fixture(scope="module")
def body(study):
    return str(recommendations(study).body)


def test_models_come_in_the_order_of_their_validation(write):
    runs = [write("low", 0.2), write("high", 0.4), write("none", 0.9, valid=None), write("ceiling", 0.9, kind="oracle")]
    runs += [write("sum", 0.8, kind="fusion"), write("closed", 0.3, closed_form=True)]
    study = make_study(runs, runs[0].path, reference="low")
    assert by_validation(study) == ["high", "closed", "low", "none"]
    assert with_embeddings(study) == ["high", "low", "none"]
    assert first_model(study, "high").path == runs[1].path
    assert labels(study) == ["high", "low"]
    assert labels(replace(study, reference=None)) == ["high", "closed"]
    assert labels(replace(study, reference="high")) == ["high", "closed"]


def test_the_best_trained_model_stands_beside_a_closed_form_that_is_best(write):
    runs = [write("linear", 0.4, closed_form=True), write("linear-2", 0.3, closed_form=True), write("graph", 0.2)]
    assert labels(make_study(runs, runs[0].path, reference="linear")) == ["linear", "graph"]


def test_the_best_model_whose_score_has_parts_is_among_those_shown(write):
    runs = [write("lightgcn", 0.4), write("ease", 0.3, closed_form=True), write("freedom", 0.2), write("vbpr", 0.1)]
    study = make_study(runs, runs[0].path, reference="ease")
    assert with_parts(study) == ["freedom", "vbpr"]
    assert labels(study) == ["lightgcn", "ease", "freedom"]


def test_a_model_without_validation_is_not_called_the_best_on_it(study, write):
    assert is_validated(study, "ease")
    assert not is_validated(make_study([run := write("a", valid=None)], run.path), "a")


def test_a_model_that_cannot_be_loaded_is_left_out(study, monkeypatch):
    def refuse(path):
        if "ease" in str(path):
            raise RunFolderError("damaged")
        return load(path)

    monkeypatch.setattr(lists_models, "load", refuse)
    assert [label for label, _ in loaded(study, ["ease", "hetero"])] == ["hetero"]


def test_users_are_spread_over_activity_and_the_worst_served_comes_last(runs):
    run = runs["hetero"]
    found = readers(run, "Recall@5")
    assert len({one.row for one in found}) == len(found) <= 6
    assert [one.is_miss for one in found] == [False] * (len(found) - 1) + [True]
    sizes = [len(one.had) for one in found[:-1]]
    assert sizes == sorted(sizes)
    for one in found:
        assert set(one.had) == set(run.data.split.train.item[run.data.split.train.user == one.row])
        assert one.wanted == set(run.data.test.item[run.data.test.user == one.row])


def test_the_worst_served_has_the_most_test_items_of_those_with_the_lowest_metric(runs):
    run = runs["hetero"]
    degree = run.data.test.user_degree()
    scores = pd.DataFrame({"Recall@5": [0.5, 0.0, 0.0, 0.1]}, index=pd.Index(["u3", "u9", "u4", "u5"]))
    assert degree[9] == degree[4]
    assert hardest(scores, "Recall@5", run) == 4
    assert hardest(scores, "NDCG@5", run) is None


def test_nobody_is_shown_without_test_items(runs):
    run = runs["hetero"]
    bare = load(run.folder.path)
    bare.data = bare.data.without_test()
    assert readers(bare, "Recall@5") == []


@pytest.mark.parametrize("label", ["ease", "hetero"])
def test_lists_are_those_of_the_model_and_hits_those_of_the_test_set(runs, label):
    run = runs[label]
    chosen = readers(run, "Recall@5")
    ids = list(run.data.split.users.ids([one.row for one in chosen]))
    expected = run.recommend(ids, LENGTH)
    for one, user, found in zip(chosen, ids, picks(run, chosen), strict=True):
        items = expected.loc[expected["user"] == user, "item"]
        assert [pick.row for pick in found] == run.data.split.items.rows(items).tolist()
        assert [pick.hit for pick in found] == [pick.row in one.wanted for pick in found]
        assert not set(one.had) & {pick.row for pick in found}


def test_a_graph_model_gives_shares_and_ways_and_a_closed_form_the_weights_of_liked_items(runs):
    chosen = readers(runs["hetero"], "Recall@5")
    for found in picks(runs["hetero"], chosen):
        for pick in found:
            assert list(pick.parts) == ["behavior", "image", "text", "linear"]
            assert sum(map(abs, pick.parts.values())) == pytest.approx(1)
            assert not pick.weights
    for one, found in zip(chosen, picks(runs["ease"], chosen), strict=True):
        for pick in found:
            assert not pick.parts
            assert not (pick.weights and pick.ways)
            assert set(pick.weights) <= set(one.had)
            assert list(pick.weights.values()) == sorted(pick.weights.values(), reverse=True)


def test_the_section_shows_every_user_with_both_models(body):
    html = re.sub("<style>.*?</style>", "", body, flags=re.DOTALL)
    users = len(re.findall(r'<input [^>]*data-kind="user"', html))
    assert html.count("<div data-user=") == users >= 5
    assert len(re.findall(r'<input [^>]*data-kind="model"', html)) == 2
    assert html.count('<ol class="picks">') == 2 * users
    assert html.count(" checked>") == 2


def test_hits_are_marked_in_words_too(study, runs, body):
    models = [run for _, run in loaded(study, labels(study))]
    chosen = readers(models[0], study.table.tested)
    hits = sum(pick.hit for run in models for found in picks(run, chosen) for pick in found)
    assert hits > 0
    assert body.count("✓ in the test set") == hits == body.count('class="is-hit"')


def test_pictures_are_embedded_once_and_words_stand_for_what_cannot_be_read(body):
    assert body.count("data:image/webp") == 3
    shown = set(re.findall(r'<div class="picture words" aria-hidden="true"><span>([^<]+)</span>', body))
    assert shown <= {"Item number 5", "Item number 6"}


def test_titles_cannot_break_the_page(body):
    assert HOSTILE not in body
    assert "&lt;/script&gt;" in body


def test_without_a_catalogue_items_are_called_by_id_and_no_place_is_kept_for_pictures(made):
    study = make_study(scan_runs(made)[0], made)
    body = str(recommendations(study).body)
    assert 'class="picture' not in body
    assert "item i" in body


def test_no_loadable_model_means_no_section(write):
    runs = [write("sum", 0.8, kind="fusion")]
    assert recommendations(make_study(runs, runs[0].path)) is None


@pytest.mark.parametrize(("share", "text"), [(0.714, "+71 %"), (-0.05, "−5 %"), (-0.001, "0 %"), (1.0, "+100 %")])
def test_shares_have_a_sign(share, text):
    assert signed(share).replace("\u00a0", " ") == text
