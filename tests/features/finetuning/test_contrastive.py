from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from graphrec.features.finetuning.contrastive import ContrastiveConfig, ContrastiveTrainer, DualEncoder, best_epoch
from graphrec.features.finetuning.pairs import Pairs, PairSplit, split_pairs

DIM = 8


class Toy:
    """Two linear encoders of vectors, whose pairs are turned copies of one another."""

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        self.module = nn.ModuleList([nn.Sequential(nn.Linear(DIM, DIM, bias=False), nn.Dropout(0.5)) for _ in range(2)])
        self.seen = []

    def read(self, side, value):
        self.seen.append((side, value))
        return torch.tensor(TABLES[side][int(value)], dtype=torch.float32)

    def embed(self, side, inputs):
        return F.normalize(self.module[side](torch.stack(list(inputs))), dim=-1)

    def loss(self, first, second):
        logits, target = 10 * first @ second.T, torch.arange(len(first))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    def clamp(self):
        pass


def tables(rows=300):
    draw = np.random.default_rng(0)
    first = draw.normal(size=(rows, DIM))
    return first, first @ np.linalg.qr(draw.normal(size=(DIM, DIM)))[0] + 0.1 * draw.normal(size=(rows, DIM))


TABLES = tables()
CONFIG = ContrastiveConfig(epochs=4, batch_size=32, learning_rate=0.02, weight_decay=0.0, device="cpu")


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


def trainer(pool, config=CONFIG, dual=None):
    values = [str(row) for row in range(len(TABLES[0]))]
    return ContrastiveTrainer(dual or Toy(), Pairs(list(values), values, list(values)), config, pool)


def parts_of(run):
    return split_pairs(run.labels, valid=0.1, held_out=0.2, seed=0)


def test_the_toy_keeps_the_protocol():
    encoder: DualEncoder = Toy()
    assert encoder.embed(0, [encoder.read(0, 1)]).shape == (1, DIM)


def test_what_belongs_together_is_found_after_training(pool):
    run = trainer(pool)
    parts = parts_of(run)
    before = [found.mean() for found in run.ranks(parts.held_out)]
    curve = run.train(parts)
    after = [found.mean() for found in run.ranks(parts.held_out)]
    assert all(late < early / 3 for early, late in zip(before, after, strict=True))
    assert [entry.epoch for entry in curve] == [0, 1, 2, 3, 4]
    assert curve[-1].loss < curve[1].loss
    assert curve[0].loss is None


def test_training_equals_a_loop_by_hand(pool):
    """AdamW by its formula, on the batches that the trainer draws, with the schedule written out."""
    config = CONFIG.model_copy(update={"epochs": 1, "clip_gradient": 0.05, "weight_decay": 0.3, "warmup": 0.5})
    run, own = trainer(pool, config), Toy()
    parts, batches = parts_of(run), []
    run.dual.embed = lambda side, inputs: (batches.append((side, list(inputs))), Toy.embed(run.dual, side, inputs))[1]
    run.train(parts)
    steps = len(parts.train) // 32
    seen = [inputs for _, inputs in batches if len(inputs) == 32 and inputs[0].shape == (DIM,)]
    drawn = list(zip(seen[::2], seen[1::2], strict=True))[:steps]
    own.module.eval()
    weights = list(own.module.parameters())
    mean, square = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    rising = round(0.5 * steps)
    for step, (first, second) in enumerate(drawn):
        gradients = torch.autograd.grad(own.loss(own.embed(0, first), own.embed(1, second)), weights)
        norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
        falling = 0.5 * (1 + np.cos(np.pi * (step - rising) / (steps - rising)))
        rate = 0.02 * ((step + 1) / rising if step < rising else falling)
        for k, weight in enumerate(weights):
            gradient = gradients[k] * min(1.0, 0.05 / (float(norm) + 1e-6))
            mean[k] = 0.9 * mean[k] + 0.1 * gradient
            square[k] = 0.98 * square[k] + 0.02 * gradient**2
            ratio = mean[k] / (1 - 0.9 ** (step + 1)) / ((square[k] / (1 - 0.98 ** (step + 1))).sqrt() + 1e-6)
            weight.data = weight.data * (1 - rate * 0.3) - rate * ratio
    for mine, theirs in zip(weights, run.dual.module.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 5, 16, 31])
