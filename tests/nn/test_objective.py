import pytest
import torch

from graphrec.config import ConfigError
from graphrec.nn.losses import bpr, sampled_softmax
from graphrec.nn.objective import Objective

POSITIVE, NEGATIVE = torch.tensor([1.0, -1.0]), torch.tensor([[0.5, 2.0], [0.0, -3.0]])
KNOWN = torch.tensor([[False, True], [False, False]])


def test_bpr_under_its_name():
    terms = Objective()(POSITIVE, NEGATIVE, KNOWN)
    assert list(terms) == ["bpr"]
    assert torch.equal(terms["bpr"], bpr(POSITIVE, NEGATIVE, KNOWN))


def test_softmax_under_its_name_with_its_temperature():
    terms = Objective(loss="softmax", temperature=0.3)(POSITIVE, NEGATIVE, KNOWN)
    assert list(terms) == ["softmax"]
    assert torch.equal(terms["softmax"], sampled_softmax(POSITIVE, NEGATIVE, 0.3, KNOWN))


@pytest.mark.parametrize("values", [{"loss": "hinge"}, {"temperature": 0.0}, {"temprature": 1.0}])
def test_bad_settings_are_refused(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        Objective.parse(values)
