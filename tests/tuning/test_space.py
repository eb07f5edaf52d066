"""What is tuned: declared ranges that the config leaves open, and what ``search`` names."""

import optuna
import pytest

from graphrec.config import ConfigError, Search
from graphrec.pipeline import RunConfig
from graphrec.tuning.space import Parameter, nested, search_space, value_at, with_values

DECLARED = {"model.embedding_dim", "model.num_layers", "model.l2", "model.objective.temperature"}
OPEN = {"training.learning_rate", "training.batch_size"}


@pytest.mark.parametrize("model", ["lightgcn", {"name": "lightgcn"}])
def test_what_a_config_leaves_open_is_tuned(model):
    assert set(search_space({"model": model})) == DECLARED | OPEN


def test_what_a_config_sets_is_fixed_also_in_part_of_a_section():
    values = {"model": {"name": "lightgcn", "l2": 0.1, "objective": {"loss": "bpr"}}, "training": {"batch_size": 512}}
    assert set(search_space(values)) == {*DECLARED, *OPEN} - {"model.l2", "training.batch_size"}


def test_every_setting_of_a_complete_config_is_fixed():
    assert search_space(RunConfig.parse({"model": "lightgcn"}).to_mapping()) == {}


def test_a_closed_form_has_no_training_to_tune():
    assert set(search_space({"model": "ease"})) == {"model.regularization"}
    assert search_space({"model": "popularity"}) == {}


def test_search_wins_over_fixed_values_adds_and_takes_away():
    values = {"model": {"name": "lightgcn", "l2": 0.1}}
    search = {
        "model.l2": {"low": 0.01, "high": 1, "log": True},
        "training.negatives": True,
        "model.num_layers": False,
        "graph.co_consumed": True,
        "model.embedding_dim": [8, 16],
        "training.batch_size": Search(64, 128),
    }
    found = search_space(values, search)
    assert set(found) == {*DECLARED, *OPEN, "training.negatives", "graph.co_consumed"} - {"model.num_layers"}
    assert found["model.l2"].search == Search(0.01, 1, log=True)
    assert found["training.negatives"].search == Search(choices=(1, 4, 16, 64, 256))
    assert found["graph.co_consumed"].search == Search(choices=(5, 10, 20))
    assert found["model.embedding_dim"].search.choices == (8, 16)


def test_a_path_may_lead_into_a_mapping():
    found = search_space({"model": "hetero-lightgcn"}, {"model.coupling.text": {"low": 0, "high": 1}})
    assert not found["model.coupling.text"].is_integer  # the mapping is declared with float values


def test_whole_numbers_stay_whole_and_others_do_not():
    search = {"training.patience": {"low": 1, "high": 9}, "training.weight_decay": {"low": 0, "high": 1}}
    found = search_space({"model": "item-knn"}, search)
    assert found["model.neighbors"].distribution() == optuna.distributions.IntDistribution(5, 500, log=True)
    assert found["training.patience"].distribution() == optuna.distributions.IntDistribution(1, 9)
    assert found["training.weight_decay"].distribution() == optuna.distributions.FloatDistribution(0, 1)
    assert found["model.shrinkage"].distribution() == optuna.distributions.FloatDistribution(0, 100)


def test_bounds_that_yaml_takes_for_texts_are_numbers():
    found = search_space({"model": "lightgcn"}, {"model.l2": {"low": "1e-6", "high": "1e-2", "log": True}})
    assert (found["model.l2"].search.low, found["model.l2"].search.high) == (1e-6, 1e-2)


def test_lists_to_choose_from_are_kept_as_texts_and_come_back():
    found = search_space({"model": "hetero-lightgcn"}, {"model.relations": [["text"], ["text", "image"], None]})
    parameter = found["model.relations"]
    texts = parameter.distribution().choices
    assert [parameter.decode(text) for text in texts] == [["text"], ["text", "image"], None]
    assert all(isinstance(text, str) for text in texts)


@pytest.mark.parametrize("model", ["hetero-lightgcn", "item-knn"])
def test_a_parameter_is_read_back_as_it_was_described(model):
    for path, parameter in search_space({"model": model}).items():
        assert Parameter.read(path, parameter.describe()) == parameter


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"model.num_layer": True}, "did you mean 'model.num_layers'"),
        ({"model.num_layers.deep": True}, "holds none"),
        ({"model.name": ["mf", "ease"]}, "other than"),
        ({"training.metric": ["recall@5", "recall@10"]}, "other than"),
        ({"data.name": ["a", "b"]}, "below model, training, graph, features"),
        ({"model.l2": {"low": 2, "high": 1}}, "low <= high"),
        ({"model.l2": []}, "at least one"),
        ({"model.l2": {"low": 0, "high": 1, "log": True}}, "low > 0"),
        ({"model.l2": {"lo": 0, "high": 1}}, "did you mean 'low'"),
        ({"model.l2": {"low": "a", "high": "b"}}, "expected numbers as bounds, got low 'a'"),
        ({"model.l2": 0.5}, "got 0.5"),
        ({"model.l2": {"low": -1, "high": 1}}, "-1 cannot be used"),
        ({"model.num_layers": {"low": 0.5, "high": 3}}, "whole numbers"),
        ({"training.max_epochs": True}, "declares none"),
    ],
)
def test_wrong_ranges_are_refused_with_their_path(search, message):
    with pytest.raises(ConfigError, match=message) as caught:
        search_space({"model": "lightgcn"}, search)
    assert f"search.{next(iter(search))}" in str(caught.value)


def test_values_are_set_and_found_by_dotted_path():
    settings = with_values({"a": {"b": 1}, "c": 2}, {"a.d.e": 3, "c": 4})
    assert settings == {"a": {"b": 1, "d": {"e": 3}}, "c": 4}
    assert value_at(settings, "a.d.e") == (3,)
    assert value_at(settings, "a.x") == value_at(settings, "c.x") == ()
    assert nested("a.b", None) == {"a": {"b": None}}
