"""``graphrec encode`` and ``graphrec features`` on a small shop with a real text encoder."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from graphrec.data.drawing import Look
from tests.features.finetuning.tiny import text_pairs, tiny_bert


@pytest.fixture
def shop(tmp_path):
    """Writes a table of interactions with the items' texts and pictures, one of which is broken."""
    pictures = [Look(colour, "star", "dots", 1).save(tmp_path).name for colour in ("red", "green", "blue")]
    (tmp_path / "broken.png").write_text("no picture")
    names = [*pictures, "broken.png", None]
    rows = [(user, item, f"a lamp of kind {item}", names[item % 5]) for user in range(12) for item in range(20)]
    frame = pd.DataFrame(rows, columns=["user", "item", "text", "image"]).sample(frac=0.5, random_state=0)
    frame.to_csv(tmp_path / "shop.csv", index=False)
    return tmp_path / "shop.csv"


def test_encode_says_what_was_made_and_writes_it(call, shop, tmp_path):
    result = call("encode", shop, "text=light", "image=light", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "light-text" in result.stdout
    assert "20 of 20 items" in result.stdout
    assert "12 of 20 items" in result.stdout  # four pictures are broken, four items have none
    assert "light-image" not in call("encode", shop, "text=light").stdout
    vectors, ids = np.load(tmp_path / "out" / "image.npy"), pd.read_csv(tmp_path / "out" / "image.ids.csv")
    assert len(vectors) == len(ids) == 12
    assert set(ids["item"] % 5) == {0, 1, 2}
    unreadable = pd.read_csv(tmp_path / "out" / "image.unreadable.csv")
    assert unreadable["item"].tolist() == [3, 8, 13, 18]
    assert unreadable["reason"].str.contains("broken.png").all()
    assert "image of 13: " in result.stdout


def test_encode_with_a_tower_fills_the_store_that_features_looks_after(call, shop, tmp_path, minilm):
    store = tmp_path / "store"
    arguments = ("encode", shop, f"text=path:{minilm}", "image=light", "--store", store, "--half")
    first, again = call(*arguments), call(*arguments)
    assert (first.exit_code, again.exit_code) == (0, 0), first.output
    listed = call("features", "ls", "--store", store)
    assert "float16" in listed.stdout
    assert "│ 20 " in listed.stdout
    assert "0 problem(s)" in call("features", "verify", "--store", store).stdout
    (shard,) = store.rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-10])
    broken = call("features", "verify", "--store", store)
    assert broken.exit_code == 1
    assert shard.name in broken.stdout
    assert f"would remove {shard}" in call("features", "gc", "--dry-run", "--store", store).stdout
    assert f"removed {shard}" in call("features", "gc", "--store", store).stdout
    assert not shard.exists()


def test_encode_refuses_what_it_cannot_do_in_one_line(call, shop, tmp_path):
    for arguments, expected in (
        (("sound=light",), "unknown catalogue column 'sound'"),
        (("text.template={text}",), "expected an encoder for 'text', as in text=light"),
        (("image=open_clip:local-dir:" + str(tmp_path / "none"),), "none"),
        (("image=light", "--strict"), "broken.png"),
        (("text=path:" + str(tmp_path), "--device", "foo"), "encoding.device: expected 'auto', 'cpu' or"),
    ):
        result = call("encode", shop, *arguments)
        assert result.exit_code == 2, result.output
        assert expected in result.stderr
    bare = tmp_path / "bare.csv"
    pd.read_csv(shop)[["user", "item"]].to_csv(bare, index=False)
    assert "expected something to encode in 'bare'" in call("encode", bare).stderr


def test_a_template_is_a_text_with_or_without_quotes(call, shop, tmp_path, minilm):
    for template in ("{text}", "'{text}'", "Item: {text}"):
        result = call("encode", shop, f"text=path:{minilm}", f"text.template={template}", "--store", tmp_path / "store")
        assert result.exit_code == 0, result.output
    listed = call("features", "ls", "--store", tmp_path / "store").stdout
    assert "│ 40 " in listed  # 20 texts as they are, and 20 with the word before them


def test_of_a_file_only_what_is_named_is_encoded_and_its_device_counts(call, shop, tmp_path, minilm):
    features = {"encoders": {"image": "light"}, "user_encoders": {"age": "numeric"}, "encoding": {"device": "foo"}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"data": {"name": str(shop)}, "features": features}))
    result = call("encode", tmp_path / "run.yaml", "text=light")
    assert result.exit_code == 0, result.output  # the users have no age
    assert "light-image" not in result.stdout
    arguments = ("encode", tmp_path / "run.yaml", f"text=path:{minilm}", "--store", tmp_path / "store")
    assert "encoding.device: expected 'auto', 'cpu' or" in call(*arguments).stderr
    assert call(*arguments, "--device", "cpu").exit_code == 0


def test_half_reaches_the_encoders_of_a_file_too(call, shop, tmp_path, minilm):
    config = {"data": {"name": str(shop)}, "features": {"encoders": {"text": f"path:{minilm}"}}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    result = call("encode", tmp_path / "run.yaml", "--half", "--store", tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert "float16" in call("features", "ls", "--store", tmp_path / "store").stdout


def test_names_of_encoders_are_whole_so_that_gc_can_be_told_them(call, shop, tmp_path, minilm):
    long = tmp_path / ("a" * 150)
    long.symlink_to(minilm, target_is_directory=True)
    assert call("encode", shop, f"text=path:{long}", "--store", tmp_path / "store").exit_code == 0
    listed = call("features", "ls", "--store", tmp_path / "store").stdout
    assert listed.count("a" * 20) > 1
    assert "…" not in listed


def test_finetune_adapts_a_tower_and_shows_what_it_was_worth(call, tmp_path):
    base = tiny_bert(tmp_path / "bert")
    rows = [(user, item, *text_pairs()[item]) for user in range(6) for item in range(60) if (user + item) % 2]
    folder = tmp_path / "shop"
    folder.mkdir()
    frame = pd.DataFrame(rows, columns=["user", "item", "title", "text"])
    frame[["user", "item"]].to_csv(folder / "interactions.csv", index=False)
    frame[["item", "title", "text"]].drop_duplicates("item").to_csv(folder / "items.csv", index=False)
    options = ("--columns", "title,text", "--kinds", "text,text")
    arguments = ("finetune", folder, base, tmp_path / "out", "epochs=1", "batch_size=16", *options)
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    assert "title → text" in result.stdout
    assert "text → title" in result.stdout
    assert "held_out" in result.stdout
    assert (tmp_path / "out" / "finetune.json").is_file()
    again = call(*arguments)
    assert again.exit_code == 2
    assert "but it is there" in again.stderr
    wrong = call("finetune", folder, base, tmp_path / "other", "--columns", "title")
    assert "expected two names for --columns" in wrong.stderr


def test_settings_are_laid_over_the_encoder_of_a_file(call, shop, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(f"data: {{name: {shop}}}\nfeatures: {{encoders: {{text: light}}}}\n")
    result = call("encode", config, "text.options.ngrams=[1, 2]")
    assert result.exit_code == 0, result.output
    assert "ngrams=(1, 2)" in result.stdout
