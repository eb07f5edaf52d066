from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from graphrec.config import (
    Config,
    ConfigError,
    Search,
    apply_overrides,
    dump_yaml,
    load_yaml,
    merge,
    resolve,
    unknown_name,
)


class Inner(Config):
    rate: Annotated[float, Field(gt=0), Search(1e-4, 1e-1, log=True)] = 0.001


class Outer(Config):
    num_layers: Annotated[int, Field(ge=1), Search(choices=(1, 2, 3))] = 2
    name: str
    inner: Inner = Inner()


def test_unknown_keys_get_a_suggestion():
    with pytest.raises(ConfigError, match="model: unknown key 'num_layer': did you mean 'num_layers'"):
        Outer.parse({"name": "x", "num_layer": 3}, where="model")
    with pytest.raises(ConfigError, match=r"model\.inner: unknown key 'rat': did you mean 'rate'"):
        Outer.parse({"name": "x", "inner": {"rat": 1}}, where="model")


def test_wrong_values_name_key_and_value():
    with pytest.raises(ConfigError, match=r"Outer\.num_layers: .* greater than or equal to 1 \(got 0\)"):
        Outer.parse({"name": "x", "num_layers": 0})
    with pytest.raises(ConfigError, match=r"model\.inner\.rate: .*valid number.*\(got 'fast'\)"):
        Outer.parse({"name": "x", "inner": {"rate": "fast"}}, where="model")
    with pytest.raises(ConfigError, match=r"Outer\.name: Field required$"):
        Outer.parse({})


def test_several_problems_are_told_at_once():
    with pytest.raises(ConfigError) as error:
        Outer.parse({"num_layers": 0, "inner": {"rate": -1}})
    assert str(error.value).count(";") == 2


def test_configurations_are_frozen_and_round_trip():
    config = Outer.parse({"name": "x", "inner": {"rate": 0.1}})
    assert Outer.parse(config.model_dump()) == config
    with pytest.raises(ValidationError, match="frozen"):
        config.name = "y"


def test_defaults_are_validated():
    class Wrong(Config):
        size: Annotated[int, Field(gt=0)] = -1

    with pytest.raises(ConfigError, match="greater than 0"):
        Wrong.parse()


def test_search_space_stands_at_the_field_and_reaches_nested_configs():
    rate = Search(1e-4, 1e-1, log=True)
    assert Outer.search_space() == {"num_layers": Search(choices=(1, 2, 3)), "inner.rate": rate}
    assert Inner.search_space() == {"rate": Search(1e-4, 1e-1, log=True)}


def test_yaml_round_trip(tmp_path):
    values = {"name": "Café", "inner": {"rate": 0.1}, "ks": [10, 20]}
    (tmp_path / "x.yaml").write_text(dump_yaml(values), encoding="utf-8")
    assert load_yaml(tmp_path / "x.yaml") == values
    assert list(load_yaml(tmp_path / "x.yaml")) == list(values)


def test_yaml_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no configuration file"):
        load_yaml(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match=r"expected a mapping at the top of .*, got list"):
        load_yaml(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load_yaml(tmp_path / "bad.yaml")
    (tmp_path / "code.yaml").write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load_yaml(tmp_path / "code.yaml")
    (tmp_path / "twice.yaml").write_text("models:\n  mf: {a: 1}\n  ease: {a: 1}\n  mf: {a: 2}\n")
    with pytest.raises(ConfigError, match=r"twice\.yaml is not valid YAML: .*'mf' comes twice"):
        load_yaml(tmp_path / "twice.yaml")
    (tmp_path / "merged.yaml").write_text(
        "base: &base {a: 1, b: 2}\nother:\n  c: &c {<<: *base, b: 3}\nmore: {<<: *c, b: 4}\n"
    )
    merged = load_yaml(tmp_path / "merged.yaml")
    assert (merged["other"]["c"], merged["more"]) == ({"a": 1, "b": 3}, {"a": 1, "b": 4})


def test_merge_and_overrides_leave_the_base_alone():
    base = {"model": {"name": "x", "num_layers": 2}, "ks": [10]}
    assert merge(base, {"model": {"num_layers": 3}, "ks": [20]}) == {
        "model": {"name": "x", "num_layers": 3},
        "ks": [20],
    }
    changed = apply_overrides(base, ["model.num_layers=4", "train.lr=1e-3", "ks=[5, 6]", "flag=true", "model.name=a=b"])
    assert changed["model"] == {"name": "a=b", "num_layers": 4}
    assert (changed["train"], changed["ks"], changed["flag"]) == ({"lr": "1e-3"}, [5, 6], True)
    assert base == {"model": {"name": "x", "num_layers": 2}, "ks": [10]}


@pytest.mark.parametrize("override", ["model.num_layers", "=3", ""])
def test_overrides_need_a_key_and_a_value(override):
    with pytest.raises(ConfigError, match="expected an override like"):
        apply_overrides({}, [override])


def test_resolve_finds_short_names_and_classes_from_outside():
    known = {"ids": "graphrec.data.interactions:Ids"}
    assert resolve("ids", known, kind="model").__name__ == "Ids"
    assert resolve("graphrec.data.catalog:Catalog", known, kind="model").__name__ == "Catalog"
    with pytest.raises(ConfigError, match=r"unknown model 'idz': did you mean 'ids'.*from outside"):
        resolve("idz", known, kind="model")
    for target in ("graphrec.nowhere:X", "graphrec.config:X"):
        with pytest.raises(ConfigError, match="cannot import model"):
            resolve(target, known, kind="model")


@pytest.mark.parametrize("override", ["training.max_epochs=[1", "seeds={", "data.name=a: b: c"])
def test_a_malformed_override_is_named(override):
    with pytest.raises(ConfigError, match="expected a YAML value in the override") as caught:
        apply_overrides({}, [override])
    assert repr(override) in str(caught.value)


def test_a_name_where_there_are_none_is_answered_so():
    assert unknown_name("text", [], kind="column") == "unknown column 'text'. Known: none at all"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"low": 1.0},
        {"low": 2, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"choices": ()},
        {"low": 1, "choices": (1,)},
    ],
)
def test_an_empty_search_range_is_an_error(values):
    with pytest.raises(ConfigError, match="expected"):
        Search(**values)
