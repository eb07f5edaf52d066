"""The README's lines for one's own data, run as they stand on a small shop."""

import doctest
import re
from pathlib import Path

import pandas as pd
import pytest

from graphrec.data.synthetic import generate

PAGE = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
SECTION = re.search(r"## Your own data in ten lines\n(.*?)\n## ", PAGE, flags=re.DOTALL).group(1)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Writes the files that the section speaks of, and stands beside them."""
    data = generate(600, seed=0, num_users=60, num_items=80, folder=tmp_path / "shop" / "photos")
    train, items = data.split.train.to_frame()[["user", "item"]], data.items
    train.to_csv(tmp_path / "shop" / "clicks.csv", index=False)
    photos = [None if path is None else path.relative_to(tmp_path) for path in items.values("image")]
    brands = ["Oak & Sons" if row % 3 else None for row in range(len(items.ids))]
    goods = pd.DataFrame({"name": items.values("text"), "brand": brands, "photo": photos}, index=items.ids.index)
    goods.rename_axis("item").to_csv(tmp_path / "shop" / "goods.csv")
    monkeypatch.chdir(tmp_path)
    return data


def test_the_lines_run_as_they_stand(shop):
    examples = doctest.DocTestParser().get_doctest(SECTION, {}, "README.md", "README.md", 0)
    assert 8 <= len([line for line in SECTION.splitlines() if line.startswith((">>>", "..."))]) <= 12
    outcome = doctest.DocTestRunner().run(examples, clear_globs=False)
    assert (outcome.attempted, outcome.failed) == (7, 0)
    run = examples.globs["run"]
    assert {"text", "image"} <= set(run.graph.node_types)
    assert run.graph["image"].num_nodes == shop.items.present("image").sum() < len(shop.items.ids)
