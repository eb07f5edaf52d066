"""What a study is about is settled before its first trial, without the test split."""

from dataclasses import replace

import numpy as np
import pytest

from graphrec.config import ConfigError, dump_yaml
from graphrec.data.dataset import Dataset, Split
from graphrec.pipeline import RunConfig
from graphrec.pipeline.prepare import prepare
from graphrec.testing import block_data, other_held_out
from graphrec.tuning import TuningConfig
from graphrec.tuning.plan import as_trial, make_plan, read_settings
from tests.tuning.small import CONFIG, SPACE


class Sealed(Dataset):
    """A data set that gives its test split away only to be emptied."""

    sealed = False

    def __getattribute__(self, name):
        if name == "test" and object.__getattribute__(self, "sealed"):
            raise AssertionError("the test split was touched")
        return super().__getattribute__(name)

    def without_test(self):
        object.__setattr__(self, "sealed", False)
        found = super().without_test()
        object.__setattr__(self, "sealed", True)
        return Dataset(**{name: getattr(found, name) for name in Dataset.__dataclass_fields__})


def sealed(data):
    """Returns the data with a test split that raises when it is touched."""
    found = Sealed(**{name: getattr(data, name) for name in Dataset.__dataclass_fields__})
    object.__setattr__(found, "sealed", True)
    return found


def test_the_plan_holds_no_test_interaction_and_no_truth():
    plan = make_plan(CONFIG, data=sealed(block_data()))
    for data in (plan.prepared.data, plan.prepared.trained):
        assert len(data.test) == 0
        assert data.truth is None


def test_prepared_data_is_used_without_its_test_split():
    config = RunConfig.parse(CONFIG)
    prepared = prepare(block_data(), config.features, config.graph)
    plan = make_plan(CONFIG, prepared=prepared)
    assert plan.prepared.graph is prepared.graph
    assert len(plan.prepared.data.test) == len(plan.prepared.trained.test) == 0
    assert "merged" not in vars(plan.prepared)
    assert plan.about() == make_plan(CONFIG, data=block_data()).about()


def test_a_graph_of_other_settings_is_made_anew():
    config = RunConfig.parse(CONFIG)
    prepared = prepare(block_data(), config.features, config.graph)
    plan = make_plan({**CONFIG, "graph": {"neighbors": 2}}, prepared=prepared)
    assert plan.prepared.config.neighbors == 2
    assert len(plan.prepared.data.test) == 0


def test_nothing_that_a_study_is_about_depends_on_the_test_split():
    data, other = block_data(), block_data()
    other = replace(other, test=other_held_out(other).test.take(np.arange(3)))
    assert make_plan(CONFIG, data=data).about() == make_plan(CONFIG, data=other).about()
    other = replace(data, split=Split(data.split.train, data.split.valid.take(np.arange(9))))
    assert make_plan(CONFIG, data=data).about() != make_plan(CONFIG, data=other).about()


def test_the_first_trial_is_the_config_as_it_is_where_it_lies_in_its_ranges():
    plan = make_plan(CONFIG, data=block_data())
    assert plan.start() == {"model.num_layers": 2, "model.l2": 1e-4, "training.learning_rate": 1e-3}
    plan = make_plan(CONFIG, data=block_data(), search={"model.num_layers": [1, 4], "model.l2": {"low": 0, "high": 1}})
    assert plan.start() == {"model.l2": 1e-4, "training.learning_rate": 1e-3}


def test_the_settings_of_a_trial_are_the_config_with_its_values():
    plan = make_plan(CONFIG, data=block_data(), search={"graph.modalities": [["text"], None]})
    found = plan.config({"model.num_layers": 3, "graph.modalities": '["text"]'}).to_mapping()
    expected = plan.settings.to_mapping()
    expected["model"]["num_layers"], expected["graph"]["modalities"] = 3, ["text"]
    assert found == expected


def test_a_tuned_graph_is_made_for_its_settings_once():
    plan = make_plan(CONFIG, data=block_data(), search={"graph.neighbors": [2, 4]})
    first, again = (plan.prepared_for(plan.config({"graph.neighbors": 2})) for _ in range(2))
    assert first is again
    assert first.config.neighbors == 2
    assert plan.prepared_for(plan.config({"graph.neighbors": 4})) is plan.prepared


def test_a_trial_measures_every_objective_and_is_never_refit():
    config = {**CONFIG, "training": {**CONFIG["training"], "refit": True}}
    plan = make_plan(config, data=block_data(), tuning={"objectives": ["ndcg@7", "coverage@9"]})
    trial = as_trial(plan.settings, plan.objectives)
    assert (trial.evaluation.metrics, trial.evaluation.ks) == (("recall", "ndcg"), (5, 7, 9))
    assert not trial.training.refit
    assert plan.settings.training.refit
    assert plan.settings.evaluation.ks == (5,)


def test_a_file_may_have_the_sections_search_and_tuning(tmp_path):
    sections = {"search": {"model.l2": False, "training.patience": [1, 2]}, "tuning": {"trials": 3, "seed": 9}}
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml({**CONFIG, **sections}))
    values, search, rules = read_settings(path, search={"training.patience": [3]}, tuning={"trials": 4})
    assert values == CONFIG
    assert search == {"model.l2": False, "training.patience": [3]}
    assert rules == TuningConfig(trials=4, seed=9)
    assert set(make_plan(path, data=block_data()).space) == {*SPACE, "training.patience"} - {"model.l2"}
    assert read_settings(path, tuning=TuningConfig(seed=1))[2] == TuningConfig(seed=1)


def test_in_a_complete_config_only_what_search_names_is_tuned():
    config = RunConfig.parse(CONFIG)
    assert list(make_plan(config, data=block_data(), search={"model.l2": True}).space) == ["model.l2"]
    with pytest.raises(ConfigError, match="expected something to tune"):
        make_plan(config, data=block_data())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "popularity"}, "'popularity' leaves no declared range open"),
        ({"search": [1]}, "search: expected a mapping"),
        ({"tuning": {"trails": 1}}, "did you mean 'trials'"),
        ({"tuning": {"objectives": ["NDCG@5"]}}, "set training.metric"),
        ({"model": "lightgcm"}, "did you mean 'lightgcn'"),
    ],
)
def test_what_cannot_be_tuned_is_said_before_anything_is_run(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_plan({**CONFIG, **changes}, data=block_data())


def test_a_study_needs_validation_interactions_and_cut_offs_that_fit():
    data = block_data()
    bare = replace(data, split=data.split.merged())
    with pytest.raises(ValueError, match="expected validation interactions in 'blocks'"):
        make_plan(CONFIG, data=bare)
    with pytest.raises(ValueError, match="k=99"):
        make_plan(CONFIG, data=data, tuning={"objectives": ["recall@5", "coverage@99"]})


def test_an_earlier_sitting_has_the_defaults_of_settings_that_came_later():
    plan = make_plan(CONFIG, data=block_data())
    about, settings = plan.about(), plan.settings.to_mapping()
    before = {name: value for name, value in about.items() if name != "config.training.clip_norm"}
    del settings["training"]["clip_norm"]
    assert plan.completed(before, settings) == about
    now = make_plan(CONFIG | {"training": CONFIG["training"] | {"clip_norm": 1.0}}, data=block_data())
    assert now.completed(before, settings) == about != now.about()
    settings["training"]["gone"] = 1  # a setting that there is no more
    assert plan.completed(before, settings) == before
