import pytest
import torch
from torch.nn import functional as F

from graphrec.config import ConfigError
from graphrec.features.finetuning.dual import MAX_LOG_SCALE, TowerPair
from graphrec.features.towers.checkpoint import get_tower
from graphrec.features.towers.loading import forget_loaded
from tests.features.finetuning.tiny import caption_pairs, text_pairs, tiny_bert, tiny_clip
from tests.features.towers.checkpoints import save_clip


@pytest.fixture(autouse=True)
def _models_of_its_own():
    forget_loaded()
    yield
    forget_loaded()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return caption_pairs(tmp_path_factory.mktemp("pictures"))[::4]


def pair_of(spec, *kinds, **options):
    towers = (get_tower(str(spec), kind, options={}, device="cpu", precision="fp32") for kind in kinds)
    return TowerPair(*towers, **options)


def embedded(pair, pairs):
    return [pair.embed(side, [pair.read(side, row[side]) for row in pairs]) for side in (0, 1)]


def trained(pair):
    return {name for name, weight in pair.module.named_parameters() if weight.requires_grad}


def slow_clip_loss(logits):
    rows = range(len(logits))
    chances = [F.softmax(logits[row], 0)[row].log() + F.softmax(logits[:, row], 0)[row].log() for row in rows]
    return -torch.stack(chances).mean() / 2


def test_the_loss_of_a_clip_is_the_one_worked_out_by_hand_and_open_clips(pairs, tmp_path):
    from open_clip.loss import ClipLoss

    pair = pair_of(tiny_clip(tmp_path / "base"), "image", "text")
    first, second = embedded(pair, pairs[:10])
    torch.testing.assert_close(pair.loss(first, second), slow_clip_loss(first @ second.T / 0.07))
    scale = pair.module.logit_scale.exp()
    assert torch.equal(pair.loss(first, second), ClipLoss()(first, second, scale))


def test_the_loss_of_a_checkpoint_with_a_bias_is_siglips(pairs, tmp_path):
    pair = pair_of(tiny_clip(tmp_path / "base", init_logit_bias=-5.0), "image", "text")
    first, second = embedded(pair, pairs[:10])
    logits = first @ second.T / 0.07 - 5
    signs = torch.tensor([[1 if row == column else -1 for column in range(10)] for row in range(10)])
    torch.testing.assert_close(pair.loss(first, second), -F.logsigmoid(signs * logits).sum() / 10)
    assert pair.loss_name == "SigLipLoss"


def test_two_texts_have_the_scale_that_was_set(tmp_path):
    pair = pair_of(tiny_bert(tmp_path / "base"), "text", "text", scale=7.0)
    first, second = embedded(pair, text_pairs()[:8])
    torch.testing.assert_close(pair.loss(first, second), slow_clip_loss(7 * first @ second.T))


def test_vectors_are_of_unit_length_and_those_of_the_tower(pairs, tmp_path):
    pair = pair_of(tiny_clip(tmp_path / "base"), "image", "text")
    tower = pair.towers[1]
    expected = tower.forward([tower.read(text) for _, text in pairs[:5]])
    torch.testing.assert_close(embedded(pair, pairs[:5])[1].detach(), torch.from_numpy(expected))


@pytest.mark.parametrize("library", ["open_clip", "transformers"])
def test_a_lock_freezes_one_tower_and_what_no_tower_uses_is_not_trained(pairs, tmp_path, minilm, library):
    spec = tiny_clip(tmp_path / "base") if library == "open_clip" else f"path:{save_clip(tmp_path / 'base', minilm)}"
    pair = pair_of(spec, "image", "text")
    sides = {}
    for kind in ("image", "text"):
        pair.train_all((kind,), pairs[0])
        sides[kind] = trained(pair)
    visual = {name for name, _ in pair.module.named_parameters() if name.startswith("vis")}
    assert sides["image"] & sides["text"] == {"logit_scale"}
    assert sides["text"] == {*visual, "logit_scale"}
    pair.train_all((), pairs[0])
    assert trained(pair) == {name for name, _ in pair.module.named_parameters()}


def test_the_pooler_that_no_text_goes_through_is_not_trained(tmp_path):
    pair = pair_of(tiny_bert(tmp_path / "base"), "text", "text")
    pair.train_all((), text_pairs()[0])
    every = {name for name, _ in pair.module.named_parameters()}
    assert every - trained(pair) == {"pooler.dense.weight", "pooler.dense.bias"}


def test_adapters_start_as_nothing_and_go_to_both_towers(pairs, tmp_path, minilm):
    pytest.importorskip("peft")
    pair = pair_of(f"path:{save_clip(tmp_path / 'base', minilm)}", "image", "text")
    before = [vectors.detach() for vectors in embedded(pair, pairs[:5])]
    names = {name for name, _ in pair.module.named_parameters()}
    layers = pair.train_adapters(2, 4.0, None)
    assert len(layers) == 4 * 2 * 2  # four projections in two layers of two towers
    for vectors, same in zip(embedded(pair, pairs[:5]), before, strict=True):
        torch.testing.assert_close(vectors, same)
    assert len(trained(pair)) == 2 * len(layers)
    pair.merge()
    assert {name for name, _ in pair.module.named_parameters()} == names


def test_the_scale_stays_between_1_and_100(pairs, tmp_path):
    pair = pair_of(tiny_clip(tmp_path / "base"), "image", "text")
    for value, kept in ((9.0, MAX_LOG_SCALE), (-1.0, 0.0), (2.0, 2.0)):
        pair.train_all((), pairs[0])
        pair.log_scale.data.fill_(value)
        pair.clamp()
        assert pair.log_scale.item() == pytest.approx(kept)


def test_towers_of_two_checkpoints_are_refused(tmp_path):
    towers = [
        get_tower(
            tiny_clip(tmp_path / name, init_logit_scale=scale), "text", options={}, device="cpu", precision="fp32"
        )
        for name, scale in (("one", 1.0), ("two", 2.0))
    ]
    with pytest.raises(ConfigError, match="two towers of one checkpoint"):
        TowerPair(*towers)
