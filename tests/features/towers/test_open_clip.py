import json
import logging
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from graphrec.config import ConfigError
from graphrec.features.encoder import Tower
from graphrec.features.towers.checkpoint import get_tower
from graphrec.features.towers.open_clip import Source, parse_checkpoint
from tests.features.towers.checkpoints import save_open_clip

TEXTS = ["a red shoe", "שלום עולם", "👍 party 🎉", "word " * 200]


def noise(seed, size=(40, 60)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_open_clip(tmp_path_factory.mktemp("clip") / "model", mean=[0.5, 0.4, 0.3], resize_mode="squash")


@pytest.fixture(scope="module")
def original(folder):
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{folder}")


def tower(folder, kind, **options):
    return get_tower(f"open_clip:local-dir:{folder}", kind, options=options, device="cpu")


def encode(tower, values):
    return tower.forward([tower.read(value) for value in values])


def test_pictures_are_encoded_as_open_clip_encodes_them(folder, original):
    model, transform, _ = original
    pictures = [noise(seed, size) for seed, size in enumerate([(40, 60), (32, 32), (90, 20)])]
    with torch.no_grad():
        expected = model.encode_image(torch.stack([transform(picture) for picture in pictures]), normalize=True)
    found = encode(tower(folder, "image"), pictures)
    np.testing.assert_array_equal(found, expected.numpy())
    assert found.dtype == np.float32


def test_texts_are_encoded_as_open_clip_encodes_them(folder, original):
    model, _, tokenizer = original
    with torch.no_grad():
        expected = model.encode_text(tokenizer(TEXTS), normalize=True)
    np.testing.assert_array_equal(encode(tower(folder, "text"), TEXTS), expected.numpy())


def test_vectors_keep_their_length_by_option(folder, original):
    model, transform, _ = original
    with torch.no_grad():
        expected = model.encode_image(transform(noise(0)).unsqueeze(0))
    found = tower(folder, "image", normalize=False)
    np.testing.assert_array_equal(encode(found, [noise(0)]), expected.numpy())
    assert found.name == f"open_clip:local-dir:{folder}(normalize=False)"


def test_both_towers_are_towers_of_one_space_and_one_model(folder):
    image, text = tower(folder, "image"), tower(folder, "text")
    assert isinstance(image, Tower)
    assert image.loaded.model is text.loaded.model
    assert image.space == text.space
    assert image.dim == text.dim == 16
    assert (image.kind, text.kind) == ("image", "text")
    assert image.fingerprint() != text.fingerprint()
    assert (image.batch_size, text.batch_size, tower(folder, "text", batch_size=7).batch_size) == (32, 64, 7)


def test_a_folder_without_weights_is_refused(tmp_path):
    save_open_clip(tmp_path, weights=False)
    with pytest.raises(ConfigError, match=r"expected weights .* found open_clip_config\.json; .* would be random"):
        tower(tmp_path, "image")


def test_a_folder_without_a_configuration_is_refused(folder, tmp_path):
    shutil.copy(folder / "open_clip_model.safetensors", tmp_path)
    with pytest.raises(ConfigError, match=r"expected the file open_clip_config\.json"):
        tower(tmp_path, "image")


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("ViT-B-32", r"without them it would be random.*laion2b_s34b_b79k"),
        ("ViT-B-32/laion2b_s34b", r"unknown pretrained weights.*did you mean 'laion2b_s34b_b79k'.*openai"),
        ("ViT-B32/openai", r"unknown model 'ViT-B32'.*did you mean 'ViT-B-32'"),
        ("ViT-B-32//nowhere/weights.pt", r"there is no file '/nowhere/weights\.pt'"),
        ("local-dir:/nowhere", r"there is no folder '/nowhere'"),
    ],
)
def test_what_would_be_random_or_is_unknown_is_refused(checkpoint, message):
    with pytest.raises(ConfigError, match=message):
        get_tower(f"open_clip:{checkpoint}", "image")


def test_other_kinds_are_refused(folder):
    with pytest.raises(ConfigError, match="expected the kind 'image' or 'text'"):
        get_tower(f"open_clip:local-dir:{folder}", "audio")


def test_tags_files_and_folders_are_told_apart(tmp_path):
    file = tmp_path / "w.pt"
    file.write_bytes(b"")
    assert parse_checkpoint("ViT-B-32/openai") == Source("ViT-B-32", "openai")
    assert parse_checkpoint(f"ViT-B-32/{file}") == Source("ViT-B-32", str(file))
    assert parse_checkpoint("hf-hub:laion/CLIP") == Source("hf-hub:laion/CLIP")


