import json
import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from graphrec.config import ConfigError
from graphrec.features.encoder import Tower
from graphrec.features.towers.checkpoint import get_tower

MODEL = "vit_tiny_patch16_224"
PICTURES = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))
    for seed, size in enumerate([(240, 300), (224, 224)])
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small classifier, saved as timm saves it."""
    path = tmp_path_factory.mktemp("timm")
    torch.manual_seed(0)
    arguments = {"depth": 1, "img_size": 32, "patch_size": 8, "num_classes": 5}
    model = timm.create_model(MODEL, **arguments)
    data = {"input_size": [3, 32, 32], "mean": [0.1, 0.2, 0.3], "std": [0.9, 0.8, 0.7], "crop_pct": 0.9}
    config = {"architecture": MODEL, "num_classes": 5, "num_features": 192, "model_args": arguments}
    more = {"num_classes": 5, "interpolation": "bilinear", "classifier": "head", "first_conv": "patch_embed.proj"}
    (path / "config.json").write_text(json.dumps(config | {"pretrained_cfg": data | more}))
    save_file(model.state_dict(), path / "model.safetensors")
    return path


def tower(folder, **options):
    return get_tower(f"path:{folder}", "image", options=options, device="cpu")


def encode(tower, values):
    return tower.forward([tower.read(value) for value in values])


def expected(folder):
    """Returns what stands before the classifier, by timm's own calls."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    with torch.no_grad():
        states = model.forward_features(torch.stack([transform(picture) for picture in PICTURES]))
        return model.forward_head(states, pre_logits=True).numpy()


def test_pictures_are_encoded_as_timm_encodes_them(folder):
    found = tower(folder)
    assert isinstance(found, Tower)
    np.testing.assert_allclose(encode(found, PICTURES), expected(folder), atol=1e-6)
    assert (found.dim, found.kind) == (192, "image")
    assert found.name == f"timm:local-dir:{folder}"


def test_vectors_have_unit_length_by_option(folder):
    found = encode(tower(folder, normalize=True), PICTURES)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_an_architecture_with_a_file_of_weights_is_that_model(tmp_path):
    torch.manual_seed(1)
    model = timm.create_model("vit_tiny_patch16_224").eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    found = get_tower(f"timm:{MODEL}/{tmp_path / 'weights.safetensors'}", "image", device="cpu")
    data = timm.data.resolve_data_config({}, model=model)
    inputs = torch.stack([timm.data.create_transform(**data)(picture) for picture in PICTURES])
    with torch.no_grad():
        states = model.forward_head(model.forward_features(inputs), pre_logits=True)
    np.testing.assert_allclose(encode(found, PICTURES), states.numpy(), atol=1e-5)


def test_missing_weights_are_refused(folder, tmp_path):
    cut = shutil.copytree(folder, tmp_path / "cut")
    state = load_file(folder / "model.safetensors")
    del state["blocks.0.attn.qkv.weight"]
    save_file(state, cut / "model.safetensors")
    with pytest.raises(ConfigError, match=r"(?i)missing"):
        tower(cut)
    (cut / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="without them the model would be random"):
        tower(cut)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("vit_small_patch14_dinov", "unknown model 'vit_small_patch14_dinov' of timm: did you mean 'vit_"),
        ("vit_small_patch14_dinov2.nope", r"would be random; known: vit_small_patch14_dinov2\.lvd142m"),
        ("vit_small_patch14_dinov2//nowhere.pt", "there is no file '/nowhere.pt'"),
    ],
)
def test_unknown_models_and_weights_are_refused(checkpoint, message):
    with pytest.raises(ConfigError, match=message):
        get_tower(f"timm:{checkpoint}", "image")


def test_other_kinds_are_refused(folder):
    with pytest.raises(ConfigError, match="expected the kind 'image'"):
        get_tower(f"timm:local-dir:{folder}", "text")


def test_equal_folders_have_equal_fingerprints_and_others_do_not(folder, tmp_path):
    copy, other = (shutil.copytree(folder, tmp_path / name) for name in ("copy", "other"))
    config = json.loads((other / "config.json").read_text())
    config["pretrained_cfg"]["crop_pct"] = 1.0
    (other / "config.json").write_text(json.dumps(config))
    prints = [tower(path).fingerprint() for path in (folder, copy, other)]
    assert prints[0] == prints[1] != prints[2]
