import logging
import warnings

import pytest
import torch
from torch import nn

from graphrec.config import ConfigError
from graphrec.features.towers import loading
from graphrec.features.towers.loading import (
    Loaded,
    checkpoint_errors,
    digest,
    hash_weights,
    keep_loaded,
    plain_settings,
    quiet,
    stamp,
)


@pytest.fixture(autouse=True)
def _nothing_kept():
    loading.forget_loaded()


def test_the_hash_is_of_names_types_shapes_and_bytes():
    torch.manual_seed(0)
    model = nn.Linear(2, 3)
    same = nn.Linear(2, 3)
    same.load_state_dict(model.state_dict())
    assert hash_weights(model) == hash_weights(same)
    others = [nn.Linear(2, 3), nn.Sequential(same), nn.Linear(2, 3, bias=False), nn.Linear(2, 3).double()]
    others[2].weight, others[3] = same.weight, nn.Linear(2, 3).double()
    assert len({hash_weights(model), *map(hash_weights, others)}) == 5
    same.bias = nn.Parameter(torch.zeros(3))
    assert hash_weights(same) != hash_weights(model)
    assert hash_weights(same, unused=["bias"]) == hash_weights(model, unused=["bias"])


def test_scalars_and_16_bits_are_hashed():
    model = nn.Linear(2, 3).bfloat16()
    model.register_buffer("scale", torch.tensor(3))
    before = hash_weights(model)
    model.scale += 1
    assert hash_weights(model) != before


def test_plain_values_are_hashed_in_any_order():
    assert digest({"a": 1, "b": 2}, 3) == digest({"b": 2, "a": 1}, 3) != digest({"a": 1}, 3)


def test_settings_are_without_what_changes_no_vector():
    values = {"_name_or_path": "/x", "eps": 1, "text": {"dtype": "bfloat16", "size": 3}}
    assert plain_settings(values) == {"eps": 1, "text": {"size": 3}}


def test_the_last_models_are_kept():
    calls = []

    def load(name):
        calls.append(name)
        return Loaded(nn.Linear(1, 1), torch.device("cpu"), {})

    for name in "aabacab":
        keep_loaded((name,), lambda name=name: load(name))
    assert calls == ["a", "b", "c", "b"]


def test_a_stamp_changes_with_the_files(tmp_path):
    (tmp_path / "a").write_text("x")
    before = stamp(tmp_path)
    assert before == stamp(tmp_path)
    (tmp_path / "a").write_text("xy")
    assert stamp(tmp_path) != before
    assert stamp(tmp_path / "a") == stamp(tmp_path)
    assert stamp("owner/model") == stamp(None) == stamp("") == ()


def test_quiet_hears_what_libraries_say_and_gives_their_loggers_back(capfd):
    library, states = logging.getLogger("timm.models"), []
    for _ in range(2):
        states.append([(logging.getLogger(name).handlers, logging.getLogger(name).level) for name in loading.NOISY])
        with quiet() as said:
            library.info("in passing")
            logging.warning("to the root")
            warnings.warn("a warning", stacklevel=1)
    assert said == ["in passing", "to the root"]
    assert states[0] == states[1]
    assert capfd.readouterr() == ("", "")


def test_errors_of_libraries_become_one_that_says_what_to_do(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"cannot find the checkpoint of 'hf:a/b'.*no route"),
        checkpoint_errors("a/b", "hf:a/b"),
    ):
        raise OSError("no route")
    with (
        pytest.raises(ConfigError, match="cannot load 'hf:x': OSError: broken"),
        checkpoint_errors(str(tmp_path), "hf:x"),
    ):
        raise OSError("broken")
    with pytest.raises(ConfigError, match=r"^mine$"), checkpoint_errors("a/b", "hf:a/b"):
        raise ConfigError("mine")