def test_chunks_have_the_gradient_of_the_whole_batch(pool, chunk):
    gradients = []
    for size in (None, chunk):
        run = trainer(pool, CONFIG.model_copy(update={"chunk_size": size}))
        inputs = [[run.dual.read(side, row) for row in range(32)] for side in (0, 1)]
        loss = run.step(*inputs)
        gradients.append([loss, *(weight.grad for weight in run.dual.module.parameters())])
    for whole, chunked in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, chunked, rtol=1e-5, atol=1e-6)


def test_a_frozen_side_does_not_move_in_chunks_either(pool):
    dual = Toy()
    dual.module[0].requires_grad_(False)
    before = [weight.clone() for weight in dual.module.parameters()]
    run = trainer(pool, CONFIG.model_copy(update={"chunk_size": 8, "epochs": 1}), dual)
    run.train(parts_of(run))
    first, second = dual.module.parameters()
    assert torch.equal(first, before[0])
    assert not torch.equal(second, before[1])


def test_held_out_items_are_never_looked_at_in_training(pool):
    run = trainer(pool)
    parts = parts_of(run)
    run.dual.seen.clear()
    run.train(parts)
    seen = {int(value) for _, value in run.dual.seen}
    assert seen.isdisjoint(parts.held_out.tolist())
    assert seen == {*parts.train.tolist(), *parts.valid.tolist()}


def test_the_same_seed_gives_the_same_weights_and_another_does_not(pool):
    weights = []
    for seed in (0, 0, 1):
        run = trainer(pool, CONFIG.model_copy(update={"seed": seed}))
        run.train(parts_of(run))
        weights.append(torch.cat([weight.flatten() for weight in run.dual.module.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_best_epoch_is_kept_and_patience_ends_it(pool):
    run = trainer(pool, CONFIG.model_copy(update={"epochs": 30, "patience": 2, "warmup": 0.0}))
    parts, scores, states = parts_of(run), iter([0.1, 0.3, 0.2, 0.2, 0.9]), []

    def score(rows):
        states.append([weight.clone() for weight in run.dual.module.parameters()])
        return next(scores)

    run._score = score
    curve = run.train(parts)
    assert [entry.score for entry in curve] == [0.1, 0.3, 0.2, 0.2]
    assert best_epoch(curve) == 1
    for kept, best, last in zip(run.dual.module.parameters(), states[1], states[3], strict=True):
        assert torch.equal(kept, best)
        assert not torch.equal(kept, last)


def test_where_nothing_is_better_the_encoder_is_left_as_it_was(pool):
    run = trainer(pool)
    before = [weight.clone() for weight in run.dual.module.parameters()]
    run._score = lambda rows: 0.5
    curve = run.train(parts_of(run))
    assert best_epoch(curve) == 0
    assert all(torch.equal(*pair) for pair in zip(before, run.dual.module.parameters(), strict=True))


def test_bfloat16_products_learn_too(pool):
    run = trainer(pool, CONFIG.model_copy(update={"precision": "bf16"}))
    curve = run.train(parts_of(run))
    assert curve[-1].score > 2 * curve[0].score
    assert next(run.dual.module.parameters()).dtype == torch.float32


def test_too_few_items_nothing_to_train_and_a_loss_that_is_not_finite_are_clear_errors(pool):
    run = trainer(pool)
    with pytest.raises(ValueError, match="at least batch_size=32 items to train on, got 3"):
        run.train(PairSplit(np.arange(3), np.arange(3, 6), np.arange(6, 9)))
    run.dual.loss = lambda first, second: (first * np.nan).sum()
    with pytest.raises(FloatingPointError, match="finite loss, got nan in epoch 1"):
        run.train(parts_of(run))
    run.dual.module.requires_grad_(False)
    with pytest.raises(ValueError, match="both towers are locked"):
        run.train(parts_of(run))
