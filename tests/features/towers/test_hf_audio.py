from functools import cache

import numpy as np
import pytest
import torch

from graphrec.config import ConfigError
from graphrec.features.encoder import Tower
from graphrec.features.towers import hf_audio
from graphrec.features.towers.loading import forget_loaded
from graphrec.features.towers.sound import read_windows

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")
transformers = pytest.importorskip("transformers")
RATE = 8_000
CLAP_TEXT = {
    "vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 24, "projection_dim": 8,
}  # fmt: skip
CLAP_AUDIO = {
    "window_size": 2, "spec_size": 64, "num_mel_bins": 16, "patch_size": 4, "patch_stride": [4, 4], "depths": [1, 1],
    "patch_embeds_hidden_size": 8, "num_attention_heads": [2, 2], "hidden_size": 16, "num_hidden_layers": 2,
    "projection_dim": 8, "aff_block_r": 2,
}  # fmt: skip
WAVE = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": (8, 8),
    "conv_kernel": (10, 4), "conv_stride": (8, 4), "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
TRANSFORMER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WHISPER = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_mel_bins": 8, "max_source_positions": 50, "vocab_size": 12,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip


def clap(*, fusion):
    config = transformers.ClapConfig(
        text_config=CLAP_TEXT, audio_config={**CLAP_AUDIO, "enable_fusion": fusion}, projection_dim=8
    )
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, sampling_rate=RATE, hop_length=80, max_length_s=1, fft_window_size=256, frequency_max=4000,
        truncation="fusion" if fusion else "rand_trunc",
    )  # fmt: skip
    return transformers.ClapModel(config), extractor


