import subprocess
import sys

import huggingface_hub.constants
import numpy as np
import pytest

from graphrec.config import ConfigError
from graphrec.features.towers import checkpoint as module
from graphrec.features.towers import loading
from graphrec.features.towers.checkpoint import TOWERS, get_tower
from tests.features.towers.checkpoints import save_bert, save_open_clip


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def plug(checkpoint, kind, options, device, precision):
    return checkpoint, kind, options, device, precision


def test_others_can_plug_in(monkeypatch):
    monkeypatch.setitem(TOWERS, "mine", f"{__name__}:plug")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[plug.__module__])
    found = get_tower("mine:some:thing", "audio", options={"rate": 3}, device="cpu", precision="bf16")
    assert found == ("some:thing", "audio", {"rate": 3}, "cpu", "bf16")


def test_a_video_tower_stands_on_the_image_tower(monkeypatch):
    monkeypatch.setitem(TOWERS, "mine", f"{__name__}:plug")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[plug.__module__])
    monkeypatch.setattr(module, "VIDEO", f"{__name__}:pair")
    image, options = get_tower("mine:x", "video", options={"frames": 4, "image": {"normalize": False}})
    assert image == ("x", "image", {"normalize": False}, "auto", "auto")
    assert options == {"frames": 4}


def pair(image, options):
    return image, options


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("openclip:ViT-B-32/openai", r"unknown prefix 'openclip:': did you mean 'open_clip:'"),
        ("all-MiniLM-L6-v2", r"unknown prefix .* expected a tower such as 'hf:sentence-transformers/all-MiniLM-L6-v2'"),
        ("hf:", r"unknown prefix .* got 'hf:'"),
    ],
)
def test_unknown_prefixes_are_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        get_tower(spec, "text")


def test_unknown_kinds_and_precisions_are_refused():
    with pytest.raises(ConfigError, match="unknown kind 'images': did you mean 'image'"):
        get_tower("hf:x", "images")
    with pytest.raises(ConfigError, match="unknown precision 'bf61': did you mean 'bf16'"):
        get_tower("hf:x", "image", precision="bf61")


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("hf:sentence-transformers/no-such-model", "text"),
        ("hf:facebook/no-such-model", "image"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "image"),
        ("open_clip:hf-hub:laion/no-such-model", "text"),
        ("timm:vit_small_patch14_dinov2", "image"),
        ("timm:hf-hub:timm/no-such-model", "image"),
    ],
)
def test_a_checkpoint_out_of_reach_is_explained_without_noise(spec, kind, offline, capfd):
    with pytest.raises(ConfigError, match=rf"cannot find the checkpoint of '{spec}'.*'path:/folder"):
        get_tower(spec, kind, device="cpu")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("spec", ["hf:/nowhere/model", "path:/nowhere/model", "open_clip:local-dir:/nowhere/model"])
def test_a_missing_folder_is_named(spec):
    with pytest.raises(ConfigError, match=r"there is no folder '/nowhere/model'"):
        get_tower(spec, "text")


def test_a_folder_of_nothing_known_and_a_file_are_explained(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"expected a checkpoint of open_clip .* found notes\.txt"):
        get_tower(f"path:{tmp_path}", "text")
    with pytest.raises(ConfigError, match="weights alone do not say of which model"):
        get_tower(f"path:{tmp_path / 'notes.txt'}", "text")


def test_a_folder_that_is_damaged_is_explained(minilm, tmp_path):
    folder = save_bert(tmp_path / "bert", minilm)
    (folder / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ConfigError, match=f"cannot load 'hf:{folder}'"):
        get_tower(f"path:{folder}", "text")
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"cannot read .*config\.json"):
        get_tower(f"path:{folder}", "text")


def test_a_folder_says_which_library_saved_it(minilm, tmp_path):
    clip = get_tower(f"path:{save_open_clip(tmp_path / 'clip')}", "text", device="cpu")
    bert = get_tower(f"path:{save_bert(tmp_path / 'bert', minilm)}", "text", device="cpu")
    assert (type(clip).__name__, type(bert).__name__) == ("OpenClipTextTower", "SentenceTower")


def test_a_second_tower_takes_the_model_in_memory_until_it_is_forgotten(minilm):
    first, second = (get_tower(f"path:{minilm}", "text", device="cpu") for _ in range(2))
    assert first.loaded.model is second.loaded.model
    loading.forget_loaded()
    assert get_tower(f"path:{minilm}", "text", device="cpu").loaded.model is not first.loaded.model


def test_loading_and_encoding_print_nothing(minilm):
    code = (
        "from graphrec.features.towers.checkpoint import get_tower\n"
        f"tower = get_tower('path:{minilm}', 'text', device='cpu')\n"
        "tower.forward([tower.read('word ' * 1000)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_vectors_that_are_not_finite_are_refused(minilm, tmp_path):
    import torch

    loading.forget_loaded()
    found = get_tower(f"path:{save_bert(tmp_path, minilm)}", "text", device="cpu")
    with torch.no_grad():
        next(iter(found.loaded.model.parameters())).fill_(np.nan)
    with pytest.raises(ValueError, match=r"expected finite vectors .* try precision='fp32'"):
        found.forward([found.read("x")])
