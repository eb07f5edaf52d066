"""The trainer against a hand-written loop, and everything it promises about epochs, stops and resumes."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from graphrec.config import ConfigError
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Split
from graphrec.data.interactions import Ids, Interactions
from graphrec.graph.build import build_graph
from graphrec.models.freedom import FREEDOM, FREEDOMConfig
from graphrec.models.lightgcn import LightGCN, LightGCNConfig
from graphrec.models.mf import MF, MFConfig
from graphrec.runtime import generator
from graphrec.training import checkpoint, trainer
from graphrec.training.sampling import PairLoader
from graphrec.training.trainer import Trainer, TrainingConfig

USERS, ITEMS, DIM = 40, 30, 8


@pytest.fixture
def data() -> Dataset:
    rng = np.random.default_rng(0)
    users, items = Ids(range(USERS), name="user"), Ids(range(ITEMS), name="item")
    cells = rng.choice(USERS * ITEMS, size=300, replace=False)
    parts = [
        Interactions(user=cells[part] // ITEMS, item=cells[part] % ITEMS, users=users, items=items)
        for part in (slice(0, 240), slice(240, 270), slice(270, 300))
    ]
    neighbors = torch.eye(ITEMS).roll(1, dims=0) + torch.eye(ITEMS).roll(2, dims=0)
    return Dataset(
        "toy",
        Split(parts[0], parts[1]),
        parts[2],
        Catalog.empty(items),
        Catalog.empty(users),
        neighbors={"text": sp.csr_array(neighbors.numpy())},
    )


def make(cls, config, data, seed=0):
    torch.manual_seed(seed)
    return cls(build_graph(data, features={}), config)


def mf(data, seed=0):
    return make(MF, MFConfig(embedding_dim=DIM), data, seed)


def lightgcn(data, seed=0):
    return make(LightGCN, LightGCNConfig(embedding_dim=DIM), data, seed)


def freedom(data, seed=0):
    return make(FREEDOM, FREEDOMConfig(embedding_dim=DIM, weights={"text": 1.0}, edge_keep=0.5), data, seed)


def hand_loop(model, split, epochs, *, batch_size, negatives=1, accumulate=1, clip=None, factor=None, seed=0):
    """Trains as a reader of the paper would write it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    loader = PairLoader(split.train, batch_size=batch_size, negatives=negatives)
    step = 0
    for epoch in range(epochs):
        model.refresh(epoch)
        batches = list(loader.epoch(generator(seed, epoch)))
        for start in range(0, len(batches), accumulate):
            optimizer.zero_grad()
            for batch in batches[start : start + accumulate]:
                (sum(model(batch).values()) / accumulate).backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            if factor is not None:
                optimizer.param_groups[0]["lr"] = 0.01 * factor(step)
            optimizer.step()
            step += 1


