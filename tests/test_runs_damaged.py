"""Run folders whose files are damaged, or lack what every reader needs."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from graphrec.runs import RunFolder, RunFolderError, scan_runs

WHOLE = {"label": "a", "kind": "model", "seed": 0, "test": {"Recall@20": 0.1}}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("metrics.json", {}, r"expected 'label' in .*metrics\.json as str, got None"),
        ("metrics.json", WHOLE | {"label": None}, "expected 'label' in .* as str, got None"),
        ("metrics.json", WHOLE | {"seed": "0"}, "expected 'seed' in .* as int or null, got '0'"),
        ("metrics.json", WHOLE | {"test": {}}, "expected numbers as test scores in .*, got {}"),
        ("metrics.json", WHOLE | {"test": {"Recall@20": None}}, "expected numbers as test scores"),
        ("data.json", {}, r"expected 'name' in .*data\.json as str"),
        ("data.json", {"name": "d"}, "expected 'identity' in"),
    ],
)
def test_a_run_whose_files_lack_what_all_need_is_damaged(tmp_path, name, values, message):
    run = RunFolder(tmp_path / "bad")
    run.begin({"model": {"name": "ease"}}, {"name": "d", "identity": "i"})
    run.write_metrics(WHOLE)
    run.check_readable()
    (run.path / name).write_text(json.dumps(values))
    with pytest.raises(RunFolderError, match=message):
        run.check_readable()


def test_scores_without_the_ids_of_their_users_are_damaged(tmp_path):
    run = RunFolder(tmp_path)
    pd.DataFrame({"user": ["a"], "Recall@20": [0.1]}).to_parquet(tmp_path / "users-test.parquet")
    with pytest.raises(RunFolderError, match=r"users-test\.parquet: it holds no ids of users"):
        run.users("test")


def test_a_damaged_run_does_not_hide_the_good_ones(tmp_path):
    for name in ("good", "bad", "begun"):
        RunFolder(tmp_path / name).begin({"model": {"name": "ease"}}, {"name": "d", "identity": "i"})
    for name in ("good", "bad"):
        RunFolder(tmp_path / name).write_metrics(WHOLE | {"label": name})
    (tmp_path / "bad" / "data.json").write_text("{")
    runs, problems = scan_runs(tmp_path)
    assert [run.path.name for run in runs] == ["good"]
    assert list(problems) == [tmp_path / "bad"]
    assert "data.json" in problems[tmp_path / "bad"]
    (tmp_path / "good" / "environment.json").unlink()
    with pytest.raises(RunFolderError, match=r"found none.*data\.json"):
        scan_runs(tmp_path)