def test_an_architecture_with_a_file_of_weights_equals_the_folder(folder, tmp_path, monkeypatch):
    from open_clip import factory

    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", config)
    state = open_clip.factory.load_state_dict(folder / "open_clip_model.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "weights.pt")
    found = encode(get_tower(f"open_clip:tiny/{tmp_path / 'weights.pt'}", "text", device="cpu"), TEXTS)
    np.testing.assert_array_equal(found, encode(tower(folder, "text"), TEXTS))


def test_weights_that_need_unpickling_are_refused(tmp_path, monkeypatch):
    from open_clip import factory

    from tests.features.towers.checkpoints import OPEN_CLIP

    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", OPEN_CLIP)
    torch.save({"state_dict": {}, "code": Source("x")}, tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match=r"(?i)weights.only"):
        get_tower(f"open_clip:tiny/{tmp_path / 'weights.pt'}", "image")


def test_the_activation_belongs_to_the_pretrained_weights(monkeypatch):
    calls = []

    def stop(model, **arguments):
        calls.append((model, arguments))
        raise OSError("no network")

    monkeypatch.setattr(open_clip, "create_model_from_pretrained", stop)
    for tag in ("openai", "laion2b_s34b_b79k"):
        with pytest.raises(ConfigError, match="no network"):
            get_tower(f"open_clip:ViT-B-32/{tag}", "image")
    assert [arguments["force_quick_gelu"] for _, arguments in calls] == [True, False]


def test_windows_are_the_mean_of_their_vectors_by_tokens(folder, original):
    model, _, tokenizer = original
    text = " ".join(f"word{number}" for number in range(15))
    tokens = tokenizer.encode(text)
    spans = [tokens[start : start + 22] for start in range(0, len(tokens), 22)]
    rows = torch.zeros(len(spans), 24, dtype=torch.long)
    for row, span in zip(rows, spans, strict=True):
        row[: len(span) + 2] = torch.tensor([tokenizer.sot_token_id, *span, tokenizer.eot_token_id])
    with torch.no_grad():
        vectors = model.encode_text(rows)
    weights = torch.tensor([len(span) for span in spans], dtype=torch.float32)
    expected = torch.nn.functional.normalize((vectors * weights[:, None]).sum(dim=0) / weights.sum(), dim=0)
    found = encode(tower(folder, "text", windows=True), ["short", text])
    assert len(spans) > 1
    np.testing.assert_allclose(found[1], expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(found[0], encode(tower(folder, "text"), ["short"])[0], atol=1e-6)


def test_a_prefix_stands_before_the_text(folder):
    found = encode(tower(folder, "text", prefix="a photo of "), ["a dog"])
    np.testing.assert_array_equal(found, encode(tower(folder, "text"), ["a photo of a dog"]))


def test_texts_of_any_length_and_characters_are_encoded(folder):
    found = tower(folder, "text")
    long = " ".join(f"w{number % 997}" for number in range(100_000))
    vectors = encode(found, [long, long[:600], "\ud800 half", "x" * 200_000])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    for empty in ("", " \n"):
        with pytest.raises(ValueError, match="an empty text"):
            found.read(empty)
    with pytest.raises(ValueError, match="expected a text, got float"):
        found.read(1.0)


def test_equal_folders_have_equal_fingerprints_and_others_do_not(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    other = save_open_clip(tmp_path / "other", seed=1, mean=[0.5, 0.4, 0.3], resize_mode="squash")
    resized = save_open_clip(tmp_path / "resized", mean=[0.5, 0.4, 0.3], resize_mode="shortest")
    prints = [tower(path, "image").fingerprint() for path in (folder, copy, other, resized)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert tower(folder, "image", normalize=False).fingerprint() != prints[0]
    assert tower(folder, "image", max_pixels=9, batch_size=2).fingerprint() == prints[0]
    assert tower(copy, "text").space == tower(folder, "image").space != tower(other, "image").space


def test_a_checkpoint_that_changed_is_loaded_again(tmp_path):
    before = tower(save_open_clip(tmp_path), "image").fingerprint()
    assert tower(save_open_clip(tmp_path, seed=1), "image").fingerprint() != before


def test_loading_is_silent_and_leaves_the_random_generator_alone(tmp_path, capfd):
    save_open_clip(tmp_path, seed=2)
    torch.manual_seed(3)
    expected, handlers = torch.rand(3), list(logging.getLogger().handlers)
    torch.manual_seed(3)
    tower(tmp_path, "image")
    torch.testing.assert_close(torch.rand(3), expected)
    assert logging.getLogger().handlers == handlers
    assert capfd.readouterr() == ("", "")


def test_other_precisions_are_near_and_named(folder):
    full = tower(folder, "image")
    half = get_tower(f"open_clip:local-dir:{folder}", "image", device="cpu", precision="bf16")
    values = encode(half, [noise(0)])
    assert values.dtype == np.float32
    assert not np.array_equal(values, encode(full, [noise(0)]))
    np.testing.assert_allclose(values, encode(full, [noise(0)]), atol=0.03)
    assert half.name.endswith("(precision=bf16)")
    assert half.fingerprint() != full.fingerprint()
    assert half.space == full.space
