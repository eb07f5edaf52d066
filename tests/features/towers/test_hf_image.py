import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from graphrec.config import ConfigError
from graphrec.features.encoder import Tower
from graphrec.features.towers.checkpoint import get_tower
from graphrec.features.towers.hf import features_of
from tests.features.towers.checkpoints import (
    TINY_TEXT,
    TINY_VIT,
    bert_tokenizer,
    save_clip,
    save_dinov2,
    save_hf,
    save_siglip,
    save_vit,
)

PICTURES = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))
    for seed, size in enumerate([(40, 60), (32, 32), (90, 20)])
]


def tower(folder, **options):
    return get_tower(f"path:{folder}", "image", options=options, device="cpu")


def encode(tower, values):
    return tower.forward([tower.read(value) for value in values])


def reference(folder):
    """Returns the model and what its own processor makes of the pictures."""
    from transformers import AutoImageProcessor, AutoModel

    inputs = AutoImageProcessor.from_pretrained(folder)(images=PICTURES, return_tensors="pt")
    return AutoModel.from_pretrained(folder).eval(), inputs


@pytest.mark.parametrize("save", [save_clip, save_siglip])
def test_image_features_of_joint_models_are_theirs(save, minilm, tmp_path):
    folder = save(tmp_path, minilm)
    model, inputs = reference(folder)
    with torch.no_grad():
        expected = model.get_image_features(**inputs).pooler_output
    raw = encode(tower(folder, normalize=False), PICTURES)
    np.testing.assert_allclose(raw, expected.numpy(), atol=1e-6)
    unit = torch.nn.functional.normalize(expected, dim=1).numpy()
    np.testing.assert_allclose(encode(tower(folder), PICTURES), unit, atol=1e-6)


def test_features_come_wrapped_or_bare():
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    vectors = torch.ones(2, 3)
    assert features_of(vectors) is vectors
    assert features_of(BaseModelOutputWithPooling(pooler_output=vectors)) is vectors


@pytest.mark.parametrize("save", [save_dinov2, save_vit])
def test_vision_models_give_their_pooled_output_their_first_token_or_their_patches(save, tmp_path):
    folder = save(tmp_path)
    model, inputs = reference(folder)
    with torch.no_grad():
        output = model(**inputs)
    states = output.last_hidden_state
    for pooling, expected in (
        (None, output.pooler_output),
        ("pooler", output.pooler_output),
        ("cls", states[:, 0]),
        ("patches", states[:, 1:].mean(dim=1)),
    ):
        np.testing.assert_allclose(encode(tower(folder, pooling=pooling), PICTURES), expected.numpy(), atol=1e-5)


def test_it_is_a_tower(tmp_path):
    found = tower(save_dinov2(tmp_path))
    assert isinstance(found, Tower)
    assert (found.kind, found.dim, found.batch_size, found.size(PICTURES[0])) == ("image", 32, 32, 0)


def test_pictures_of_any_shape_are_encoded_as_siglip_2_does(minilm, tmp_path):
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model

    torch.manual_seed(0)
    vision = {name: value for name, value in TINY_VIT.items() if name != "image_size"} | {"num_patches": 16}
    ends = {"bos_token_id": 101, "eos_token_id": 102, "pad_token_id": 0}
    model = Siglip2Model(Siglip2Config(text_config=TINY_TEXT | ends, vision_config=vision))
    processor = Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    folder = save_hf(tmp_path, model, processor, bert_tokenizer(minilm))
    model, inputs = reference(folder)
    with torch.no_grad():
        expected = model.get_image_features(**inputs).pooler_output
        states = model.vision_model(**inputs).last_hidden_state
    np.testing.assert_allclose(encode(tower(folder, normalize=False), PICTURES), expected.numpy(), atol=1e-6)
    means = [row[mask.bool()].mean(dim=0) for row, mask in zip(states, inputs.pixel_attention_mask, strict=True)]
    found = encode(tower(folder, pooling="patches"), PICTURES)
    np.testing.assert_allclose(found, torch.stack(means).numpy(), atol=1e-5)
    assert not inputs.pixel_attention_mask.all()


def test_registers_are_no_patches(tmp_path):
    from transformers import BitImageProcessor, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(**(TINY_VIT | {"mlp_ratio": 2, "num_register_tokens": 4}))
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    folder = save_hf(tmp_path, Dinov2WithRegistersModel(config), BitImageProcessor(**sizes))
    model, inputs = reference(folder)
    with torch.no_grad():
        states = model(**inputs).last_hidden_state
    assert states.shape[1] == 1 + 4 + 16
    found = encode(tower(folder, pooling="patches"), PICTURES)
    np.testing.assert_allclose(found, states[:, 5:].mean(dim=1).numpy(), atol=1e-5)


