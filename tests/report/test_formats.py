"""Markdown, CSV, LaTeX and the terminal: the same table in four forms."""

from __future__ import annotations

import io
import re

import pandas as pd
import pytest
from rich.console import Console

from graphrec.report import report
from graphrec.report.latex import SPECIAL, escape

SEEDS = (0, 1, 2)


def test_markdown_marks_and_explains(runs):
    lines = report(runs, reference="base").to_markdown().splitlines()
    good = next(line for line in lines if line.startswith("| good"))
    assert re.fullmatch(
        r"\| good( \| \*\*0\.\d{4} ± 0\.\d{4}\*\* ▲){2} \| \+0\.\d{4} \[\+0\.\d{4}, \+0\.\d{4}\] \| 0\.00\d\d \|", good
    )
    assert sum("**0." in line for line in lines) == 1
    ceiling = [line for line in lines if line.startswith("|")][-1]
    assert ceiling.startswith("| known ceiling |")
    assert ceiling.endswith("| – | – |")
    assert "**" not in ceiling
    assert "| final (refit) |" in "\n".join(lines)
    assert {line.count(" | ") for line in lines if line.startswith("| ")} == {4}


def test_csv_keeps_full_precision(runs):
    table = report(runs, reference="base", metrics=["recall@20", "MRR@20"])
    found = pd.read_csv(io.StringIO(table.to_csv()), float_precision="round_trip").set_index("model")
    for row in table.rows:
        assert found.loc[row.label, "Recall@20"] == row.mean["Recall@20"]
        assert found.loc[row.label, "Recall@20 low"] == row.intervals["Recall@20"][0]
    good = next(row for row in table.rows if row.label == "good")
    for name, value in {
        "difference": good.comparison.difference,
        "difference low": good.comparison.low,
        "effect": good.comparison.effect,
        "detectable": good.comparison.detectable,
        "p": good.p_value,
    }.items():
        assert found.loc["good", f"Recall@20 {name}"] == value
    assert found["Recall@20 best"].tolist() == [False, True, False, False, False]
    assert found.loc["good", "seeds"] == 3
    assert "MRR@20 std" in found


def test_without_a_reference_there_are_no_columns_of_tests(runs):
    table = report(runs)
    assert "p (" not in table.to_markdown()
    assert not any("difference" in name for name in table.to_frame().columns)


def test_latex_is_a_booktabs_table_of_balanced_groups(runs):
    table = report(runs, reference="base")
    text = table.to_latex()
    begun, ended = re.findall(r"\\begin{(\w+)}", text), re.findall(r"\\end{(\w+)}", text)
    assert begun == ["table", "tabular"] == ended[::-1]
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 2, 1]
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r" \\")]
    assert len(rows) == 1 + len(table.rows)
    columns = re.search(r"\\begin{tabular}{(l?r*)}", text)[1]
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(columns)}
    good = next(row for row in rows if row.startswith("good"))
    assert good.count(r"\textbf{0.") == 2
    assert good.count(r"$\blacktriangle$") == 2
    assert r"95 \% interval" in text
    assert text.isascii()


def test_nothing_in_latex_is_a_command_or_a_comment():
    text = "".join(SPECIAL) + " plain"
    found = escape(text)
    assert found == "".join(SPECIAL.values()) + " plain"
    assert not re.search(r"(?<!\\)[%&#_]", found)


def test_labels_with_special_characters_survive_every_form(write):
    runs = [write("a|b_[bold]x&*", name="odd"), write("plain")]
    table = report(runs)
    assert "| a\\|b_[bold]x&* |" in table.to_markdown()
    assert "a|b\\_{[}bold{]}x\\&{*} &" in table.to_latex()
    assert table.to_frame()["model"].tolist()[0] == "a|b_[bold]x&*"
    stream = io.StringIO()
    Console(file=stream, width=120).print(table.to_rich())
    assert "a|b_[bold]x&*" in stream.getvalue()


def test_terminal_table_shows_every_row(runs):
    stream = io.StringIO()
    Console(file=stream, width=160).print(report(runs, reference="base").to_rich())
    for name in ("base", "good", "final (refit)", "known ceiling", "p (Recall@20)", "▲"):
        assert name in stream.getvalue()


def test_files_are_written(runs, tmp_path):
    table = report(runs)
    paths = table.write(tmp_path, "main")
    assert [path.name for path in paths] == ["main.md", "main.csv", "main.tex"]
    assert [path.read_text(encoding="utf-8") for path in paths] == [
        table.to_markdown(),
        table.to_csv(),
        table.to_latex(),
    ]


def test_a_difference_that_rounds_to_zero_has_no_minus(write, scores):
    base, other = scores(0, 0.0, "base"), scores(0, 0.0, "base")
    other.frame["Recall@20"] -= 1e-6
    runs = [write("base", values=base, closed_form=True), write("other", values=other, closed_form=True)]
    assert "-0.0000" not in report(runs, reference="base").to_markdown()


@pytest.mark.parametrize("form", ["to_markdown", "to_csv", "to_latex"])
def test_the_same_runs_give_the_same_text(runs, form):
    assert getattr(report(runs, reference="base"), form)() == getattr(report(runs, reference="base"), form)()
