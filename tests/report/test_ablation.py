"""The table of differences against pandas and the significance room, and what a heat map marks."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from graphrec.config import ConfigError
from graphrec.data.interactions import Ids
from graphrec.evaluation.ranking import Evaluation
from graphrec.evaluation.significance import compare, holm
from graphrec.report import heat_map as maps
from graphrec.report.ablation import ablation_table, grid_table, heat_map
from graphrec.report.marking import MARKS
from graphrec.runs import RunFolder, save_dataset
from graphrec.testing import block_data

NUM_USERS = 60
METRICS = ["Recall@20", "NDCG@20"]
ABOUT = {"name": "tiny", "fingerprint": "f", "identity": "a", "statistics": {"users": NUM_USERS}, "notes": []}


def scores(seed, shift, users=NUM_USERS):
    """Returns values whose users differ much and whose runs differ little, so that pairs tell what means do not."""
    base = np.random.default_rng(0).random((NUM_USERS, 2)) * 0.5
    noise = np.random.default_rng([seed, round(shift * 1e4) + 10_000]).normal(scale=0.01, size=(NUM_USERS, 2))
    frame = pd.DataFrame((base + noise + shift)[:users], columns=METRICS, index=pd.RangeIndex(users, name="user"))
    return Evaluation(frame, Ids([f"u{row}" for row in range(users)]))


@pytest.fixture
def write(tmp_path):
    def written(label, seed=0, shift=0.0, *, parts=("valid",), users=NUM_USERS, config=None, data=None, **changes):
        folder = RunFolder(tmp_path / label / f"seed-{seed}")
        folder.begin(config or {}, ABOUT | (data or {}))
        found = scores(seed, shift, users)
        for part in parts:
            folder.write_users(part, found)
        about = {"label": label, "seed": seed, "kind": "model", "closed_form": False, "metric": "Recall@20"}
        about |= {part: found.mean() if part in parts else None for part in ("valid", "test")}
        folder.write_metrics(about | changes)
        return folder

    return written


@pytest.fixture
def runs(write):
    shifts = {"without text": -0.05, "base": 0.0, "more layers": 0.0002, "more data": 0.04}
    return [write(label, seed, shift) for label, shift in shifts.items() for seed in (0, 1, 2)]


def test_differences_are_those_of_the_significance_room(runs):
    table = ablation_table(runs)
    assert [row.label for row in table.rows] == ["base", "without text", "more layers", "more data"]
    series = {row.label: {seed: scores(seed, shift).by_id()["Recall@20"] for seed in (0, 1, 2)}
              for row, shift in zip(table.rows, (0.0, -0.05, 0.0002, 0.04), strict=True)}  # fmt: skip
    expected = [compare(series[row.label], series["base"], "Recall@20") for row in table.rows[1:]]
    assert [row.comparison for row in table.rows[1:]] == expected
    assert [row.p_value for row in table.rows[1:]] == pytest.approx(holm([one.p_value for one in expected]).tolist())
    means = [np.mean([values.mean() for values in runs_of.values()]) for runs_of in series.values()]
    assert [row.mean for row in table.rows] == pytest.approx(means)
    deviation = np.std([values.mean() for values in series["base"].values()], ddof=1)
    assert table.rows[0].deviation == pytest.approx(deviation)


def test_only_what_is_significant_is_marked_and_bold(runs):
    table = ablation_table(runs)
    assert [row.mark for row in table.rows] == ["", MARKS[1], "", MARKS[0]]
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in table.to_markdown().splitlines() if "|" in line}
    assert "**-0.0499 [" in lines["without text"]
    assert "**+0.0406 [" in lines["more data"]
    assert "**" not in lines["more layers"] + lines["base"]
    assert "+0.0000 [" in lines["more layers"]


def test_a_difference_that_is_large_but_whose_interval_holds_zero_is_not_marked(runs):
    row = ablation_table(runs).rows[1]
    wide = type(row)(**{**vars(row), "comparison": type(row.comparison)(**{**vars(row.comparison), "high": 0.001})})
    unsure = type(row)(**{**vars(row), "p_value": 0.06})
    assert (row.mark, wide.mark, unsure.mark) == (MARKS[1], "", "")


def test_the_footnotes_say_which_part_and_what_the_marks_mean(runs, write):
    notes = " ".join(ablation_table(runs).footnotes)
    assert "on validation, where choices belong: the test set is not in this table" in notes
    assert "corrected by Holm for 3" in notes
    assert "runs per row: 3" in notes
    assert "single training runs" not in notes
    final = [write(label, 0, shift, parts=("valid", "test")) for label, shift in (("base", 0.0), ("other", 0.1))]
    table = ablation_table(final, part="test", metric="ndcg@20")
    assert table.title == "tiny, test set: NDCG@20 against base"
    assert "a final table, not to choose by" in table.footnotes[0]
    assert "△ ▽: of single training runs, which may be luck; run several seeds to know" in table.footnotes
    assert table.rows[1].mark == "△"
    assert "**" not in table.to_markdown().split("\n", 1)[1]


def test_csv_has_everything_in_full_precision(runs):
    table = ablation_table(runs, metric="NDCG@20")
    frame = pd.read_csv(io.StringIO(table.to_csv()), keep_default_na=False, na_values=[""])
    assert frame["setting"].tolist() == [row.label for row in table.rows]
    assert frame["difference"][1] == table.rows[1].comparison.difference
    assert frame["p holm"][1] == table.rows[1].p_value
    assert frame["part"].unique().tolist() == ["valid"]
    assert {"low", "high", "effect", "detectable", "p", "NDCG@20", "NDCG@20 std"} <= set(frame.columns)


def test_latex_is_booktabs_with_its_characters_escaped(write):
    runs = [write("base"), write("a_b & {50%}", shift=0.1)]
    text = ablation_table(runs).to_latex()
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    row = next(line for line in text.splitlines() if line.startswith(r"a\_b \& \{50\%\}"))
    assert row.count(" & ") == 4
    assert row.endswith(r"$\vartriangle$ \\")
    assert all(ord(character) < 128 for line in text.splitlines() if not line.startswith("%") for character in line)


def test_the_terminal_and_the_files_have_every_row(runs, tmp_path):
    table = ablation_table(runs)
    console = Console(file=io.StringIO(), width=120)
    console.print(table.to_rich())
    assert all(row.label in console.file.getvalue() for row in table.rows)
    paths = table.write(tmp_path, "study")
    assert [path.name for path in paths] == ["study.md", "study.csv", "study.tex"]
    assert paths[0].read_text(encoding="utf-8") == table.to_markdown()


def test_rows_that_cannot_be_compared_are_told_and_the_others_go_on(runs, write):
    others = [
        write("short", users=50),
        write("unscored", parts=()),
        write("other measure", valid={"AUC": 0.5}),
        write("oracle", kind="oracle", closed_form=True),
    ]
    table = ablation_table([*runs, *others])
    assert [row.label for row in table.rows] == ["base", "without text", "more layers", "more data", "short"]
    assert table.rows[-1].comparison is None
    notes = "\n".join(table.footnotes)
    assert "short is not compared: expected" in notes
    assert "unscored, seed 0: has no scores on the validation, left out" in notes
    assert "other measure, seed 0: was not measured by Recall@20, left out" in notes


def test_a_closed_form_meets_every_run_of_the_reference(runs, write):
    table = ablation_table([*runs[3:6], write("solved", closed_form=True, shift=0.1)])
    assert table.rows[1].comparison.seeds == (0, 3)
    assert table.rows[1].num_runs == 1


def test_bad_input(runs, write):
    with pytest.raises(ValueError, match=r"expected one run of 'base' per seed, got seed 1 in "):
        ablation_table([*runs[3:5], runs[4]][1:])
    with pytest.raises(ValueError, match="expected at least one finished run"):
        ablation_table([])
    with pytest.raises(ConfigError, match="unknown part 'vaild': did you mean 'valid'"):
        ablation_table(runs, part="vaild")
    with pytest.raises(ConfigError, match="unknown label 'bas': did you mean 'base'"):
        ablation_table(runs, reference="bas")
    with pytest.raises(ConfigError, match="unknown metric 'Recall@10'"):
        ablation_table(runs, metric="Recall@10")
    with pytest.raises(ConfigError, match="has no scores on the test set"):
        ablation_table(runs, part="test")
    other = write("elsewhere", data={"name": "other", "identity": "b"})
    with pytest.raises(ValueError, match=r"same data and split, got others: .*other in "):
        ablation_table([*runs, other])


def test_other_features_are_no_other_data(write):
    runs = [write("base"), write("other tower", data={"identity": "b"}, shift=0.01)]
    for run in runs:
        save_dataset(run.dataset, block_data())
    assert len(ablation_table(runs).rows) == 2


def point(write, layers, rate, shift, seed=0):
    config = {"model": {"num_layers": layers}, "training": {"learning_rate": rate}}
    return write(f"{layers} {rate}", seed, shift, config=config)


GRID = {(1, 0.001): 0.0, (1, 0.01): 0.1, (2, 0.001): 0.1001, (2, 0.01): 0.02, (10, 0.001): 0.05}
AXES = ("model.num_layers", "training.learning_rate")


@pytest.fixture
def grid(write):
    return [point(write, *place, shift, seed) for place, shift in GRID.items() for seed in (0, 1, 2)]


@pytest.fixture
def drawn(monkeypatch):
    """Returns the figures that are drawn."""
    figures = []
    made = maps._figure

    def keep(*arguments):
        figures.append(made(*arguments))
        return figures[-1]

    monkeypatch.setattr(maps, "_figure", keep)
    return figures


def test_a_heat_map_has_every_value_and_marks_the_best_and_its_equals(grid, drawn, tmp_path):
    path = heat_map(grid, AXES, None, "valid", tmp_path / "map.png")
    plot = drawn[0].axes[0]
    assert [tick.get_text() for tick in plot.get_yticklabels()] == ["1", "2", "10"]
    assert [tick.get_text() for tick in plot.get_xticklabels()] == ["0.001", "0.01"]
    assert (plot.get_ylabel(), plot.get_xlabel()) == AXES
    assert plot.get_title() == "Recall@20 on tiny, validation"
    texts = {text.get_position()[::-1]: text.get_text() for text in plot.texts}
    rows, columns = {1: 0, 2: 1, 10: 2}, {0.001: 0, 0.01: 1}
    for (layers, rate), shift in GRID.items():
        means = [scores(seed, shift).mean()["Recall@20"] for seed in (0, 1, 2)]
        assert f"{np.mean(means):.4f}\n± {np.std(means, ddof=1):.4f}" in texts[rows[layers], columns[rate]]
    assert len(texts) == 5
    assert [place for place, text in texts.items() if "★" in text] == [(1, 0)]
    frames = {
        (round(patch.get_y() + 0.43), round(patch.get_x() + 0.45)): patch.get_linestyle() for patch in plot.patches
    }
    assert frames == {(1, 0): "-", (0, 1): "--"}
    assert "dashed: not distinguishable from it (1)" in drawn[0].get_supxlabel()
    assert "users and seeds" in drawn[0].get_supxlabel()
    assert np.asarray(Image.open(path)).shape[1] > 500


def test_the_table_of_a_grid_compares_every_point_with_the_best(grid):
    table = grid_table(grid)
    labels = list(dict.fromkeys(run.metrics()["label"] for run in grid))
    assert [row.label for row in table.rows] == [labels[2], *labels[:2], *labels[3:]]
    best, *others = table.rows
    assert best.comparison is None
    assert all(row.mean < best.mean for row in others)
    assert [row.mark for row in others] == [MARKS[1], "", MARKS[1], MARKS[1]]
    expected = compare(
        [scores(seed, 0.0) for seed in (0, 1, 2)], [scores(seed, 0.1001) for seed in (0, 1, 2)], "recall@20"
    )
    assert others[0].comparison.p_value == expected.p_value
    assert table.footnotes[0].startswith("first row: the best of 5 points, found by looking")
    by_ndcg = grid_table(grid, metric="ndcg@20")
    assert by_ndcg.rows[0].mean == max(row.mean for row in by_ndcg.rows)


def test_a_heat_map_of_one_axis_and_one_run_per_point(write, drawn, tmp_path):
    runs = [point(write, layers, 0.01, shift) for layers, shift in ((1, 0.0), (2, 0.3))]
    heat_map(runs, AXES[:1], "NDCG@20", "valid", tmp_path / "map.png")
    plot = drawn[0].axes[0]
    assert [text.get_position() for text in plot.texts] == [(0, 0), (1, 0)]
    assert plot.texts[1].get_text() == f"★ {scores(0, 0.3).mean()['NDCG@20']:.4f}"
    assert "every other is significantly lower" in drawn[0].get_supxlabel()
    assert "training variance is not in the test" in drawn[0].get_supxlabel()


def test_what_cannot_be_compared_is_not_called_lower(write, drawn, tmp_path):
    short = write("short", users=50, config={"model": {"num_layers": 3}, "training": {}})
    heat_map([point(write, 1, 0.01, 0.5), short], AXES[:1], None, "valid", tmp_path / "map.png")
    assert "not distinguishable from it (1)" in drawn[0].get_supxlabel()


def test_bad_grids(grid, write, tmp_path):
    path = tmp_path / "map.png"
    with pytest.raises(
        ConfigError, match=r"no setting 'model.layers' in .*unknown key 'layers': did you mean 'num_lay"
    ):
        heat_map(grid, ["model.layers"], None, "valid", path)
    with pytest.raises(ConfigError, match="expected one or two axes"):
        heat_map(grid, [], None, "valid", path)
    with pytest.raises(ValueError, match="expected one setting at every point, got two at 1: "):
        heat_map(grid, AXES[:1], None, "valid", path)
    with pytest.raises(ValueError, match="expected finished runs of a grid, got none; unscored, seed 0: has no scores"):
        heat_map([write("unscored", parts=())], AXES, None, "valid", path)
    with pytest.raises(ValueError, match="expected finished runs of a grid, got none; unscored, seed 0: has no scores"):
        grid_table([write("unscored", parts=())])
    assert not path.exists()
