"""A study from its first trial to the config that reproduces its best one."""

import json
import logging
import math

import numpy as np
import pandas as pd
import pytest
import torch

from graphrec.config import ConfigError, load_yaml
from graphrec.pipeline import RunConfig, run
from graphrec.testing import block_data
from graphrec.tuning import TuningError, load_study, trial, tuner
from graphrec.tuning.desk import Desk
from graphrec.tuning.plan import make_plan
from graphrec.tuning.trial import run_trial
from tests.tuning.small import CONFIG, METRIC, RULES, SPACE, on_call, small, told
from tests.tuning.test_plan import sealed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that was never interrupted."""
    return small(tmp_path_factory.mktemp("whole"))


def raising(error):
    def then():
        raise error

    return then


def test_the_first_trial_is_the_config_as_it_is(whole):
    assert list(whole.space) == SPACE
    assert whole.params[0] == {"model.num_layers": 2, "model.l2": 1e-4, "training.learning_rate": 1e-3}
    found = run(CONFIG, data=block_data())
    assert whole.row(0)["value"] == found.result.best_value
    assert whole.row(0)["best_epoch"] == found.result.best_epoch


def test_values_lie_in_their_ranges_and_keep_their_type(whole):
    for params in whole.params.values():
        assert params["model.num_layers"] in (1, 2, 3, 4)
        assert isinstance(params["model.num_layers"], int)
        assert all(whole.space[path].search.holds(value) for path, value in params.items())
    assert len({json.dumps(params) for params in whole.params.values()}) == RULES["trials"]


def test_the_best_config_reproduces_the_best_validation_value_to_the_last_digit(whole):
    path = whole.folder / "best.yaml"
    found = run(path, data=block_data())
    assert found.result.best_value == whole.best_value == whole.trials["value"].max()
    assert found.metrics["valid"][METRIC] == whole.best_value
    assert RunConfig.read(path).to_mapping() == load_yaml(path) == whole.best
    header = path.read_text(encoding="utf-8").splitlines()[:4]
    assert header[3].startswith(f"# Trained with {torch.get_num_threads()} threads")
    assert all(line.startswith("# ") for line in header)
    assert f"trial {whole.best_trial}; budget 6 trials" in header[1]
    assert f"{METRIC} = {whole.best_value!r}" in header[2]


def test_the_summary_says_budget_space_and_best(whole):
    summary = json.loads((whole.folder / "study.json").read_text())
    assert summary == whole.summary()
    assert summary["budget"] == {"trials": 6, "timeout": None}
    assert sum(summary["trials"].values()) == 6
    assert set(summary["space"]) == set(SPACE)
    assert summary["best"]["values"] == {METRIC: whole.best_value}
    assert summary["best"]["params"] == whole.params[whole.best_trial]


def test_the_tuner_never_touches_the_test_split(whole, tmp_path):
    pd.testing.assert_frame_equal(told(small(tmp_path, data=sealed(block_data()))), told(whole))


def test_a_study_in_two_sittings_is_the_study_in_one(whole, tmp_path):
    first = small(tmp_path, tuning={"trials": 3})
    assert len(first.trials) == 3
    second = small(tmp_path)
    pd.testing.assert_frame_equal(told(second), told(whole))
    pd.testing.assert_frame_equal(second.trials.drop(columns="seconds"), whole.trials.drop(columns="seconds"))
    pd.testing.assert_frame_equal(small(tmp_path).trials, second.trials)  # the budget is used up: nothing is run


@pytest.mark.parametrize("call", [1, 4])
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(whole, tmp_path, monkeypatch, call):
    with monkeypatch.context() as patch:
        patch.setattr(trial, "execute", on_call(trial.execute, call, raising(KeyboardInterrupt)))
        with pytest.raises(KeyboardInterrupt):
            small(tmp_path)
    assert load_study(tmp_path).counts["running"] == 1
    study = small(tmp_path)
    pd.testing.assert_frame_equal(told(study), told(whole))
    assert study.counts["lost"] == 1
    again = study.trials[study.trials["retry_of"] == call - 1]
    assert len(again) == 1
    assert study.params[again["number"].item()] == study.params[call - 1]


@pytest.mark.parametrize("part", np.linspace(0.05, 0.95, 10).round(2))
def test_a_journal_that_ends_after_any_of_its_lines_can_be_gone_on_with(whole, tmp_path, part):
    lines = (whole.folder / "journal.log").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal.log").write_bytes(b"".join(lines[: round(part * len(lines))]))
    study = small(tmp_path)
    pd.testing.assert_frame_equal(told(study), told(whole))
    assert study.best == whole.best
    assert len(study.trials) == 6 + study.counts["lost"]


def test_a_trial_that_is_lost_twice_is_given_up_and_counts(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(trial, "execute", raising_always(KeyboardInterrupt))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            small(tmp_path)
    monkeypatch.undo()
    study = small(tmp_path)
    assert "its process died 2 times; it is given up" in caplog.text
    assert list(study.trials["state"][:2]) == ["lost", "lost"]
    assert study.counts["lost"] == 2
    assert len(study.trials) == 7  # the budget of 6, and the one that was tried again


def raising_always(error):
    def execute(*arguments, **options):
        raise error

    return execute


def test_a_failed_trial_keeps_its_message_and_the_study_goes_on(tmp_path, monkeypatch):
    failing = on_call(trial.execute, 2, raising(FloatingPointError("loss term 'bpr' became nan")))
    monkeypatch.setattr(trial, "execute", failing)
    study = small(tmp_path)
    assert study.row(1)["state"] == "failed"
    assert study.row(1)["error"] == "FloatingPointError: loss term 'bpr' became nan"
    assert study.counts == {"complete": 5, "pruned": 0, "failed": 1, "lost": 0, "running": 0, "waiting": 0} | {
        "complete": study.counts["complete"],
        "pruned": 5 - study.counts["complete"],
    }
    assert study.trials["retry_of"].isna().all()


def test_a_value_that_is_not_finite_fails_the_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "value_of", lambda objective, run: math.nan)
    with pytest.raises(TuningError, match=r"all 2 trials .* failed; the first: FloatingPointError: expected finite"):
        small(tmp_path, tuning={"trials": 2})


def test_a_study_whose_trials_all_fail_is_an_error_and_leaves_a_summary(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "execute", raising_always(MemoryError("too big")))
    with pytest.raises(TuningError, match=r"all 3 trials .* failed; the first: MemoryError: too big"):
        small(tmp_path, tuning={"trials": 3})
    assert json.loads((tmp_path / "study.json").read_text())["best"] is None
    assert not (tmp_path / "best.yaml").exists()


def test_no_trial_is_begun_after_the_time_is_up(tmp_path):
    with pytest.raises(TuningError, match=r"no trial .* was finished; give it more time"):
        small(tmp_path, tuning={"timeout": 1e-9})
    assert load_study(tmp_path).counts["waiting"] == 1


def test_settings_that_were_tried_are_not_trained_again(tmp_path, monkeypatch):
    calls, execute = [], trial.execute
    monkeypatch.setattr(trial, "execute", lambda *given, **more: calls.append(1) or execute(*given, **more))
    config = {**CONFIG, "model": {"name": "ease"}, "training": {"metric": METRIC}}
    study = small(tmp_path, config=config, search={"model.regularization": [5, 50]}, tuning={"trials": 7})
    assert len(study.trials) == study.counts["complete"] == 7
    assert len(calls) == 2
    twins = study.trials.dropna(subset="same_as")
    assert len(twins) == 5
    for _, twin in twins.iterrows():
        assert twin["value"] == study.row(twin["same_as"])["value"]


def test_a_folder_of_another_study_is_refused_and_the_difference_named(whole):
    before = (whole.folder / "journal.log").read_bytes()
    other = {**CONFIG, "training": {**CONFIG["training"], "max_epochs": 5}}
    changes = [
        ({"config": other}, "config.training.max_epochs: 4 before, 5 now"),
        ({"search": {"model.num_layers": [1, 2]}}, "search.model.num_layers"),
        ({"tuning": {"objectives": [METRIC, "seconds"]}}, "objectives: "),
        ({"tuning": {"seed": 1}}, "tuning.seed: 0 before, 1 now"),
        ({"data": block_data(seed=1)}, "data: "),
    ]
    for options, message in changes:
        with pytest.raises(TuningError, match=message):
            small(whole.folder, **options)
    assert (whole.folder / "journal.log").read_bytes() == before


def test_weak_trials_are_ended_early_by_their_validation_epochs(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="graphrec")
    search = {"training.learning_rate": {"low": 1e-6, "high": 0.1, "log": True}}
    study = small(tmp_path, tuning={"trials": 10, "pruner": "median"}, search=search)
    ended = study.trials[study.trials["state"] == "pruned"]
    assert 0 < len(ended) < 10
    assert (ended["epochs"] >= RULES["warmup_epochs"]).all()
    assert ended["value"].isna().all()
    assert "ended early at epoch" in caplog.text
    assert study.row(study.best_trial)["state"] == "complete"


def test_asha_ends_trials_as_well_and_none_ends_no_trial(tmp_path):
    rules = {"trials": 12, "pruner": "asha", "warmup_epochs": 1}
    search = {"training.learning_rate": {"low": 1e-6, "high": 0.1, "log": True}}
    assert small(tmp_path / "asha", tuning=rules, search=search).counts["pruned"] > 0
    assert small(tmp_path / "none", tuning={**rules, "pruner": "none"}, search=search).counts["complete"] == 12


def test_several_objectives_are_never_pruned_and_make_a_front(tmp_path):
    rules = {"trials": 6, "objectives": [METRIC, "seconds", "coverage@5"], "pruner": "median"}
    search = {"training.learning_rate": {"low": 1e-6, "high": 0.1, "log": True}}
    study = small(tmp_path, tuning=rules, search=search)
    assert study.counts["complete"] == 6
    frame = study.trials.set_index("number")
    points = frame[[f"value.{METRIC}", "value.seconds", "value.Coverage@5"]].to_numpy() * [1, -1, 1]
    for number, point in enumerate(points):
        beaten = any((other >= point).all() and (other > point).any() for other in points)
        assert (number in study.front) == (not beaten)
    assert study.best_value == frame["value"].max()
    assert len(list(tmp_path.glob("front-*.yaml"))) == len(study.front)
    for place, number in enumerate(study.front, start=1):
        assert load_yaml(tmp_path / f"front-{place}.yaml") == study.config_of(number)
    assert load_yaml(tmp_path / "best.yaml") == study.config_of(study.front[0])


def test_objectives_are_what_a_run_by_itself_reaches(tmp_path):
    rules = {"trials": 2, "objectives": [METRIC, "ndcg@3", "coverage@3", "seconds"]}
    study = small(tmp_path, tuning=rules)
    config = RunConfig.parse({**study.config_of(1), "evaluation": {"metrics": ["ndcg"], "ks": [3]}})
    found = trial.execute(config, trial_data(config), None)
    values = study.values_of(1)
    assert values["NDCG@3"] == found.record.valid.mean()["NDCG@3"]
    shown = {int(item) for items in found.record.valid.lists for item in items}
    assert values["Coverage@3"] == len(shown) / block_data().num_items
    assert 0 < values["seconds"] < study.row(1)["seconds"]


def trial_data(config):
    from graphrec.pipeline.prepare import prepare

    return prepare(block_data().without_test(), config.features, config.graph)


def test_a_closed_form_is_tuned_on_its_validation_metric(tmp_path):
    config = {**CONFIG, "model": "ease", "training": {"metric": METRIC}}
    study = small(tmp_path, config=config, tuning={"objectives": [METRIC, "seconds"]})
    found = run(study.best, data=block_data())
    assert found.metrics["valid"][METRIC] == study.best_value
    assert (study.trials["value.seconds"] > 0).all()


def test_the_progress_is_one_line_per_trial(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="graphrec")
    study = small(tmp_path, tuning={"trials": 2})
    lines = [record.getMessage() for record in caplog.records if "trial" in record.getMessage()]
    first, best = (f"{value:.4f}".removeprefix("0") for value in (study.row(0)["value"], study.best_value))
    assert lines[0].startswith(f"trial 1 of 2: {METRIC} {first} (best {first})")
    assert lines[1].startswith("trial 2 of 2: ")
    assert f"(best {best})" in lines[1]
    assert not [record for record in caplog.records if record.getMessage() == "training …"]


def test_two_processes_share_one_study(tmp_path):
    study = small(tmp_path, jobs=2, tuning={"pruner": "none"})
    assert len(study.trials) == study.counts["complete"] == RULES["trials"]
    assert study.trials["retry_of"].isna().all()
    assert not list((tmp_path / "leases").iterdir())
    values = [run(study.config_of(number), data=block_data()).result.best_value for number in range(2)]
    np.testing.assert_array_equal(study.trials["value"][:2], values)


def test_the_search_of_the_call_is_checked_like_that_of_the_file(tmp_path):
    with pytest.raises(ConfigError, match=r"search\.model\.num_layer: unknown setting"):
        small(tmp_path, search={"model.num_layer": [1, 2]})
    assert not list(tmp_path.iterdir())


def test_trackers_may_change_between_two_sittings(whole):
    training = CONFIG["training"] | {"trackers": []}
    study = small(whole.folder, config={**CONFIG, "training": training})
    assert study.best_value == whole.best_value


def test_a_call_waits_for_the_last_trial_of_another_and_takes_it_over_if_that_dies(whole, tmp_path, monkeypatch):
    data, rules = block_data(), {**RULES, "trials": 2}
    other = Desk(tmp_path, make_plan(CONFIG, tuning=rules, data=data))
    held = other.take(), other.take()
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 1:
            other.finish(held[0], run_trial(other.plan, held[0].trial))
        if len(pauses) == 2:
            other.release(held[1])  # its process dies

    monkeypatch.setattr(tuner, "sleep", pause)
    study = small(tmp_path, tuning={"trials": 2})
    assert len(pauses) == 2
    assert study.row(0)["value"] == whole.row(0)["value"]
    assert list(study.trials["state"]) == ["complete", "lost", "complete"]
