"""The worked example of CONTRIBUTING.md, tried out as written, from outside of the package."""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

from graphrec.data.interactions import Ids
from graphrec.features.encoder import Encoder, encode_values
from graphrec.testing import ModelContract
from tests.test_architecture import LAYERS

PAGE = (Path(__file__).resolve().parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, flags=re.DOTALL)
CONTRACT = sorted(name for name in dir(ModelContract) if name.startswith("test_"))
COUNTS = {13: "thirteen", 14: "fourteen", 15: "fifteen", 16: "sixteen"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Writes the blocks into the files they name and returns the test module."""
    folder = tmp_path_factory.mktemp("outside")
    for name, _ in BLOCKS:
        (folder / name).write_text("\n".join(text for file, text in BLOCKS if file == name), encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield importlib.import_module("test_layer_weighted")
    sys.path.remove(str(folder))
    for name in ("test_layer_weighted", "layer_weighted", "use_layer_weighted"):
        sys.modules.pop(name, None)


def test_the_page_has_the_blocks_that_are_tried():
    files = ["layer_weighted.py", "test_layer_weighted.py", "test_layer_weighted.py", "use_layer_weighted.py"]
    assert [name for name, _ in BLOCKS] == files
    assert all(ast.parse(text) for _, text in BLOCKS)


@pytest.mark.parametrize("name", CONTRACT)
def test_the_example_keeps_the_contract(written, name):
    assert issubclass(written.TestLayerWeighted, ModelContract)
    getattr(written.TestLayerWeighted(), name)()


def test_the_example_keeps_its_own_promise(written):
    functions = [
        value for name, value in vars(written).items() if name.startswith("test_") and inspect.isfunction(value)
    ]
    assert len(functions) == 1
    functions[0]()


def test_the_example_is_used_by_its_path(written, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    importlib.import_module("use_layer_weighted")
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_the_example_of_an_encoder_encodes_a_column():
    namespace: dict = {}
    exec(re.search(r"## Add an encoder\n.*?```python\n(.*?)```", PAGE, flags=re.DOTALL).group(1), namespace)
    encoder = namespace["Lengths"]()
    assert isinstance(encoder, Encoder)
    ids = Ids(["a", "b", "c"])
    table = encode_values(ids, ["one two", None, "x"], encoder, name="text")
    assert (table.rows.tolist(), table.values.tolist()) == ([0, 2], [[2, 7], [1, 1]])


def test_the_page_counts_the_tests_of_the_contract():
    assert f"gets {COUNTS[len(CONTRACT)]} tests" in PAGE


def test_the_page_shows_the_layers_that_are_checked():
    shown = re.search(r"( {4}cli\n.*? {4}config +runtime)", PAGE, flags=re.DOTALL).group(1)
    assert [set(line.split()) for line in reversed(shown.splitlines())] == [set(layer) for layer in LAYERS]
