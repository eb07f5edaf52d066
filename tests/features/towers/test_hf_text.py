import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch

from graphrec.config import ConfigError
from graphrec.features.encoder import Tower
from graphrec.features.towers.checkpoint import get_tower
from tests.features.towers.checkpoints import TINY_TEXT, bert_tokenizer, save_bert, save_clip, save_hf, save_siglip

TEXTS = [
    "a red shoe",
    "Robots in space. " * 200,
    "ok",
    "שלום עולם, זה ספר",
    "👍 party 🎉",
    "line\nbreak\ttab",
    "Naïve CAFÉ",
]


def tower(folder, **options):
    return get_tower(f"path:{folder}", "text", options=options, device="cpu")


def encode(tower, values):
    return tower.forward([tower.read(value) for value in values])


def sentence_transformer(folder):
    return pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder), device="cpu")


@pytest.fixture
def bert(minilm, tmp_path):
    return save_bert(tmp_path / "bert", minilm)


def add_modules(folder, *modules):
    """Writes the files of sentence-transformers: (type, path, configuration) after the transformer."""
    listed = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for number, (kind, path, config) in enumerate(modules, start=1):
        listed.append(
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        )
        (folder / path).mkdir(exist_ok=True)
        (folder / path / "config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(json.dumps(listed))


def pooling(dim=32, **modes):
    return "Pooling", "1_Pooling", {"word_embedding_dimension": dim, "pooling_mode_mean_tokens": False} | modes


def test_minilm_equals_sentence_transformers_alone_and_in_batches(minilm):
    found = tower(minilm)
    expected = sentence_transformer(minilm).encode(TEXTS)
    np.testing.assert_allclose(encode(found, TEXTS), expected, atol=1e-5)
    for text, vector in zip(TEXTS, expected, strict=True):
        np.testing.assert_allclose(encode(found, [text])[0], vector, atol=1e-5)


def test_minilm_is_a_tower_with_its_authors_limit(minilm):
    found = tower(minilm)
    assert isinstance(found, Tower)
    assert (found.dim, found.kind, found.max_length, found.batch_size) == (384, "text", 256, 64)
    assert found.name == f"hf:{minilm}"
    assert found.size("abc") == 3
    assert found.size("x" * 10**6) == 8 * 256


def test_minilm_finds_the_sentences_that_mean_the_same(minilm):
    queries = ["A cat sleeps on the sofa.", "How do I reset my password?", "The stock market fell sharply."]
    answers = [
        "Shares lost a lot of their value today.",
        "A kitten is napping on the couch.",
        "I forgot my login and need a new one.",
        "Bake the bread for forty minutes.",
    ]
    similar = encode(tower(minilm), queries) @ encode(tower(minilm), answers).T
    assert similar.argmax(axis=1).tolist() == [1, 2, 0]


def test_a_long_text_is_the_same_whether_it_is_cut_before_or_by_the_tokenizer(minilm):
    found = tower(minilm)
    words = " ".join(f"word{number}" for number in range(20_000))
    for text in (words, "x" * 20_000 + " tail", "語" * 20_000, " " * 20_000 + "late", "y" * 90 + " " + words):
        tokens = found.tokenizer(text, truncation=True, max_length=256)["input_ids"]
        assert found.read(text) == [tokens]


def test_many_threads_read_what_one_reads(minilm):
    found = tower(minilm)
    texts = [f"{number} shoes " * (number + 1) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(found.read, texts)) == [found.read(text) for text in texts]


def test_halves_of_characters_are_replaced_and_empty_texts_refused(minilm):
    found = tower(minilm)
    assert found.read("\ud83d\ude00 ok") == found.read("😀 ok")
    assert found.read("\ud800 ok") == found.read("� ok")
    for empty in ("", " \t\n"):
        with pytest.raises(ValueError, match="an empty text"):
            found.read(empty)
    with pytest.raises(ValueError, match="expected a text, got int"):
        found.read(3)


@pytest.mark.parametrize(
    ("modes", "name"),
    [
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt"),
        ({"pooling_mode_weightedmean_tokens": True}, "weighted_mean"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, None),
    ],
)
def test_every_pooling_equals_sentence_transformers(bert, modes, name):
    plain = encode(tower(bert, pooling=name), TEXTS) if name else None
    add_modules(bert, pooling(**modes))
    found = encode(tower(bert), TEXTS)
    np.testing.assert_allclose(found, sentence_transformer(bert).encode(TEXTS), atol=1e-5)
    if name:
        np.testing.assert_array_equal(found, plain)


def test_dense_and_normalize_layers_equal_sentence_transformers(bert):
    from safetensors.torch import save_file

    dense = {
        "in_features": 32,
        "out_features": 8,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    mean = pooling(pooling_mode_mean_tokens=True)
    add_modules(bert, mean, ("Dense", "2_Dense", dense), ("Normalize", "3_Normalize", {}))
    weights = {"linear.weight": torch.randn(8, 32), "linear.bias": torch.randn(8)}
    save_file(weights, bert / "2_Dense" / "model.safetensors")
    found = tower(bert)
    np.testing.assert_allclose(encode(found, TEXTS), sentence_transformer(bert).encode(TEXTS), atol=1e-5)
    assert found.dim == 8
    weights["linear.bias"] = torch.zeros(8)
    torch.save(weights, bert / "2_Dense" / "pytorch_model.bin")
    (bert / "2_Dense" / "model.safetensors").unlink()
    other = tower(bert)
    np.testing.assert_allclose(encode(other, TEXTS), sentence_transformer(bert).encode(TEXTS), atol=1e-5)
    assert other.fingerprint() != found.fingerprint()
    assert other.space != found.space


def test_the_length_limit_the_case_and_the_default_prompt_are_the_checkpoints(bert):
    add_modules(bert, pooling(pooling_mode_mean_tokens=True))
    (bert / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 9, "do_lower_case": True}))
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "query"}
    (bert / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    reference = sentence_transformer(bert)
    np.testing.assert_allclose(encode(tower(bert), TEXTS), reference.encode(TEXTS), atol=1e-5)
    passages = reference.encode(TEXTS, prompt_name="passage")
    np.testing.assert_allclose(encode(tower(bert, prompt="passage"), TEXTS), passages, atol=1e-5)
    np.testing.assert_allclose(encode(tower(bert, prefix="passage: "), TEXTS), passages, atol=1e-5)
    assert tower(bert).max_length == 9
    assert tower(bert, max_length=7).max_length == 7
    with pytest.raises(ConfigError, match=r"unknown prompt 'passages': did you mean 'passage'"):
        tower(bert, prompt="passages")


def test_a_prompt_can_be_left_out_of_the_pooling(bert):
    add_modules(bert, pooling(pooling_mode_mean_tokens=True, include_prompt=False))
    expected = sentence_transformer(bert).encode(TEXTS, prompt="find this: ")
    np.testing.assert_allclose(encode(tower(bert, prefix="find this: "), TEXTS), expected, atol=1e-5)


def test_the_transformer_may_lie_in_a_folder_of_its_own(bert, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(bert, old / "0_Transformer")
    add_modules(old, pooling(pooling_mode_cls_token=True))
    modules = json.loads((old / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (old / "modules.json").write_text(json.dumps(modules))
    (old / "0_Transformer" / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    np.testing.assert_allclose(encode(tower(old), TEXTS), sentence_transformer(old).encode(TEXTS), atol=1e-5)


def test_a_decoder_without_a_padding_token_is_pooled_at_its_last_token(minilm, tmp_path):
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    model = GPT2Model(GPT2Config(vocab_size=30522, n_positions=24, n_embd=32, n_layer=2, n_head=4)).eval()
    tokenizer = bert_tokenizer(minilm)
    tokenizer.pad_token = None
    found = tower(save_hf(tmp_path, model, tokenizer), pooling="last")
    with torch.no_grad():
        rows = [model(torch.tensor(found.read(text))).last_hidden_state[0, -1] for text in TEXTS]
    np.testing.assert_allclose(encode(found, TEXTS), torch.stack(rows).numpy(), atol=1e-5)


def test_an_unknown_module_is_refused(bert):
    add_modules(bert, ("Danse", "1_Danse", {}))
    with pytest.raises(ConfigError, match=r"unknown module of sentence-transformers 'Danse': did you mean 'Dense'"):
        tower(bert)


def test_without_files_of_sentence_transformers_the_tokens_are_averaged(bert, minilm):
    from transformers import BertModel

    tokens = bert_tokenizer(minilm)(TEXTS[:4], padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        states = BertModel.from_pretrained(bert).eval()(**tokens).last_hidden_state
    rows = [state[mask.bool()].mean(dim=0) for state, mask in zip(states, tokens.attention_mask, strict=True)]
    np.testing.assert_allclose(encode(tower(bert), TEXTS[:4]), torch.stack(rows).numpy(), atol=1e-6)
    units = encode(tower(bert, normalize=True), TEXTS)
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1, rtol=1e-5)


def test_windows_without_overlap_are_the_mean_over_all_windows_by_tokens(bert):
    found = tower(bert, windows=True, max_length=10)
    long = " ".join(["red blue green stone"] * 8)
    windows = found.read(long)
    assert [len(window) for window in windows] == [10, 10, 10, 10]
    ids = [token for window in windows for token in window[1:-1]]
    assert ids == found.tokenizer(long, add_special_tokens=False)["input_ids"]
    parts = np.concatenate([found.forward([[window]]) for window in windows])
    weights = np.array([len(window) - 2 for window in windows], float)
    expected = (parts * weights[:, None]).sum(axis=0) / weights.sum()
    together = encode(found, ["short", long, "words"])
    np.testing.assert_allclose(together[1], expected, atol=1e-5)
    np.testing.assert_allclose(together[[0, 2]], encode(tower(bert), ["short", "words"]), atol=1e-5)


def test_windows_overlap_by_option(bert):
    found = tower(bert, windows=True, max_length=10, overlap=3)
    windows = found.read(" ".join(["red blue green stone"] * 8))
    assert all(after[1:4] == before[-4:-1] for before, after in pairwise(windows))
    with pytest.raises(ConfigError, match="expected an overlap of at most 7 tokens, got 8"):
        tower(bert, windows=True, max_length=10, overlap=8)


def test_weights_saved_in_16_bits_are_used_in_32(minilm, tmp_path):
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(**TINY_TEXT)).to(torch.bfloat16)
    found = tower(save_hf(tmp_path / "half", model, bert_tokenizer(minilm)))
    same = tower(save_hf(tmp_path / "full", model.float(), bert_tokenizer(minilm)))
    assert {parameter.dtype for parameter in found.loaded.model.parameters()} == {torch.float32}
    np.testing.assert_array_equal(encode(found, TEXTS), encode(same, TEXTS))
    assert found.fingerprint() == same.fingerprint()


def test_roberta_counts_its_positions_behind_the_padding(minilm, tmp_path):
    from transformers import RobertaConfig, RobertaModel

    model = RobertaModel(RobertaConfig(**(TINY_TEXT | {"pad_token_id": 0})))
    found = tower(save_hf(tmp_path, model, bert_tokenizer(minilm, length=10**30)))
    assert found.max_length == 23
    assert np.isfinite(encode(found, ["word " * 100])).all()


def test_the_encoder_of_a_t5_stands_alone(minilm, tmp_path):
    from transformers import T5Config, T5EncoderModel

    sizes = {"vocab_size": 30522, "d_model": 32, "d_ff": 37, "d_kv": 8, "num_layers": 2, "num_heads": 4}
    model = T5EncoderModel(T5Config(**sizes)).eval()
    found = tower(save_hf(tmp_path, model, bert_tokenizer(minilm)), pooling="cls")
    tokens = bert_tokenizer(minilm)(["a red shoe"], return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        expected = model(**tokens).last_hidden_state[:, 0]
    np.testing.assert_allclose(encode(found, ["a red shoe"]), expected.numpy(), atol=1e-6)
    assert tower(tmp_path).fingerprint() == tower(tmp_path).fingerprint()


@pytest.mark.parametrize("save", [save_clip, save_siglip])
def test_text_features_of_joint_models_are_theirs(save, minilm, tmp_path):
    from transformers import AutoModel

    folder = save(tmp_path, minilm)
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), bert_tokenizer(minilm)
    padding = {"padding": "max_length", "max_length": 24} if save is save_siglip else {"padding": True}
    tokens = tokenizer(TEXTS, truncation=True, return_tensors="pt", **padding)
    inputs = {"input_ids": tokens.input_ids}
    if save is save_clip:
        inputs["attention_mask"] = tokens.attention_mask
    with torch.no_grad():
        expected = model.get_text_features(**inputs).pooler_output
    found = tower(folder)
    expected = torch.nn.functional.normalize(expected, dim=1).numpy()
    np.testing.assert_allclose(encode(found, TEXTS), expected, atol=1e-6)
    for text, vector in zip(TEXTS, expected, strict=True):
        np.testing.assert_allclose(encode(found, [text])[0], vector, atol=1e-6)
    image = get_tower(f"hf:{folder}", "image", device="cpu")
    assert image.space == found.space
    assert image.dim == found.dim
    assert image.loaded.model is found.loaded.model


def test_joint_models_read_long_texts_in_windows(minilm, tmp_path):
    folder = save_clip(tmp_path, minilm)
    found, raw = tower(folder, windows=True), tower(folder, normalize=False)
    windows = found.read("red blue green stone " * 10)
    weights = np.array([len(window) - 2 for window in windows], float)
    assert weights.tolist() == [22, 18]
    parts = np.concatenate([raw.forward([[window]]) for window in windows])
    expected = (parts * weights[:, None]).sum(axis=0)
    np.testing.assert_allclose(found.forward([windows])[0], expected / np.linalg.norm(expected), atol=1e-6)
    with pytest.raises(ConfigError, match="expected neither pooling nor prompt"):
        tower(folder, pooling="cls")


def test_siglip_lowers_texts_as_its_authors_did(minilm, tmp_path):
    folder = save_siglip(tmp_path, minilm)
    found = tower(folder)
    found.tokenizer.backend_tokenizer.normalizer.lowercase = False
    assert found.read("RED Shoe") == found.read("red shoe")


def test_equal_folders_have_equal_fingerprints_and_others_do_not(bert, minilm, tmp_path):
    copy = shutil.copytree(bert, tmp_path / "copy")
    other = save_bert(tmp_path / "other", minilm, layer_norm_eps=1e-3)
    prints = [tower(folder).fingerprint() for folder in (bert, copy, other)]
    assert prints[0] == prints[1] != prints[2]
    changed = [{"prefix": "a "}, {"pooling": "cls"}, {"max_length": 5}, {"windows": True}, {"normalize": True}]
    varied = [tower(bert, **options).fingerprint() for options in changed]
    assert len({prints[0], *varied}) == 6
    found = tower(bert, batch_size=3)
    encode(found, TEXTS)
    assert found.fingerprint() == prints[0]


def test_the_name_holds_what_changes_the_vectors(bert):
    found = tower(bert, prefix="query: ", windows=True, batch_size=3)
    assert found.name == f"hf:{bert}(prefix=query: , windows=True)"


def test_options_with_typing_errors_are_refused(bert):
    with pytest.raises(ConfigError, match="did you mean 'windows'"):
        tower(bert, window=True)
    with pytest.raises(ConfigError, match=r"unknown pooling 'means': did you mean 'mean'"):
        tower(bert, pooling="means")


def test_missing_weights_are_refused(bert):
    from safetensors.torch import load_file, save_file

    state = load_file(bert / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, bert / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"missing 1, .* random: encoder\.layer\.1\.output\.dense\.weight"):
        tower(bert)
    (bert / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="without them the model would be random"):
        tower(bert)
