"""The page: one file that needs nothing else, with every run either on it or named with the reason it is not."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs

from graphrec.config import ConfigError
from graphrec.pipeline.benchmark import Failure, write_failures
from graphrec.report.page import page
from graphrec.report.page.page import SECTIONS, write_page
from graphrec.runs import RunFolderError

LIGHT = tuple(name for name in SECTIONS if name.startswith("charts_"))  # without the map and the lists


class Outline(HTMLParser):
    """Collects what a page is made of: headings in order, ids, and everything that would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.levels, self.ids, self.loads, self.links, self.lang = [], [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "html":
            self.lang = found.get("lang")
        if tag == "a":
            self.links.append(found["href"])
        self.loads += [value for name, value in attrs if name in ("src", "srcset", "data", "poster")]
        self.loads += [found["href"]] if tag in ("link", "use") else []


@pytest.fixture(scope="module")
def text(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    assert write_page(made, out, reference="gcn", sections=LIGHT) == out
    return out.read_text(encoding="utf-8")


def without_plotly(text: str) -> str:
    return re.sub(r'<script( type="text/plain" id="plotly")?>.*?</script>', "", text, flags=re.S)


def test_every_part_is_there_in_its_order(text):
    parts = re.findall(r'<section class="part" id="d1-([\w-]+)"', text)
    wanted = ["results", "by-k", "learning-curves", "cost", "slices", "head-tail", "beyond", "coupling", "geometry"]
    assert parts == [*wanted, "configs", "data", "environment"]
    assert "could not be made" not in without_plotly(text)


def test_the_page_loads_nothing_and_forbids_it(text):
    outline = Outline(without_plotly(text))
    assert all(value.startswith("data:") for value in outline.loads)
    assert "default-src 'none'" in text
    assert "connect-src" not in text
    assert len(text.encode()) < 15e6


def test_headings_are_in_order_and_links_lead_somewhere(text):
    outline = Outline(without_plotly(text))
    assert outline.lang == "en"
    assert outline.levels[:3] == [1, 2, 3]
    assert all(after - before <= 1 for before, after in zip(outline.levels, outline.levels[1:], strict=False))
    assert len(set(outline.ids)) == len(outline.ids)
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)


def test_the_tables_lie_beside_the_page(made, tmp_path):
    write_page(made, tmp_path / "report.html", sections=())
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "table.md", "table.csv", "table.tex"}


def test_damaged_and_unscored_runs_are_named_and_the_rest_is_shown(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "copy")
    (folder / "hetero" / "seed-1" / "data.json").unlink()
    (folder / "hetero" / "seed-1" / "data.json").write_text("{")
    metrics = folder / "gcn" / "seed-1" / "metrics.json"
    content = re.sub(r'"test": \{.*?\}', '"test": null', metrics.read_text(), flags=re.S)
    metrics.unlink()
    metrics.write_text(content)
    text = write_page(folder, sections=("charts_results:main_table",)).read_text(encoding="utf-8")
    left_out = text.split('id="left-out-title"')[1].split("</section>")[0]
    assert "hetero/seed-1" in left_out
    assert "gcn/seed-1" in left_out
    assert "its test set was not scored" in left_out
    assert "gcn/seed-0" not in left_out
    assert '<th scope="row">hetero</th>' in text


def test_benchmarks_of_the_same_data_become_chapters_of_their_own(write, tmp_path):
    folder = write("a").path.parents[1]
    write("b")
    both = tmp_path / "both"
    for name in ("one", "two"):
        shutil.copytree(folder, both / name)
        ceiling = shutil.copytree(folder / "a" / "seed-0", both / name / "oracle") / "metrics.json"
        about = json.loads(ceiling.read_text()) | {"label": "oracle", "kind": "oracle", "seed": None}
        ceiling.unlink()
        ceiling.write_text(json.dumps(about))
    text = write_page(both, sections=("charts_results:main_table",)).read_text(encoding="utf-8")
    names = re.findall(r'<h2 id="d\d-title">(.*?)</h2>', text)
    assert [name.partition(" (")[2] for name in names] == ["one)", "two)"]
    assert 'id="left-out"' not in text
    tables = [path.read_text() for path in both.glob("table-*.csv")]
    assert [table.count("oracle") for table in tables] == [1, 1]


