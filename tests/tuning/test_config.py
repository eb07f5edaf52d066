"""The rules of a study, and what it may look for."""

import pytest

from graphrec.config import ConfigError
from graphrec.tuning import TuningConfig
from graphrec.tuning.config import Objective


@pytest.mark.parametrize(
    ("text", "label", "metric", "k", "direction"),
    [
        ("recall@20", "Recall@20", "recall", 20, "maximize"),
        ("NDCG@5", "NDCG@5", "ndcg", 5, "maximize"),
        ("coverage@10", "Coverage@10", None, 10, "maximize"),
        ("Seconds", "seconds", None, None, "minimize"),
    ],
)
def test_objectives_are_metrics_coverage_and_seconds(text, label, metric, k, direction):
    objective = Objective.parse(text)
    assert (objective.label, objective.metric, objective.k, objective.direction) == (label, metric, k, direction)


@pytest.mark.parametrize("text", ["recal@20", "Recall", "coverage", "coverage@0", "minutes"])
def test_an_unknown_objective_is_refused(text):
    with pytest.raises(ConfigError, match="objectives"):
        TuningConfig.parse({"objectives": [text]})


def test_objectives_are_written_as_labels_and_differ():
    assert TuningConfig.parse({"objectives": ["recall@20", "seconds"]}).objectives == ("Recall@20", "seconds")
    with pytest.raises(ConfigError, match="different"):
        TuningConfig.parse({"objectives": ["recall@20", "Recall@20"]})


@pytest.mark.parametrize("rules", [{"trials": 0}, {"timeout": 0}, {"pruner": "medium"}, {"trails": 3}])
def test_wrong_rules_are_refused(rules):
    with pytest.raises(ConfigError, match=next(iter(rules))):
        TuningConfig.parse(rules)
