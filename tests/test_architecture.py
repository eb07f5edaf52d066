"""What no single test sees: the one-way rule between rooms, and that everything has a test."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from graphrec.config import apply_overrides, load_yaml, resolve
from graphrec.data import splits
from graphrec.data.cards import load_card
from graphrec.evaluation import metrics
from graphrec.features.choice import ENCODERS
from graphrec.models import MODELS, get_model
from graphrec.models.base import Recommender
from graphrec.nn import losses
from graphrec.pipeline.config import RunConfig
from graphrec.tuning.suite import read_suite

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, TESTS = ROOT / "graphrec", ROOT / "tests"
LAYERS = (  # from the bottom up; rooms of one line do not import each other
    ("config", "runtime"),
    ("data",),
    ("features",),
    ("graph",),
    ("nn",),
    ("models", "evaluation"),
    ("training", "testing"),
    ("runs",),
    ("pipeline", "serving"),
    ("tuning", "report"),
    ("cli",),
)
HEIGHT = {room: height for height, layer in enumerate(LAYERS) for room in layer}
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = [path for path in MODULES if path != PACKAGE / "__init__.py"]  # the root only names what lies in the rooms
NO_PAPER = {"__init__", "base", "pairwise"}  # the contract and what models share


def name_of(path):
    return str(path.relative_to(ROOT))


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path):
    """Returns the dotted names that a module imports anywhere, inside functions too."""
    names = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} imports relatively"
            module = node.module or ""
            names += [f"{module}.{alias.name}" for alias in node.names] if module == "graphrec" else [module]
    return names


def names_of_root(path):
    """Returns the names that a module takes from ``graphrec`` itself."""
    nodes = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "graphrec"}


def rooms_imported(path):
    parts = [name.split(".") for name in imports_of(path)]
    return {part[1] if len(part) > 1 else "" for part in parts if part[0] == "graphrec"}


def text_of(folder):
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("test_*.py")))


def is_model(value):
    return inspect.isclass(value) and issubclass(value, Recommender)


def defined_in(module, keep):
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and keep(value) and value.__module__ == module.__name__
    )


@pytest.mark.parametrize("path", ROOMS, ids=name_of)
def test_imports_run_one_way(path):
    own = room_of(path)
    assert own in HEIGHT, f"{own!r} has no place in the layers"
    for room in rooms_imported(path) - {own}:
        if room in ("", "__version__"):  # the root loads every room on demand
            others = names_of_root(path) - {"__version__"}
            assert own == "cli" or not others, f"{name_of(path)} takes {others} from the root; import from the room"
        else:
            assert HEIGHT[room] < HEIGHT[own], f"{name_of(path)} imports graphrec.{room}, which is not below {own}"


@pytest.mark.parametrize("layer", LAYERS, ids="-".join)
def test_the_rule_sees_the_rooms(layer):
    found = {room_of(path) for path in ROOMS}
    built = [room for room in layer if room in found]
    assert built or set(layer) <= {"tuning", "serving"}


@pytest.mark.parametrize(
    ("module", "heavy"), [("graphrec", "torch"), ("graphrec", "pandas"), ("graphrec.data", "torch")]
)
def test_light_imports_stay_light(module, heavy):
    code = f"import {module}, sys; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_print_no_assert_no_pickle_and_one_reader_of_the_environment(path):
    for node in ast.walk(tree(path)):
        where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{where} prints"
        if isinstance(node, ast.Assert):
            assert room_of(path) == "testing", f"{where} asserts; raise an error that says what to do"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            reads = node.attr in ("environ", "getenv", "environb")
            assert not reads or room_of(path) == "runtime", f"{where} reads the environment; runtime.py does"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant), f"{where} may read pickles"
            assert node.value.value is False, f"{where} reads pickles"
    assert not {"pickle", "cloudpickle", "dill", "joblib"} & set(imports_of(path))


@pytest.mark.parametrize("path", MODULES + sorted(TESTS.rglob("*.py")), ids=name_of)
def test_files_are_short_and_finished(path):
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= 400
    if path != Path(__file__).resolve():
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)


def public_nodes(node, prefix=""):
    """Yields the public classes, functions and methods, each with its dotted name."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public_nodes(child, f"{prefix}{child.name}.")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_everything_public_has_a_docstring(path):
    assert len(ast.get_docstring(tree(path)) or "") > 5, "the module has none"
    missing = [name for name, node in public_nodes(tree(path)) if not ast.get_docstring(node)]
    assert missing == []