def test_a_classifier_without_a_pooler_gives_its_first_token_and_no_random_one(tmp_path):
    folder = save_vit(tmp_path, pooler=False)
    model, inputs = reference(folder)
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state[:, 0]
    found = tower(folder)
    np.testing.assert_allclose(encode(found, PICTURES), expected.numpy(), atol=1e-5)
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert tower(copy).fingerprint() == found.fingerprint()
    with pytest.raises(ConfigError, match=r"has no weights of one; use 'cls'"):
        tower(folder, pooling="pooler")


def test_a_convolutional_network_gives_its_pooled_output(tmp_path):
    from transformers import ConvNextConfig, ConvNextImageProcessor, ConvNextModel

    model = ConvNextModel(ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)).eval()
    folder = save_hf(tmp_path, model, ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0))
    model, inputs = reference(folder)
    with torch.no_grad():
        output = model(**inputs)
    np.testing.assert_allclose(encode(tower(folder), PICTURES), output.pooler_output.numpy(), atol=1e-5)
    means = output.last_hidden_state.mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(encode(tower(folder, pooling="patches"), PICTURES), means, atol=1e-5)
    with pytest.raises(ConfigError, match="use 'patches'"):
        tower(folder, pooling="cls")


def test_poolings_have_spaces_of_their_own(minilm, tmp_path):
    folder = save_clip(tmp_path, minilm)
    text = get_tower(f"path:{folder}", "text", device="cpu")
    assert tower(folder).space == text.space
    assert tower(folder, pooling="patches").space != text.space
    assert tower(folder, pooling="patches").fingerprint() != tower(folder).fingerprint()
    with pytest.raises(ConfigError, match="compare with texts"):
        tower(save_dinov2(tmp_path / "dino"), pooling="features")


def test_weights_saved_in_16_bits_are_used_in_32(tmp_path):
    from transformers import AutoModel

    folder = save_dinov2(tmp_path)
    AutoModel.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    found = tower(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    _, inputs = reference(folder)
    with torch.no_grad():
        expected = model(**inputs).pooler_output
    np.testing.assert_allclose(encode(found, PICTURES), expected.numpy(), atol=1e-6)
    assert AutoModel.from_pretrained(folder).dtype == torch.bfloat16  # so that the test would notice


def test_equal_folders_have_equal_fingerprints_and_others_do_not(tmp_path):
    from transformers import BitImageProcessor

    folder = save_dinov2(tmp_path / "one")
    copy, other = (shutil.copytree(folder, tmp_path / name) for name in ("copy", "other"))
    BitImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}).save_pretrained(other)
    prints = [tower(path).fingerprint() for path in (folder, copy, other)]
    assert prints[0] == prints[1] != prints[2]


def test_a_checkpoint_of_the_other_kind_is_refused(minilm, tmp_path):
    with pytest.raises(ConfigError, match="cannot load 'hf:"):
        tower(minilm)
    with pytest.raises(ConfigError, match="cannot load 'hf:"):
        get_tower(f"path:{save_dinov2(tmp_path)}", "text")


@pytest.mark.parametrize("kind", ["strip", "pixel", "palette", "clear"])
def test_odd_pictures_are_encoded(kind, tmp_path):
    picture = {
        "strip": Image.new("RGB", (1, 60_000), "red"),
        "pixel": Image.new("RGB", (1, 1), "red"),
        "palette": Image.new("RGB", (9, 9), "red").convert("P"),
        "clear": Image.new("RGBA", (9, 9), (0, 0, 0, 0)),
    }[kind]
    picture.save(tmp_path / "picture.png")
    expected = Image.new("RGB", (9, 9), "white" if kind == "clear" else "red")
    found = tower(save_dinov2(tmp_path))
    np.testing.assert_allclose(encode(found, [tmp_path / "picture.png"]), encode(found, [expected]), atol=1e-5)


def test_broken_pictures_are_explained_without_their_path(tmp_path):
    (tmp_path / "broken.jpg").write_text("no picture")
    found = tower(save_dinov2(tmp_path))
    with pytest.raises(ValueError, match="no picture, or of a format") as caught:
        found.read(tmp_path / "broken.jpg")
    assert "broken" not in str(caught.value)
