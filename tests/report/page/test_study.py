"""Studies: what a data set has, from the folders of its runs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from graphrec.report.page.study import by_data, legend, make_study
from graphrec.runs import scan_runs
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


def test_runs_are_of_the_same_data_where_only_features_differ(made, write, tmp_path):
    shutil.copytree(made / "gcn", tmp_path / "noise")
    for path in (tmp_path / "noise").rglob("data.json"):
        about = json.loads(path.read_text()) | {"identity": "of other features"}
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