def assert_same_weights(first, second, **tolerance):
    for (name, left), (_, right) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        torch.testing.assert_close(left, right, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def without_valid(split: Split) -> Split:
    return Split(split.train, split.valid.take(np.zeros(0, np.int64)))


@pytest.mark.parametrize("make_model", [mf, lightgcn, freedom])
@pytest.mark.parametrize("negatives", [1, 3])
def test_weights_equal_a_hand_written_loop(data, make_model, negatives):
    ours, theirs = make_model(data), make_model(data)
    config = TrainingConfig(max_epochs=3, batch_size=64, learning_rate=0.01, negatives=negatives, device="cpu")
    Trainer(config).fit(ours, without_valid(data.split))
    hand_loop(theirs, data.split, 3, batch_size=64, negatives=negatives)
    assert_same_weights(ours, theirs, rtol=1e-5, atol=1e-7)
    assert not torch.equal(ours.user_embedding, make_model(data).user_embedding)


def test_accumulation_clipping_and_schedule_equal_a_hand_written_loop(data):
    ours, theirs = lightgcn(data), lightgcn(data)
    schedule = {"name": "cosine", "warmup_epochs": 1}
    config = TrainingConfig(
        max_epochs=4,
        batch_size=50,
        learning_rate=0.01,
        accumulate=2,
        clip_norm=0.01,
        schedule=schedule,
        device="cpu",
    )
    Trainer(config).fit(ours, without_valid(data.split))
    steps = 3  # 240 pairs in batches of 50, two at a time

    def factor(step):
        epoch = (step + 1) / steps
        return epoch if epoch < 1 else 0.5 * (1 + math.cos(math.pi * min((epoch - 1) / 3, 1)))

    hand_loop(theirs, data.split, 4, batch_size=50, accumulate=2, clip=0.01, factor=factor)
    assert_same_weights(ours, theirs, rtol=1e-4, atol=1e-7)


def test_same_seed_gives_the_same_weights_and_another_seed_does_not(data):
    config = TrainingConfig(max_epochs=2, batch_size=64, device="cpu")
    models = [freedom(data) for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        Trainer(config, seed=seed).fit(model, data.split)
    assert_same_weights(models[0], models[1], rtol=0, atol=0)
    assert not torch.equal(models[0].item_embedding, models[2].item_embedding)


def scripted(monkeypatch, values):
    """Replaces validation by a script, and records the weights it saw."""
    seen, script = [], iter(values)

    def validate(model, split, metric):
        seen.append(copy.deepcopy(model.state_dict()))
        return next(script)

    monkeypatch.setattr(trainer, "validate", validate)
    return seen


def test_stops_after_patience_evaluations_and_restores_the_best_epoch(data, monkeypatch):
    seen = scripted(monkeypatch, [0.1, 0.3, 0.3, 0.2, 0.9])
    model = mf(data)
    config = TrainingConfig(max_epochs=100, patience=2, evaluate_every=2, batch_size=64, device="cpu")
    result = Trainer(config).fit(model, data.split)
    assert (result.best_epoch, result.best_value, result.epochs) == (4, 0.3, 8)
    assert len(seen) == 4
    torch.testing.assert_close(model.state_dict(), seen[1], rtol=0, atol=0)


def test_without_validation_it_trains_to_the_end_and_keeps_the_last_weights(data):
    model = mf(data)
    result = Trainer(TrainingConfig(max_epochs=3, device="cpu")).fit(model, without_valid(data.split))
    assert result.best_epoch == result.epochs == 3
    assert math.isnan(result.best_value)


def test_the_last_epoch_is_evaluated_even_if_it_is_not_due(data):
    result = Trainer(TrainingConfig(max_epochs=3, evaluate_every=10, device="cpu")).fit(mf(data), data.split)
    assert result.best_epoch == 3
    assert result.best_value >= 0


@pytest.mark.parametrize("make_model", [mf, freedom])
@pytest.mark.parametrize("schedule", [{"name": "constant"}, {"name": "decay", "gamma": 0.5, "decay_epochs": 2}])
def test_resume_continues_bit_for_bit(data, tmp_path, make_model, schedule):
    def config(epochs):
        return TrainingConfig(max_epochs=epochs, batch_size=64, schedule=schedule, device="cpu")

    whole = make_model(data)
    expected = Trainer(config(6)).fit(whole, data.split)
    first = make_model(data)
    Trainer(config(3), folder=tmp_path).fit(first, data.split)
    second = make_model(data, seed=99)
    torch.manual_seed(1234)
    result = Trainer(config(6), folder=tmp_path).fit(second, data.split, resume=True)
    assert_same_weights(whole, second, rtol=0, atol=0)
    assert (result.best_epoch, result.best_value) == (expected.best_epoch, expected.best_value)
    drop = [{key: value for key, value in row.items() if key != "seconds"} for row in result.history]
    assert drop == [{key: value for key, value in row.items() if key != "seconds"} for row in expected.history]


def test_resume_keeps_the_early_stop_state(data, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.3, 0.2])
    config = TrainingConfig(max_epochs=2, patience=3, device="cpu")
    Trainer(config, folder=tmp_path).fit(mf(data), data.split)
    scripted(monkeypatch, [0.1, 0.1, 0.9])
    result = Trainer(config.model_copy(update={"max_epochs": 50}), folder=tmp_path).fit(
        mf(data), data.split, resume=True
    )
    assert (result.best_epoch, result.epochs) == (1, 4)


def test_resume_restores_the_global_generators(data, tmp_path):
    config = TrainingConfig(max_epochs=1, device="cpu")
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    Trainer(config, folder=tmp_path).fit(mf(data), data.split)
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    Trainer(config, folder=tmp_path).fit(mf(data, seed=1), data.split, resume=True)
    torch.testing.assert_close(torch.rand(3), expected[0], rtol=0, atol=0)
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_a_checkpoint_of_another_data_set_is_refused(data, tmp_path):
    config = TrainingConfig(max_epochs=1, device="cpu")
    Trainer(config, folder=tmp_path, identity={"data": "abc"}).fit(mf(data), data.split)
    with pytest.raises(checkpoint.CheckpointError, match="written with data 'abc', this run has 'xyz'"):
        Trainer(config, folder=tmp_path, identity={"data": "xyz"}).fit(mf(data), data.split, resume=True)


def test_another_thread_count_is_reported(data, tmp_path, caplog):
    config = TrainingConfig(max_epochs=1, device="cpu")
    Trainer(config, folder=tmp_path).fit(mf(data), data.split)
    path = checkpoint.latest(tmp_path) / checkpoint.STATE
    path.write_text(path.read_text().replace(f'"threads": {torch.get_num_threads()}', '"threads": 63'))
    Trainer(config, folder=tmp_path).fit(mf(data), data.split, resume=True)
    assert "written with 63 threads" in caplog.text


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("auto", ("auto", 1)),
        ("cpu", ("cpu", 1)),
        ("cpu:0", ("cpu", 1)),
        ("cuda", ("cuda", 1)),
        ("cuda:1", ("cuda", [1])),
    ],
)
def test_the_device_that_is_named_is_the_one_used(device, expected):
    assert trainer._accelerator(TrainingConfig(device=device)) == expected


