"""Studies: what a data set has, from the folders of its runs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from graphrec.report.page.study import by_data, legend, make_study
from graphrec.runs import RunFolderError, scan_runs
from graphrec.testing import block_data


@pytest.fixture
def study(made):
    return make_study(scan_runs(made)[0], made)


def test_runs_are_grouped_by_label_without_the_ceiling(study):
    assert {label: len(runs) for label, runs in study.groups.items()} == {"gcn": 2, "hetero": 2, "popularity": 1}
    assert len({study.look(label) for label in study.labels}) == 3


def test_modalities_and_vectors_are_those_of_the_data(study):
    data = block_data()
    for name, vectors in data.vectors.items():
        rows = data.split.items.rows(vectors.ids.index)
        assert set(np.flatnonzero(study.modality_masks[name])) == set(rows)
        table = study.features[name]
        np.testing.assert_allclose(table.values, vectors.values[np.argsort(rows)], rtol=1e-6)


def test_a_reference_that_no_run_has_is_left_out(made):
    assert make_study(scan_runs(made)[0], made, reference="other").reference is None
    assert make_study(scan_runs(made)[0], made, reference="gcn").reference == "gcn"


def test_models_stand_in_the_order_of_the_benchmark_file_with_its_reference(write):
    runs = [write("a", 0.2), write("b", 0.3), write("c", 0.4), write("d", 0.5), write("mix", 0.1)]
    file = runs[0].path.parents[1] / "benchmark.yaml"
    file.write_text("reference: c\nmodels: {c: {}, a: {}}\nfusions: {mix: {}}")
    study = make_study(runs, file.parent)
    assert study.labels == ("c", "a", "mix", "d", "b")
    assert study.reference == "c"
    assert make_study(runs, file.parent, reference="a").reference == "a"


@pytest.mark.parametrize("content", [None, b"reference: gone", b"\xff\xfe: [", b"- a list"])
def test_without_a_benchmark_file_that_helps_models_stand_by_the_tested_metric(write, content):
    runs = [write("a", 0.2), write("b", 0.4), write("c", 0.3)]
    if content is not None:
        (runs[0].path.parents[1] / "benchmark.yaml").write_bytes(content)
    study = make_study(runs, runs[0].path)
    assert study.labels == ("b", "c", "a")
    assert study.reference is None


def test_data_and_graph_come_from_a_run_that_kept_readable_ones(made, write, tmp_path):
    folder = shutil.copytree(made, tmp_path / "copy")
    for name in ("dataset/dataset.json", "graph.json"):
        file = folder / "popularity" / "seed-0" / name
        file.unlink()
        file.write_text("{")
    study = make_study(scan_runs(folder)[0], folder)
    assert study.first.path.parent.name == "popularity"
    assert study.dataset.num_items == block_data().num_items
    assert set(study.features) == {"image", "text"}
    nothing = make_study([run := write("a")], run.path)
    assert (nothing.kept, nothing.graph, nothing.modality_masks, nothing.features) == (None, None, {}, {})
    with pytest.raises(RunFolderError, match="expected a data set"):
        _ = nothing.dataset


def test_runs_are_of_the_same_data_where_only_features_differ(made, write, tmp_path):
    shutil.copytree(made / "gcn", tmp_path / "noise")
    for path in (tmp_path / "noise").rglob("data.json"):
        about = json.loads(path.read_text()) | {"identity": "of other features"}
        path.unlink()
        path.write_text(json.dumps(about))
    together = [*scan_runs(made)[0], *scan_runs(tmp_path / "noise")[0]]
    assert sorted(len(found) for found in by_data(together)) == [2, 5]  # a label has a seed twice
    for path in (tmp_path / "noise").rglob("metrics.json"):
        about = json.loads(path.read_text()) | {"label": "noise"}
        path.unlink()
        path.write_text(json.dumps(about))
    runs = [*scan_runs(made)[0], *scan_runs(tmp_path / "noise")[0], write("a")]
    assert [len(found) for found in by_data(runs)] == [7, 1]


def test_a_ceiling_alone_is_no_study(write):
    run = write("oracle", kind="oracle")
    with pytest.raises(ValueError, match="known ceiling alone"):
        make_study([run], run.path)


def test_the_legend_has_a_button_per_label(study):
    html = legend(study, ["gcn", "hetero"])
    assert html.count("<button") == html.count('aria-pressed="true"') == 2
