"""The map: what it is coloured by, where items lie, and how it answers in a browser."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import types

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from graphrec.data.catalog import Catalog
from graphrec.data.interactions import Ids
from graphrec.graph.build import GraphConfig, build_graph
from graphrec.pipeline import run
from graphrec.report.page import atlas, page
from graphrec.report.page.atlas import item_map, projections, sample
from graphrec.report.page.atlas_groups import categories, popularity
from graphrec.report.page.atlas_projection import modality_vectors, neighbours_kept, projection
from graphrec.report.page.page import write_page
from graphrec.report.page.study import make_study
from graphrec.runs import scan_runs
from graphrec.testing import block_data
from tests.report.page.atlas_shop import HOSTILE, shop

NUM_ITEMS = 34


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return shop(tmp_path_factory.mktemp("atlas"))


@pytest.fixture(autouse=True)
def _no_umap(monkeypatch):
    """Leaves UMAP out: compiling it takes longer than all other tests of this file."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "umap" else real(name))


@pytest.fixture
def body(study):
    vars(study).pop("thumbnails", None)
    return str(item_map(study).body)


def about(body: str) -> dict:
    return json.loads(re.search(r"data-about>(.*?)</script>", body, re.DOTALL)[1])


def figure(body: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', body, re.DOTALL)[1])


def catalog(**columns) -> Catalog:
    size = len(next(iter(columns.values())))
    return Catalog(Ids([f"i{row}" for row in range(size)]), pd.DataFrame(columns, dtype=object))


def test_categories_are_the_most_frequent_words_and_an_item_belongs_to_its_rarest():
    values = ["Drama"] * 6 + ["Comedy; Drama"] * 3 + ["Comedy|Action"] * 2 + [None]
    found = categories(catalog(title=[f"t{row}" for row in range(12)], genres=values))
    assert (found.name, found.labels) == ("genres", ("Drama", "Comedy", "Action", "not given"))
    assert [found.labels[group] for group in found.member] == ["Drama"] * 6 + ["Comedy"] * 3 + ["Action"] * 2 + [
        "not given"
    ]
    assert "rarest" in found.note


def test_more_than_seven_categories_share_other():
    words = [word for place, word in enumerate("abcdefghi") for _ in range(20 - place)]
    found = categories(catalog(brand=words))
    assert found.labels == (*"abcdefg", "other")
    assert [found.labels[group] for group in found.member] == [word if word in "abcdefg" else "other" for word in words]


@pytest.mark.parametrize(
    "columns",
    [
        {"text": ["a", "b"] * 10},
        {"price": [0.5, 1.5] * 10},
        {"brand": ["same"] * 20},
        {"brand": [f"brand {row}" for row in range(20)]},
        {"blurb": ["a sentence that is much too long to be a category of anything", "b"] * 10},
        {"genres": ["a", None, None, "b"] * 5 + [None]},
    ],
    ids=["text", "numbers", "one", "all different", "sentences", "mostly absent"],
)
def test_other_columns_are_no_categories(columns):
    assert categories(catalog(**columns)) is None


def test_a_column_called_genre_comes_before_others():
    assert categories(catalog(colour=["red", "blue"] * 5, genre=["a", "b"] * 5)).name == "genre"


@pytest.mark.parametrize("seed", range(5))
def test_popularity_groups_hold_the_degrees_they_are_called_by(seed):
    degree = np.random.default_rng(seed).geometric(0.1, 200) - 1
    found = popularity(degree)
    for value, group in zip(degree, found.member, strict=True):
        low, _, high = found.labels[group].partition("–")
        assert int(low) <= value <= int(high or low)
    assert found.labels[0] == "0"
    assert len(found.labels) == 6
    assert found.ordered


@pytest.mark.parametrize("degree", [[0, 0, 0], [1, 1, 1], [0, 1, 2], [5000, 0, 3]])
def test_popularity_knows_small_and_flat_catalogues(degree):
    found = popularity(np.array(degree))
    for value, group in zip(degree, found.member, strict=True):
        low, _, high = found.labels[group].replace(",", "").partition("–")
        assert int(low) <= value <= int(high or low)


def test_a_small_map_is_the_pca_of_unit_vectors():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((20, 6))
    vectors[3] = 0
    found = projection("text", np.arange(100, 120), vectors)
    there = np.arange(20) != 3
    unit = vectors[there] / np.linalg.norm(vectors[there], axis=1, keepdims=True)
    points = PCA(2).fit_transform(unit)
    expected = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    np.testing.assert_allclose(found.points, expected, atol=1e-9)
    assert found.method == "PCA"
    assert found.rows.tolist() == (100 + np.flatnonzero(there)).tolist()


def test_umap_is_taken_where_it_is_installed_with_a_seed(monkeypatch):
    asked = {}

    class UMAP:
        def __init__(self, **settings):
            asked.update(settings)

        def fit_transform(self, vectors):
            return vectors[:, :2]

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    vectors = np.random.default_rng(0).standard_normal((60, 4))
    assert projection("text", np.arange(60), vectors, seed=5).method == "UMAP"
    assert asked["random_state"] == 5
    assert projection("text", np.arange(20), vectors[:20]).method == "PCA"


@pytest.mark.parametrize("shape", [(4, 6), (30, 1)])
def test_too_little_makes_no_map(shape):
    assert projection("text", np.arange(shape[0]), np.ones(shape)) is None


def test_kept_neighbours_are_counted_as_in_a_slow_loop():
    rng = np.random.default_rng(1)
    vectors, points = rng.standard_normal((25, 8)), rng.standard_normal((25, 2))

    def near(values, row):
        far = np.linalg.norm(values - values[row], axis=1)
        far[row] = np.inf
        return set(np.argsort(far)[:10])

    expected = np.mean([len(near(vectors, row) & near(points, row)) / 10 for row in range(25)])
    assert neighbours_kept(vectors, points) == pytest.approx(expected)
    assert neighbours_kept(points, points) == 1


def test_imputed_vectors_are_not_on_the_map():
    graph = build_graph(block_data(), GraphConfig(neighbors=4, missing="mean"))
    rows, vectors = modality_vectors(graph, "text", np.arange(NUM_ITEMS))
    made = graph["text"].item_id[graph["text"].missing].numpy()
    assert len(made) > 0
    assert not set(rows) & set(made)
    assert len(rows) == len(vectors) == NUM_ITEMS - len(made)


def test_the_sample_is_seeded_and_ascending():
    assert sample(5).tolist() == [0, 1, 2, 3, 4]
    assert sample(1000, 50).tolist() == sample(1000, 50).tolist() == sorted(set(sample(1000, 50).tolist()))
    assert len(sample(1000, 50)) == 50


def test_there_is_a_map_of_the_best_trained_model_and_of_every_modality(study):
    found = projections(study, np.arange(NUM_ITEMS))
    assert [one.name for one in found] == ["fused by hetero", "image", "text"]
    assert NUM_ITEMS - 1 not in found[0].rows or NUM_ITEMS - 1 in np.concatenate([one.rows for one in found[1:]])


def test_a_model_without_parts_is_not_called_fused(made):
    runs = [run for run in scan_runs(made)[0] if run.metrics()["label"] == "gcn"]
    assert projections(make_study(runs, made), np.arange(NUM_ITEMS))[0].name == "embeddings of gcn"


def test_every_item_of_a_map_is_drawn_once_in_every_colouring_and_told_by_its_own_title(study, body):
    told, drawn = about(body), figure(body)
    assert [one["name"] for one in told["maps"]] == ["fused by hetero", "image", "text"]
    assert len(told["layers"]) == len(drawn["data"]) - 1
    maps = projections(study, np.arange(NUM_ITEMS))
    rows = np.unique(np.concatenate([one.rows for one in maps]))
    assert told["titles"] == [study.dataset.items.frame["title"][row] for row in rows]
    for number, one in enumerate(maps):
        for colouring in (0, 1):
            layers = zip(told["layers"], drawn["data"], strict=False)
            traces = [trace for layer, trace in layers if layer == [number, colouring]]
            assert all(trace["visible"] == (number == colouring == 0) for trace in traces)
            places = {at: xy for t in traces for at, *xy in zip(t["customdata"], t["x"], t["y"], strict=True)}
            expected = {int(np.searchsorted(rows, row)): xy for row, xy in zip(one.rows, one.points, strict=True)}
            assert set(places) == set(expected)
            assert len(expected) == sum(len(trace["x"]) for trace in traces)
            for at, xy in places.items():
                np.testing.assert_allclose(xy, expected[at], atol=1e-4)


def test_pictures_are_embedded_once_and_titles_cannot_break_the_page(body):
    assert body.count("data:image/webp") == 3
    assert HOSTILE not in body
    assert HOSTILE in about(body)["titles"]
    assert "could not be read: 1." in body


def test_no_vectors_and_no_embeddings_mean_no_section(made, monkeypatch):
    runs = [run for run in scan_runs(made)[0] if run.metrics()["label"] == "popularity"]
    monkeypatch.setattr(atlas, "with_vectors", lambda graph: ())
    assert item_map(make_study(runs, made)) is None


def test_a_closed_form_alone_shows_the_vectors_of_its_graph(made):
    runs = [run for run in scan_runs(made)[0] if run.metrics()["label"] == "popularity"]
    assert [one.name for one in projections(make_study(runs, made), np.arange(NUM_ITEMS))] == ["image", "text"]


@pytest.fixture
def opened(study, monkeypatch, tmp_path):
    """Yields a page with the map and the lists alone, in Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="the page is looked at in a browser")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium to open the page in")
    monkeypatch.setattr(page, "SECTIONS", ("atlas:item_map", "lists:recommendations"))
    path = page.write_page(study.folder, tmp_path / "page.html", reference="ease")
    with api.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1200, "height": 900})
        failures: list[str] = []
        shown.on("pageerror", lambda error: failures.append(str(error)))
        shown.goto(path.as_uri())
        shown.locator(".atlas .chart").evaluate(
            "element => element.scrollIntoView({block: 'center', behavior: 'instant'})"
        )
        shown.wait_for_selector(".atlas .chart[data-drawn]")
        yield shown
        browser.close()
    assert failures == []


@pytest.mark.browser
def test_the_map_and_the_lists_answer_in_a_browser(opened, study):
    point = opened.locator(".atlas .scatterlayer .points path").first.bounding_box()
    opened.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    opened.wait_for_selector(".atlas-card:not([hidden])")
    assert opened.locator(".atlas-card strong").inner_text() in set(study.dataset.items.frame["title"])
    groups = opened.locator(".atlas .legendtext").all_inner_texts()
    opened.select_option("[data-colour]", label="popularity")
    opened.select_option("[data-map]", label="text")
    assert opened.locator(".atlas .legendtext").all_inner_texts() != groups
    assert "PCA" in opened.locator("[data-note]").inner_text()
    opened.fill(".atlas input", "number 12")
    opened.press(".atlas input", "Tab")
    assert opened.locator(".atlas-found strong").inner_text() == "Item number 12"
    opened.locator(".atlas-found button").first.click()
    assert opened.locator(".atlas-found strong").inner_text() != "Item number 12"
    opened.click("#theme")
    ring = opened.locator(".atlas .scatterlayer .trace").last.locator(".points path")
    assert ring.count() == 1
    visible = opened.locator(".picks:visible")
    before = visible.inner_text()
    assert visible.count() == 1
    opened.locator('[data-kind="model"][value="1"]').check(force=True)
    assert visible.count() == 1
    assert visible.inner_text() != before


def test_models_whose_embeddings_are_their_parameters_are_drawn(tmp_path):
    training = {"max_epochs": 1, "batch_size": 64, "trackers": []}
    run(
        {"model": {"name": "mf"}, "graph": {"neighbors": 4}, "training": training, "evaluation": {"ks": [5]}},
        folder=tmp_path / "mf" / "seed-0",
        data=block_data(),
    )
    text = write_page(tmp_path, sections=("atlas:item_map",)).read_text(encoding="utf-8")
    assert "could not be made" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert about(text)