def wave(config, model, *, norm):
    made = config(**WAVE, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")
    return model(made), transformers.Wav2Vec2FeatureExtractor(sampling_rate=RATE, return_attention_mask=norm == "layer")


def whisper():
    extractor = transformers.WhisperFeatureExtractor(feature_size=8, sampling_rate=RATE, hop_length=80, chunk_length=1)
    return transformers.WhisperModel(transformers.WhisperConfig(**WHISPER)), extractor


def spectrogram():
    config = transformers.ASTConfig(**TRANSFORMER, num_mel_bins=16, max_length=100)
    extractor = transformers.ASTFeatureExtractor(sampling_rate=16_000, num_mel_bins=16, max_length=100)
    return transformers.ASTModel(config), extractor


MODELS = {
    "clap": lambda: clap(fusion=False),
    "clap-fusion": lambda: clap(fusion=True),
    "whisper": whisper,
    "wav2vec2-group": lambda: wave(transformers.Wav2Vec2Config, transformers.Wav2Vec2Model, norm="group"),
    "wav2vec2-layer": lambda: wave(transformers.Wav2Vec2Config, transformers.Wav2Vec2Model, norm="layer"),
    "hubert": lambda: wave(transformers.HubertConfig, transformers.HubertModel, norm="layer"),
    "wavlm": lambda: wave(transformers.WavLMConfig, transformers.WavLMModel, norm="layer"),
    "ast": spectrogram,
}
CLAPS = ("clap", "clap-fusion")


def enliven(model):
    """Makes every layer matter: at their first values, the layers of some models hardly change what they get."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2)
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.eval()


def save_tokenizer(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<s>", "<pad>", "</s>", "<unk>", "the", "sound", "of", "a", "cat", "dog"]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name, make in MODELS.items():
        torch.manual_seed(0)
        model, extractor = make()
        enliven(model).save_pretrained(root / name)
        extractor.save_pretrained(root / name)
        if name in CLAPS:
            save_tokenizer(root / name)
    return root


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Files by name; their samples are those of the models' rate, so that nothing is resampled."""
    folder, random = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    time = np.arange(4 * RATE) / RATE
    chirp = 0.4 * np.sin(2 * np.pi * (200 + 150 * time) * time)
    samples = {
        "short": chirp[: RATE // 3],
        "shorter": chirp[RATE : RATE + 1234],
        "long": chirp[: round(3.4 * RATE)],
        "noise": 0.1 * random.standard_normal(RATE // 2),
        "silence": np.zeros(RATE // 2),
        "sample": np.full(1, 0.5),
    }
    for name, values in samples.items():
        soundfile.write(folder / f"{name}.wav", values.astype(np.float32), RATE, subtype="FLOAT")
    return {name: folder / f"{name}.wav" for name in samples}


def tower_of(folders, name, **options):
    return hf_audio.load(str(folders / name), "audio", options, "cpu", "auto")


def encode(tower, *paths):
    return tower.forward([tower.read(path) for path in paths])


@cache
def loaded(folder):
    model = transformers.AutoModel.from_pretrained(folder).eval()
    return model, transformers.AutoFeatureExtractor.from_pretrained(folder)


def alone(folders, name, samples):
    """Returns the vector of one window by transformers' own calls."""
    model, extractor = loaded(folders / name)
    with torch.inference_mode():
        inputs = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        if name in CLAPS:
            features = model.get_audio_features(inputs["input_features"], is_longer=torch.tensor([[False]]))
            features = features if isinstance(features, torch.Tensor) else features.pooler_output
            return torch.nn.functional.normalize(features)[0].numpy()
        if name == "whisper":
            states = model.get_encoder()(inputs["input_features"]).last_hidden_state[0]
            return states[: int(np.ceil(np.ceil(len(samples) / 80) / 2))].mean(dim=0).numpy()
        if name == "ast":
            return model(**inputs).pooler_output[0].numpy()
        return model(inputs["input_values"]).last_hidden_state[0].mean(dim=0).numpy()


@pytest.mark.parametrize("name", MODELS)
def test_a_window_has_the_vector_of_transformers_own_calls(folders, sounds, name):
    tower = tower_of(folders, name)
    assert isinstance(tower, Tower)
    assert tower.kind == "audio"
    for sound in ("short", "shorter", "noise", "silence"):
        (samples,) = read_windows(sounds[sound], rate=tower.rate, seconds=1, max_windows=1)
        expected = alone(folders, name, samples)
        assert np.abs(expected).max() > 1e-3
        assert expected.shape == (tower.dim,)
        np.testing.assert_allclose(encode(tower, sounds[sound])[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_windows_are_averaged_as_by_a_loop(folders, sounds, name):
    tower = tower_of(folders, name, seconds=0.9, max_windows=3, batch_size=2)
    windows = read_windows(sounds["long"], rate=tower.rate, seconds=0.9, max_windows=3)
    assert len(windows) == 3
    expected = np.mean([alone(folders, name, window) for window in windows], axis=0)
    if name in CLAPS:
        expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(encode(tower, sounds["long"])[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_vector_depends_on_its_sound_alone(folders, sounds, name):
    tower = tower_of(folders, name, seconds=1)
    together = encode(tower, *sounds.values())
    for row, path in zip(together, sounds.values(), strict=True):
        np.testing.assert_allclose(encode(tower, path)[0], row, atol=1e-5)
    assert together.shape == (len(sounds), tower.dim)
    assert np.abs(together[0] - together[3]).max() > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_two_runs_are_equal_whatever_the_global_generators(folders, sounds, name):
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - CLAP's feature extractor draws from it
        forget_loaded()
        runs.append(encode(tower_of(folders, name), sounds["long"], sounds["short"]))
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize("name", CLAPS)
def test_clap_never_crops_at_random(folders, sounds, name, monkeypatch):
    tower = tower_of(folders, name)
    lengths = []
    original = tower.extractor._get_input_mel
    monkeypatch.setattr(
        tower.extractor, "_get_input_mel", lambda wave, *rest: lengths.append(len(wave)) or original(wave, *rest)
    )
    tower.read(sounds["long"])
    assert lengths == [RATE] * 4


@pytest.mark.parametrize("name", CLAPS)
def test_the_text_tower_of_clap_shares_its_space_and_matches_transformers(folders, name):
    folder, texts = str(folders / name), ["the sound of a cat", "the sound of a dog", "cat " * 99]
    tower = hf_audio.load(folder, "text", {}, "cpu", "auto")
    assert (tower.kind, tower.dim) == ("text", tower_of(folders, name).dim)
    assert tower.space == tower_of(folders, name).space
    assert tower.fingerprint() != tower_of(folders, name).fingerprint()
    model = transformers.ClapModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=24 - 2, return_tensors="pt")
    with torch.inference_mode():
        features = model.get_text_features(inputs["input_ids"], attention_mask=inputs["attention_mask"])
    features = features if isinstance(features, torch.Tensor) else features.pooler_output
    np.testing.assert_allclose(encode(tower, *texts), torch.nn.functional.normalize(features).numpy(), atol=1e-5)


def test_spaces_tell_models_apart(folders):
    spaces = {tower_of(folders, name).space for name in MODELS}
    assert len(spaces) == len(MODELS)


@pytest.mark.parametrize("name", ["clap", "wav2vec2-group"])
def test_unit_length_by_option(folders, sounds, name):
    for wanted in (True, None, False):
        length = np.linalg.norm(encode(tower_of(folders, name, normalize=wanted), sounds["long"]))
        assert (abs(length - 1) < 1e-5) == (wanted is True or (wanted is None and name == "clap"))


def test_what_changes_a_vector_changes_the_fingerprint_and_the_name(folders):
    towers = [tower_of(folders, "wav2vec2-group", **options) for options in ({}, {"seconds": 5}, {"max_windows": 2})]
    assert len({tower.fingerprint() for tower in towers}) == len({tower.name for tower in towers}) == 3
    assert towers[1].name.endswith("(seconds=5.0)")
    same = tower_of(folders, "wav2vec2-group", batch_size=3)
    assert (same.fingerprint(), same.name, same.batch_size) == (towers[0].fingerprint(), towers[0].name, 3)
    assert towers[0].fingerprint() == tower_of(folders, "wav2vec2-group").fingerprint()


def test_a_sound_is_resampled_to_the_rate_of_the_model(folders, sounds, tmp_path):
    import soxr

    (samples,) = read_windows(sounds["short"], rate=RATE, seconds=1, max_windows=1)
    soundfile.write(tmp_path / "a.wav", soxr.resample(samples, RATE, 44_100), 44_100, subtype="FLOAT")
    tower = tower_of(folders, "clap")
    vectors = encode(tower, sounds["short"], tmp_path / "a.wav", sounds["noise"])
    assert vectors[0] @ vectors[1] > 0.99
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_half_precision_checkpoints_are_run_in_full(folders, sounds, tmp_path):
    model = transformers.Wav2Vec2Model.from_pretrained(folders / "wav2vec2-group").to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    transformers.AutoFeatureExtractor.from_pretrained(folders / "wav2vec2-group").save_pretrained(tmp_path)
    tower = hf_audio.load(str(tmp_path), "audio", None, "cpu", "auto")
    assert {parameter.dtype for parameter in tower.loaded.model.parameters()} == {torch.float32}
    np.testing.assert_allclose(
        encode(tower, sounds["short"]), encode(tower_of(folders, "wav2vec2-group"), sounds["short"]), atol=0.1
    )


@pytest.mark.parametrize(("name", "longest"), [("clap", 1), ("whisper", 1), ("ast", 1)])
def test_windows_longer_than_the_model_takes_are_refused(folders, name, longest):
    assert tower_of(folders, name).seconds == longest
    with pytest.raises(ConfigError, match="expected windows of at most 1 seconds"):
        tower_of(folders, name, seconds=1.5)


def test_a_model_of_any_length_gets_windows_of_ten_seconds(folders):
    assert tower_of(folders, "wav2vec2-layer").seconds == 10
    assert tower_of(folders, "wav2vec2-layer", seconds=25).seconds == 25


@pytest.mark.parametrize(("kind", "name"), [("text", "whisper"), ("image", "clap")])
def test_other_kinds_are_refused(folders, kind, name):
    with pytest.raises(ConfigError, match="expected a model of sounds"):
        hf_audio.load(str(folders / name), kind, {}, "cpu", "auto")


def test_models_of_texts_and_unknown_options_are_refused(folders, minilm):
    with pytest.raises(ConfigError, match="expected a model of sounds"):
        hf_audio.load(str(minilm), "audio", {}, "cpu", "auto")
    with pytest.raises(ConfigError, match="did you mean 'seconds'"):
        tower_of(folders, "clap", second=3)


def test_a_checkpoint_without_weights_is_refused(folders, tmp_path):
    for file in (folders / "clap").glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match="weights"):
        hf_audio.load(str(tmp_path), "audio", {}, "cpu", "auto")


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_agrees_with_the_cpu(folders, sounds, name, precision):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    expected = encode(tower_of(folders, name), sounds["long"], sounds["short"])
    found = encode(hf_audio.load(str(folders / name), "audio", {}, "cuda", precision), sounds["long"], sounds["short"])
    np.testing.assert_allclose(found, expected, atol=1e-3 if precision == "fp32" else 0.1 * np.abs(expected).max())