def test_every_model_keeps_the_contract_in_a_test():
    tested = set(re.findall(r'^    model = "([^"]+)"$', text_of(TESTS / "models"), flags=re.MULTILINE))
    assert set(MODELS) <= tested


def test_every_model_is_in_the_registry():
    modules = [importlib.import_module(f"graphrec.models.{path.stem}") for path in (PACKAGE / "models").glob("*.py")]
    found = {getattr(module, name) for module in modules for name in defined_in(module, is_model)}
    bases = {cls for cls in found if any(cls is not other and issubclass(other, cls) for other in found)}
    assert found - bases <= {get_model(name) for name in MODELS}


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*.py")), ids=name_of)
def test_every_model_file_cites_its_paper(path):
    cites = bool(re.search(r"<?https://(arxiv\.org/abs|doi\.org)/\S+>", path.read_text(encoding="utf-8")))
    assert cites or path.stem in NO_PAPER


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_config_has_search_ranges_within_its_bounds(name):
    config = get_model(name).config_class
    for field, search in config.search_space().items():
        for value in search.choices or (search.low, search.high):
            found = config.parse(apply_overrides({}, [f"{field}={value}"]))
            for name in field.split("."):
                found = getattr(found, name)
            assert found == value


@pytest.mark.parametrize("name", defined_in(losses, inspect.isfunction))
def test_every_loss_has_a_test(name):
    assert re.search(rf"\b{name}\(", (TESTS / "nn" / "test_losses.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted({**metrics.METRICS, **metrics.WITHOUT_CUTOFF}))
def test_every_metric_has_a_test(name):
    function = {**metrics.METRICS, **metrics.WITHOUT_CUTOFF}[name].__name__
    assert re.search(rf"\b{function}\b|\"{name}\"|\b{name}@", text_of(TESTS / "evaluation"))


def test_every_metric_has_a_name():
    registered = [*metrics.METRICS.values(), *metrics.WITHOUT_CUTOFF.values()]
    functions = {function.__name__ for function in registered}
    assert set(defined_in(metrics, inspect.isfunction)) <= functions


@pytest.mark.parametrize("name", defined_in(splits, inspect.isfunction))
def test_every_split_has_a_test(name):
    assert re.search(rf"\b{name}\b", text_of(TESTS / "data"))


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_every_encoder_has_a_test(name):
    cls = resolve(name, ENCODERS, kind="encoder")
    assert re.search(rf"\b{cls.__name__}\(", text_of(TESTS / "features"))


@pytest.mark.parametrize("path", sorted((ROOT / "datasets").glob("*.yaml")), ids=name_of)
def test_every_data_card_is_valid(path):
    assert load_card(path).name == path.stem


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=name_of)
def test_every_config_file_is_valid(path):
    values = load_yaml(path)
    parts = read_suite(values).values() if "models" in values else []
    assert all(part.config.plan() for part in parts)
    assert parts or RunConfig.parse(values)


def test_yaml_files_lie_only_where_a_test_reads_them():
    covered = {*(ROOT / "datasets").glob("*.yaml"), *(ROOT / "configs").rglob("*.yaml")}
    found = {path for folder in ("datasets", "configs", "graphrec") for path in (ROOT / folder).rglob("*.y*ml")}
    assert found == covered
    assert covered
