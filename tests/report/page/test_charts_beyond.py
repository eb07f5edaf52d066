"""Beyond accuracy: the table holds what the measures say, averaged over seeds."""

from __future__ import annotations

import numpy as np

from graphrec.evaluation.beyond import MEASURES, beyond_accuracy
from graphrec.evaluation.lists import Lists
from graphrec.report.page.charts_beyond import beyond_table
from graphrec.report.page.study import make_study
from graphrec.runs import scan_runs


def test_the_table_holds_the_means_over_seeds(made):
    study = make_study(scan_runs(made)[0], made)
    data, body = study.dataset, beyond_table(study).body
    found = []
    for run in study.groups["gcn"]:
        lists = Lists.by_id(run.users("test").index, run.lists("test"), data.split.users)
        found.append(beyond_accuracy(lists, data.split.train, (5,), truth=data.test).mean()["Novelty@5"])
    row = body.split("Novelty")[1].split("</tr>")[0]
    assert f"<td>{np.mean(found):.4f}</td>" in row
    assert "ILD-image" in body
    assert all(measure.meaning.replace("'", "&#39;") in body for measure in MEASURES.values())
