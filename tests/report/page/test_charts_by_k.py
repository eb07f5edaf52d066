"""Metric against k: every point is the metric that evaluation defines, and a list that was tampered with is found."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from graphrec.evaluation.metrics import MetricAt
from graphrec.report.page.charts_by_k import SHOWN, curves_of, hits_of, metric_by_k
from graphrec.report.page.study import make_study
from graphrec.runs import scan_runs


def test_curves_are_the_metrics_at_every_cutoff():
    rng = np.random.default_rng(0)
    hits, relevant = rng.random((40, 7)) < 0.2, rng.integers(5, 9, 40)
    found = curves_of(hits, relevant)
    for name in SHOWN:
        slow = [MetricAt(name, k)(torch.from_numpy(hits), torch.from_numpy(relevant)).mean() for k in range(1, 8)]
        np.testing.assert_allclose(found[name], slow, rtol=0, atol=1e-12)


def test_curves_meet_the_stored_values(made):
    study = make_study(scan_runs(made)[0], made)
    for run in study.runs:
        found, stored = curves_of(*hits_of(study, run)), run.metrics()["test"]
        for name in SHOWN:
            for k in (5, 10):
                assert found[name][k - 1] == pytest.approx(stored[MetricAt(name, k).label], abs=1e-12)


def test_the_section_has_a_chart_per_metric_and_a_line_per_model(made):
    body = metric_by_k(make_study(scan_runs(made)[0], made)).body
    assert body.count('class="chart"') == len(SHOWN)
    assert len(re.findall(r'"mode":"lines\+markers","name":"gcn"', body)) == len(SHOWN)


def test_lists_that_do_not_give_the_stored_values_are_refused(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    study = make_study(scan_runs(tmp_path / "copy")[0], tmp_path)
    path = study.groups["gcn"][0].path / "lists-test.parquet"
    lists = pq.read_table(path).column("items").combine_chunks()
    turned = np.roll(lists.flatten().to_numpy().reshape(len(lists), -1), 1, axis=0)
    path.unlink()
    pq.write_table(pa.table({"items": pa.FixedSizeListArray.from_arrays(pa.array(turned.ravel()), 10)}), path)
    with pytest.raises(ValueError, match="from its ranked lists"):
        metric_by_k(study)


def test_without_lists_there_is_nothing_to_show(write):
    run = write("a")
    assert metric_by_k(make_study([run], run.path)) is None
