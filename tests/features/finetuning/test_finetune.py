import json
import logging

import numpy as np
import pytest
import torch

from graphrec.config import ConfigError
from graphrec.data import Catalog, Ids
from graphrec.features.finetuning import finetune as module
from graphrec.features.finetuning.contrastive import ContrastiveTrainer
from graphrec.features.finetuning.finetune import FinetuneConfig, finetune
from graphrec.features.finetuning.retrieval import retrieval
from graphrec.features.towers.checkpoint import get_tower
from tests.features.finetuning.tiny import caption_pairs, text_pairs, tiny_bert, tiny_clip

CONFIG = FinetuneConfig(
    epochs=5, batch_size=32, learning_rate=3e-3, valid=0.15, held_out=0.25, patience=None, device="cpu", workers=1
)
ONCE = CONFIG.model_copy(update={"epochs": 1})


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip") / "base")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert") / "base")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return caption_pairs(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def adapted(base, pairs, tmp_path_factory):
    return finetune(base, pairs, tmp_path_factory.mktemp("adapted") / "clip", CONFIG)


def state_of(spec, kind="text"):
    return get_tower(spec, kind, options={}, device="cpu", precision="fp32").loaded.model.state_dict()


def vectors(spec, kind, values):
    tower = get_tower(spec, kind, options={}, device="cpu", precision="fp32")
    return tower.forward([tower.read(value) for value in values])


def changed(before, after):
    """Returns the names of the weights that differ."""
    assert before.keys() == after.keys()
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


def test_held_out_items_are_found_better_in_both_directions(adapted):
    assert adapted.improved
    assert adapted.best_epoch > 0
    for way in ("forward", "backward"):
        assert adapted.after[way]["recall@5"] > adapted.before[way]["recall@5"] + 0.4
        assert adapted.change[way]["p_value"] < 1e-3
    assert sum(adapted.counts.values()) == 288


def test_the_folder_says_how_it_came_about(adapted, base):
    report = json.loads((adapted.out / "finetune.json").read_text())
    assert report["spec"] == base
    assert report["base_weights"] == get_tower(base, "image", options={}, device="cpu", precision="fp32").loaded.weights
    assert report["loss"] == "ClipLoss"
    assert report["settings"]["learning_rate"] == 3e-3
    assert report["before"] == adapted.before
    assert [entry["epoch"] for entry in report["curve"]] == list(range(6))
    assert report["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]


def test_the_written_checkpoint_encodes_through_the_ordinary_path(adapted, pairs):
    """The measure after is what anyone gets who encodes the held-out items with the folder."""
    rows = held_out_rows(pairs)
    pictures, words = [pairs[row][0] for row in rows], [pairs[row][1] for row in rows]
    same = [np.unique([str(value) for value in side], return_inverse=True)[1] for side in (pictures, words)]
    found = retrieval(vectors(adapted.spec, "image", pictures), vectors(adapted.spec, "text", words), same=same)
    assert found["forward"] == pytest.approx(adapted.after["forward"], abs=0.02)
    assert found["backward"] == pytest.approx(adapted.after["backward"], abs=0.02)


def held_out_rows(pairs):
    from graphrec.features.finetuning.pairs import Pairs, split_pairs

    found = Pairs.gather(pairs, ("image", "text"))
    return split_pairs(found.labels(), valid=0.15, held_out=0.25, seed=0).held_out.tolist()


def test_held_out_items_are_in_no_batch(base, pairs, tmp_path, monkeypatch):
    seen = set()
    submit = ContrastiveTrainer._submit

    def spy(self, rows):
        seen.update(self.pairs.second[row] for row in rows)
        return submit(self, rows)

    monkeypatch.setattr(ContrastiveTrainer, "_submit", spy)
    finetune(base, pairs, tmp_path / "out", ONCE)
    assert seen
    assert seen.isdisjoint(pairs[row][1] for row in held_out_rows(pairs))


def test_the_same_seed_gives_the_same_weights_and_leaves_the_base_alone(base, pairs, tmp_path):
    before = {name: weight.clone() for name, weight in state_of(base).items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    specs = [finetune(base, pairs, tmp_path / name, ONCE).spec for name in ("one", "two")]
    assert torch.equal(torch.rand(1), expected)
    assert changed(*(state_of(spec) for spec in specs)) == set()
    assert changed(before, state_of(base)) == set()
    assert changed(before, state_of(specs[0]))


@pytest.mark.parametrize("locked", ["image", "text"])
def test_a_locked_tower_does_not_move(base, pairs, tmp_path, locked):
    result = finetune(base, pairs, tmp_path / "out", ONCE.model_copy(update={"lock": (locked,)}))
    moved = changed(state_of(base), state_of(result.spec))
    visual = {name for name in moved if name.startswith("visual.")}
    assert moved
    assert visual == (set() if locked == "image" else moved - {"logit_scale"})


def test_a_checkpoint_with_a_bias_of_its_logits_is_trained_by_siglips_loss(pairs, tmp_path):
    spec = tiny_clip(tmp_path / "base", init_logit_bias=-5.0)
    result = finetune(spec, pairs, tmp_path / "out", CONFIG.model_copy(update={"epochs": 6}))
    assert json.loads((result.out / "finetune.json").read_text())["loss"] == "SigLipLoss"
    assert result.improved
    assert "logit_bias" in changed(state_of(spec), state_of(result.spec))


def test_adapters_alone_are_trained_and_the_merged_folder_gives_their_vectors(bert, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    texts = [text for pair in text_pairs()[:20] for text in pair]
    found, before = {}, {name: weight.clone() for name, weight in state_of(bert).items()}
    merge = module.TowerPair.merge

    def spy(pair):
        state = pair.module.state_dict()
        found["frozen"] = {name.replace(".base_layer", ""): weight.clone() for name, weight in state.items()}
        found["trained"] = {name for name, weight in pair.module.named_parameters() if weight.requires_grad}
        with torch.no_grad():
            found["vectors"] = pair.towers[0].encode_batch([pair.read(0, text) for text in texts]).numpy()
        merge(pair)

    monkeypatch.setattr(module.TowerPair, "merge", spy)
    config = CONFIG.model_copy(update={"lora_rank": 4, "learning_rate": 3e-2, "epochs": 6})
    result = finetune(bert, text_pairs(), tmp_path / "out", config, kinds=("text", "text"))
    assert result.improved
    assert {name.split(".")[-3] for name in found["trained"]} == {"lora_A", "lora_B"}
    assert all(torch.equal(found["frozen"][name], weight) for name, weight in before.items())
    np.testing.assert_allclose(vectors(result.spec, "text", texts), found["vectors"], atol=1e-5)
    moved = {name.rpartition(".")[0].rpartition(".")[2] for name in changed(before, state_of(result.spec))}
    assert moved == {"query", "key", "value"}
    assert {"tokenizer.json", "config.json", "model.safetensors"} <= {path.name for path in result.out.iterdir()}


def test_a_text_tower_learns_whole_too(bert, tmp_path):
    config = CONFIG.model_copy(update={"epochs": 3})
    result = finetune(bert, text_pairs(), tmp_path / "out", config, kinds=("text", "text"))
    assert result.improved


def test_where_nothing_helps_the_checkpoint_is_written_as_it_was(base, pairs, tmp_path, caplog):
    config = ONCE.model_copy(update={"learning_rate": 1e-12})
    with caplog.at_level(logging.WARNING):
        result = finetune(base, pairs, tmp_path / "out", config)
    assert (result.best_epoch, result.improved) == (0, False)
    assert result.after == result.before
    assert changed(state_of(base), state_of(result.spec)) == set()
    assert "as it was given" in caplog.text


def test_a_catalogue_is_taken_by_its_columns_and_broken_pictures_are_named(base, pairs, tmp_path, caplog):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    pictures = {f"item {row}": picture for row, (picture, _) in enumerate(pairs)}
    words = {f"item {row}": text for row, (_, text) in enumerate(pairs)}
    pictures |= {"item 3": tmp_path / "broken.png", "item 5": tmp_path / "gone.png"}
    del words["item 7"]
    catalog = Catalog.from_columns(Ids(list(pictures), name="item"), {"image": pictures, "title": words})
    with caplog.at_level(logging.WARNING):
        result = finetune(base, catalog, tmp_path / "out", ONCE, columns=("image", "title"))
    assert set(result.left_out) == {"item 3", "item 5"}
    assert "no such file" in result.left_out["item 5"]
    assert sum(result.counts.values()) == len(pairs) - 3
    assert "2 of 287 pairs" in caplog.text
    assert "item 3" in caplog.text


def test_an_existing_folder_is_kept_unless_it_may_be_overwritten(base, pairs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite"):
        finetune(base, pairs, out, ONCE)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    finetune(base, pairs, out, ONCE, overwrite=True)
    assert not (out / "mine.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_nothing_behind(base, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "save_pair", lambda pair, folder: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        finetune(base, pairs, tmp_path / "out", ONCE)
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_a_clear_error(base, bert, pairs, tmp_path):
    def refused(error, reason, *arguments, **options):
        with pytest.raises(error, match=reason):
            finetune(*arguments[:2], tmp_path / "out", *arguments[2:], **options)

    refused(ValueError, "got no item", base, [])
    refused(ValueError, "at least 2 items", base, pairs[:4], ONCE)
    refused(ValueError, "0 items", base, [(tmp_path / "gone.png", "a picture")] * 9, ONCE)
    refused(ValueError, "batch_size=500", base, pairs, ONCE.model_copy(update={"batch_size": 500}))
    refused(ConfigError, "lock one of the two", base, pairs, ONCE.model_copy(update={"lock": ("image", "text")}))
    refused(ConfigError, "lock one of the two", base, pairs, ONCE.model_copy(update={"lock": ("audio",)}))
    refused(ConfigError, "model of transformers for LoRA", base, pairs, ONCE.model_copy(update={"lora_rank": 4}))
    layers = ONCE.model_copy(update={"lora_rank": 4, "lora_targets": ("nothing",)})
    refused(ConfigError, "set lora_targets", bert, text_pairs(), layers, kinds=("text", "text"))
    refused(ConfigError, "bert", bert, pairs, ONCE)
    refused(ConfigError, "did you mean 'epochs'", base, pairs, {"epoch": 3})
    refused(ConfigError, "expected lock or lora_rank, got both", base, pairs, {"lock": ["image"], "lora_rank": 2})
    refused(ConfigError, "expected lora_rank with", base, pairs, {"lora_alpha": 2})
    assert list(tmp_path.iterdir()) == []