def test_what_a_benchmark_could_not_run_is_named(write):
    folder = write("a").path.parents[1]
    write_failures(folder, [Failure("typo", None, "unknown model <b>"), Failure("mf", 3, "loss became nan")])
    (folder / "other").mkdir()
    (folder / "other" / "failures.json").write_text("{")
    text = write_page(folder, sections=()).read_text(encoding="utf-8")
    failed = text.split('id="failed-title"')[1].split("</section>")[0]
    assert '<th scope="row">typo</th><td>all</td><td>unknown model &lt;b&gt;</td>' in failed
    assert '<th scope="row">mf</th><td>3</td><td>loss became nan</td>' in failed
    assert "2 not run" in failed
    write_failures(folder, [])
    assert 'id="failed' not in write_page(folder, sections=()).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["history.jsonl", "lists-test.parquet", "users-test.parquet", "model.safetensors"])
def test_a_run_with_a_damaged_part_takes_no_others_with_it(made, tmp_path, name):
    folder = shutil.copytree(made, tmp_path / "copy")
    (folder / "hetero" / "seed-1" / name).unlink()
    (folder / "hetero" / "seed-1" / name).write_text("{oh")
    text = write_page(folder, sections=LIGHT).read_text(encoding="utf-8")
    assert "could not be made" not in without_plotly(text)
    left_out = text.split('id="left-out-title"')[1].split("</section>")[0]
    assert f"hetero/seed-1/{name}" in left_out
    assert left_out.count("<tr>") == 2  # the head, and one run


def test_runs_without_data_and_graph_are_shown_without_what_needs_them(write):
    folder = write("mix", kind="fusion").path.parents[1]
    text = write_page(folder).read_text(encoding="utf-8")
    assert "could not be made" not in without_plotly(text)
    assert re.findall(r'<section class="part" id="d1-([\w-]+)"', text) == ["results", "configs", "data", "environment"]
    assert "1 model, 1 seed" in text


def test_plotly_is_packed_as_it_is(text):
    packed = re.search('<script type="text/plain" id="plotly">(.*?)</script>', text)[1]
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()


def test_runs_that_clash_do_not_stop_the_others(write):
    first = write("a")
    shutil.copytree(first.path, first.path.parent / "again")
    write("b")
    text = write_page(first.path.parents[1], sections=("charts_results:main_table",)).read_text(encoding="utf-8")
    assert "expected one run of &#39;a&#39; per seed" in text
    assert "<strong>b</strong>, the only model here" in text


def test_several_data_sets_are_chapters_of_one_page(write):
    folder = write("a", data="one").path.parents[2]
    write("b", data="two & more")
    out = write_page(folder, sections=("charts_results:main_table",))
    text = out.read_text(encoding="utf-8")
    assert re.findall(r'<h2 id="d\d-title">(.*?)</h2>', text) == ["one", "two &amp; more"]
    assert {"table-one.md", "table-two-more.md"} <= {path.name for path in out.parent.iterdir()}


def test_a_part_that_fails_is_replaced_by_the_reason(write, monkeypatch):
    folder = write("a").path.parents[1]
    monkeypatch.setattr("graphrec.report.page.charts_about.dump_yaml", lambda values: 1 / 0)
    text = write_page(folder, sections=("charts_about:configs", "charts_about:data")).read_text(encoding="utf-8")
    assert "This part could not be made: ZeroDivisionError: division by zero" in text
    assert "Fingerprint of the interactions" in text


def test_what_cannot_be_shown_is_a_clear_error(write, tmp_path):
    folder = write("gcn").path.parents[1]
    with pytest.raises(ConfigError, match="did you mean 'gcn'"):
        write_page(folder, reference="gnc")
    with pytest.raises(ConfigError, match=r"^unknown metric 'Recal@20': did you mean 'Recall@20'"):
        write_page(folder, metrics=("Recal@20",))
    with pytest.raises(RunFolderError, match="expected finished runs"):
        write_page(tmp_path / "nothing")
    with pytest.raises(ValueError, match="known ceiling alone"):
        write_page(write("oracle", data="c", kind="oracle").path)


def test_every_section_can_be_made():
    for target in SECTIONS:
        module, _, name = target.partition(":")
        assert callable(getattr(__import__(f"{page.__package__}.{module}", fromlist=[name]), name))


def test_a_column_that_nothing_has_is_an_error(made, tmp_path):
    with pytest.raises(ConfigError, match="unknown column 'genr'"):
        write_page(made, tmp_path / "report.html", columns=("genr",), sections=())
