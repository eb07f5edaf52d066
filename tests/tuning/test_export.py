"""The trials as Parquet, and pages that need nothing else."""

import logging

import pandas as pd
import pytest

from graphrec.tuning import TuningError, export
from tests.tuning.small import CONFIG, METRIC, small


def test_trials_and_plots_are_written_beside_the_journal(tmp_path):
    study = small(
        tmp_path, tuning={"objectives": [METRIC, "coverage@5"]}, search={"graph.modalities": [["text"], None]}
    )
    files = export(tmp_path)
    assert [path.name for path in files] == ["trials.parquet", "history.html", "importance.html", "front.html"]
    frame = pd.read_parquet(files[0])
    pd.testing.assert_frame_equal(frame, study.trials, check_dtype=False)
    for path in files[1:]:
        page = path.read_text(encoding="utf-8")
        assert "Plotly.newPlot" in page
        assert 'src="http' not in page
        assert len(page) > 1_000_000  # the library is inside


def test_choices_of_several_types_fit_into_one_column(tmp_path):
    study = small(tmp_path, search={"training.clip_norm": [None, 1.0, 5.0]})
    export(tmp_path)
    column = pd.read_parquet(tmp_path / "trials.parquet")["training.clip_norm"]
    assert [None if pd.isna(value) else float(value) for value in column] == [
        study.params[number]["training.clip_norm"] for number in range(6)
    ]


def test_importance_is_left_out_where_trials_do_not_differ(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="graphrec")
    small(tmp_path, config={**CONFIG}, tuning={"trials": 1})
    (tmp_path / "importance.html").write_text("of an earlier study")
    assert [path.name for path in export(tmp_path)] == ["trials.parquet", "history.html"]
    assert "importance.html left out: expected two finished trials that differ" in caplog.text
    assert not (tmp_path / "importance.html").exists()


def test_a_folder_without_a_study_cannot_be_exported(tmp_path):
    with pytest.raises(TuningError, match="expected the journal of a study"):
        export(tmp_path)