def test_one_named_device_cannot_be_several():
    with pytest.raises(ConfigError, match=r"training\.devices: expected 1 with device='cuda:1', got 2"):
        trainer._accelerator(TrainingConfig(device="cuda:1", devices=2))


class Exploding(MF):
    """Its loss becomes NaN in a batch of choice."""

    def forward(self, batch):
        self.calls = getattr(self, "calls", 0) + 1
        terms = super().forward(batch)
        return terms | {"extra": terms["l2"] * (float("nan") if self.calls == 6 else 1.0)}


def test_a_non_finite_loss_names_the_term_and_the_batch_and_leaves_the_checkpoint(data, tmp_path):
    model = make(Exploding, MFConfig(embedding_dim=DIM), data)
    config = TrainingConfig(max_epochs=5, batch_size=60, device="cpu")  # four batches an epoch
    with pytest.raises(FloatingPointError, match="'extra' became nan in batch 2 of epoch 2"):
        Trainer(config, folder=tmp_path).fit(model, data.split)
    tensors, state = checkpoint.read(checkpoint.latest(tmp_path))
    assert state["epoch"] == 1
    assert all(torch.isfinite(value).all() for key, value in tensors.items() if key.startswith("model/"))


def test_shared_negatives_train(data):
    model = mf(data)
    before = model.user_embedding.detach().clone()
    config = TrainingConfig(max_epochs=2, shared_negatives=True, negatives=8, batch_size=64, device="cpu")
    Trainer(config).fit(model, data.split)
    assert not torch.equal(before, model.user_embedding)


def test_bf16_trains_on_the_cpu_with_fp32_weights(data):
    model = freedom(data)
    config = TrainingConfig(max_epochs=2, precision="bf16-mixed", device="cpu")
    result = Trainer(config).fit(model, data.split)
    assert model.item_embedding.dtype == torch.float32
    assert all(math.isfinite(row["bpr"]) for row in result.history)


def test_training_lowers_the_loss_and_tracks_every_epoch(data):
    rows = []

    class Recorder:
        def log(self, epoch, values):
            rows.append((epoch, dict(values)))

        def close(self):
            raise AssertionError("the owner of a tracker closes it")

    config = TrainingConfig(max_epochs=20, learning_rate=0.05, device="cpu")
    Trainer(config, tracker=Recorder()).fit(lightgcn(data), data.split)
    assert [epoch for epoch, _ in rows] == list(range(1, 21))
    assert rows[-1][1]["bpr"] < 0.5 * rows[0][1]["bpr"]
    assert {"bpr", "l2", "seconds", "Recall@20"} <= rows[0][1].keys()


SCRIPT = """
import sys, torch, numpy as np
from lightning_fabric import Fabric
from graphrec.config import ConfigError
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Split
from graphrec.data.interactions import Ids, Interactions
from graphrec.graph.build import build_graph
from graphrec.models.lightgcn import LightGCN, LightGCNConfig
from graphrec.runtime import rank
from graphrec.training.trainer import Trainer, TrainingConfig

rng = np.random.default_rng(0)
users, items = Ids(range(40), name="user"), Ids(range(30), name="item")
cells = rng.choice(1200, size=301, replace=False)
parts = [Interactions(user=cells[a:b] // 30, item=cells[a:b] % 30, users=users, items=items)
         for a, b in ((0, 241), (241, 271), (271, 301))]
data = Dataset("toy", Split(parts[0], parts[1]), parts[2], Catalog.empty(items), Catalog.empty(users))
torch.manual_seed(0)
model = LightGCN(build_graph(data, features={}), LightGCNConfig(embedding_dim=8))
result = Trainer(TrainingConfig(max_epochs=3, batch_size=32, devices=2, device="cpu")).fit(model, data.split)
torch.save(model.state_dict(), f"{sys.argv[1]}/weights-{rank()}.pt")
assert len(result.history) == 3
"""


def test_two_processes_end_with_the_same_weights(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(script),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(tmp_path / f"weights-{rank}.pt", weights_only=True) for rank in (0, 1))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("make_model", [mf, lightgcn, freedom])
def test_trains_on_a_gpu(data, make_model, precision):
    model = make_model(data)
    config = TrainingConfig(max_epochs=3, precision=precision, clip_norm=1.0, device="cuda")
    result = Trainer(config).fit(model, data.split)
    assert model.user_embedding.is_cuda
    assert all(math.isfinite(row["bpr"]) for row in result.history)
