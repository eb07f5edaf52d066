"""Adapts a tower to a catalogue before it encodes: contrastive training on the items' own pairs, checked on others."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from graphrec.config import ConfigError
from graphrec.data.catalog import Catalog
from graphrec.features.encoder import Kind
from graphrec.features.finetuning.contrastive import (
    SIDES,
    ContrastiveConfig,
    ContrastiveTrainer,
    DualEncoder,
    Epoch,
    best_epoch,
)
from graphrec.features.finetuning.dual import TowerPair
from graphrec.features.finetuning.pairs import Pairs, PairSplit, split_pairs
from graphrec.features.finetuning.retrieval import compare_ranks, summary
from graphrec.features.finetuning.save import save_pair
from graphrec.features.towers.base import ModelTower
from graphrec.features.towers.checkpoint import get_tower
from graphrec.features.towers.loading import forget_loaded
from graphrec.runtime import derive_seed, logger

log = logger(__name__)
REPORT = "finetune.json"
PACKAGES = ("graphrec", "torch", "transformers", "open-clip-torch", "peft")
DIRECTIONS = ("forward", "backward")
Ranks = tuple[NDArray[np.int64], NDArray[np.int64]]


class FinetuneConfig(ContrastiveConfig):
    """How a checkpoint is adapted; see ``ContrastiveConfig`` for the training.

    Args:
        lock: Kinds whose tower stays as it is, such as ``("image",)``.
        lora_rank: The rank of adapters, which alone are trained, for models of transformers; none: all weights are.
        lora_alpha: The adapters are multiplied with ``lora_alpha / lora_rank``; twice the rank by default.
        lora_targets: The last parts of the names of the layers that get adapters; attention's projections by default.
        scale: What cosines are multiplied with, where the checkpoint has no scale of its own.
        options: Options of the towers by kind, such as ``{"text": {"prefix": "query: "}}``.
    """

    lock: tuple[Kind, ...] = ()
    lora_rank: int | None = Field(default=None, ge=1)
    lora_alpha: float | None = Field(default=None, gt=0)
    lora_targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    scale: float = Field(default=20.0, gt=0)
    options: dict[Kind, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _adapters_or_locks(self) -> Self:
        if self.lora_rank is None and (self.lora_alpha or self.lora_targets):
            raise ValueError("expected lora_rank with lora_alpha and lora_targets, got none")
        if self.lora_rank is not None and self.lock:
            raise ValueError("expected lock or lora_rank, got both: beside adapters everything is locked")
        return self


@dataclass(frozen=True)
class FinetuneResult:
    """What a fine-tuning came to; all of it stands in ``finetune.json`` of the folder too.

    Args:
        out: The folder of the checkpoint.
        best_epoch: The epoch whose weights it holds; 0 is the checkpoint as it was given.
        curve: One entry per epoch.
        before: Retrieval of the held-out items with the checkpoint as it was given, by direction.
        after: The same with the checkpoint that was written, read back.
        change: Held-out items ranked better, worse and equal, with the p-value of a paired test, by direction.
        counts: The items that trained, chose the epoch and were held out.
        left_out: Why items could not be read, by id.
    """

    out: Path
    best_epoch: int
    curve: tuple[Epoch, ...] = field(repr=False)
    before: Mapping[str, Mapping[str, float]]
    after: Mapping[str, Mapping[str, float]]
    change: Mapping[str, Mapping[str, float]]
    counts: Mapping[str, int]
    left_out: Mapping[Any, str] = field(repr=False)

    @property
    def spec(self) -> str:
        """The name of the adapted encoder, to encode with."""
        return f"path:{self.out}"

    @property
    def improved(self) -> bool:
        """Whether held-out items are found better in both directions, by the mean reciprocal rank."""
        return all(self.after[way]["mrr"] > self.before[way]["mrr"] for way in DIRECTIONS)


def finetune(
    spec: str,
    pairs: Sequence[tuple[Any, Any]] | Catalog,
    out: str | Path,
    config: FinetuneConfig | Mapping[str, Any] | None = None,
    *,
    kinds: tuple[Kind, Kind] = ("image", "text"),
    columns: tuple[str, str] | None = None,
    overwrite: bool = False,
) -> FinetuneResult:
    """Adapts a checkpoint to pairs of the same items, and writes one that ``path:`` loads.

    Parts of the items are set aside before anything is trained: some choose the epoch, and others are only scored,
    before and after. No picture or text is in two parts, and in no batch does one come twice, so that no right answer
    is taken for a wrong one. Where no epoch finds the choosing items better, the checkpoint is written as it was.

    Args:
        spec: The checkpoint, such as ``"open_clip:ViT-B-32/openai"`` or ``"path:/folder"``.
        pairs: Two values per item, such as the path of a picture and a text; or a catalogue, whose items that have
            both columns are taken.
        out: The folder to write; it appears when all is done.
        config: The settings.
        kinds: What the two values are. Two texts of an item, such as title and description, train one text tower.
        columns: The columns of the catalogue; the kinds by default.
        overwrite: Whether to replace a folder that is there.

    Raises:
        FileExistsError: If the folder is there, without ``overwrite``.
        ConfigError: If the checkpoint cannot be loaded, would be random, or cannot be trained like this.
        ValueError: If there are too few pairs.
        FloatingPointError: If the loss is not finite.
    """
    out, settings = Path(out), FinetuneConfig.read(config or {})
    if out.exists() and not overwrite:
        raise FileExistsError(f"expected no {str(out)!r} yet, but it is there; choose another, or overwrite it")
    found = _gather(pairs, kinds, columns)
    with _own_model(), ThreadPoolExecutor(settings.workers) as pool:
        pair = load_pair(spec, kinds, settings)
        base = pair.towers[0].loaded.weights
        readable, left_out = found.readable(pair.towers[0].read, pair.towers[1].read, pool)
        _tell(left_out, len(found))
        trainer = ContrastiveTrainer(pair, readable, settings, pool)
        parts = split_pairs(trainer.labels, valid=settings.valid, held_out=settings.held_out, seed=settings.seed)
        before = trainer.ranks(parts.held_out)
        adapted = _prepare(pair, settings, (readable.first[0], readable.second[0]))
        curve = trainer.train(parts)
        pair.merge()
        with _publishing(out, overwrite=overwrite) as folder:
            save_pair(pair, folder)
            after = _reread(folder, trainer, parts, kinds, settings)
            result = _result(out, curve, (before, after), parts, left_out)
            facts = {"spec": spec, "kinds": kinds, "base_weights": base, "loss": pair.loss_name, "adapted": adapted}
            report = facts | _report(result, settings)
            (folder / REPORT).write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")
    _conclude(result)
    return result


def load_pair(spec: str, kinds: tuple[Kind, Kind], config: FinetuneConfig) -> TowerPair:
    """Returns the towers of a checkpoint for two kinds of values.

    Raises:
        ConfigError: If there is no such checkpoint, or its towers are not of one model.
    """
    towers = [
        get_tower(spec, kind, options=config.options.get(kind, {}), device=config.device, precision="fp32")
        for kind in kinds
    ]
    if not all(isinstance(tower, ModelTower) for tower in towers):
        raise ConfigError(f"expected a checkpoint of open_clip or transformers, got {spec!r}")
    first, second = (tower for tower in towers if isinstance(tower, ModelTower))
    return TowerPair(first, second, scale=config.scale)


def _gather(
    pairs: Sequence[tuple[Any, Any]] | Catalog, kinds: tuple[Kind, Kind], columns: tuple[str, str] | None
) -> Pairs:
    found = Pairs.gather(pairs, columns or (kinds[0], kinds[1]))
    first, second = (_values(kind, values) for kind, values in zip(kinds, (found.first, found.second), strict=True))
    return Pairs(found.ids, first, second)


def _values(kind: Kind, values: list[Any]) -> list[Any]:
    return values if kind == "text" else [Path(value) if isinstance(value, str) else value for value in values]


@contextmanager
def _own_model() -> Iterator[None]:
    """Makes sure that the model that is changed is nobody else's, and is not kept for others."""
    import torch

    forget_loaded()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        forget_loaded()


def _prepare(pair: TowerPair, config: FinetuneConfig, examples: tuple[Any, Any]) -> tuple[str, ...]:
    import torch

    if config.lora_rank is None:
        pair.train_all(config.lock, examples)
        return ()
    torch.manual_seed(derive_seed(config.seed, 2))
    return pair.train_adapters(config.lora_rank, config.lora_alpha or 2.0 * config.lora_rank, config.lora_targets)


def _reread(
    folder: Path, trainer: ContrastiveTrainer, parts: PairSplit, kinds: tuple[Kind, Kind], config: FinetuneConfig
) -> Ranks:
    """Returns the ranks of held-out items by the checkpoint as others will load it."""
    trained, trainer.dual = trainer.dual, load_pair(f"path:{folder}", kinds, config)
    ours, theirs = (_sample(dual, trainer.pairs) for dual in (trained, trainer.dual))
    if not np.allclose(ours, theirs, atol=1e-3):
        raise ConfigError(
            f"expected the checkpoint to give the vectors that were trained, got others by up to "
            f"{float(np.abs(ours - theirs).max()):.2g}; this kind of checkpoint cannot be written yet"
        )
    return trainer.ranks(parts.held_out)


def _sample(dual: DualEncoder, pairs: Pairs) -> NDArray[np.float32]:
    """Returns the vectors of one item, both sides laid end to end."""
    import torch

    with torch.no_grad():
        vectors = [dual.embed(side, [dual.read(side, (pairs.first, pairs.second)[side][0])])[0] for side in SIDES]
        return torch.cat(vectors).float().cpu().numpy()


@contextmanager
def _publishing(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yields a folder beside ``out`` that takes its place when all went well, and else is removed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp lets nobody else in
        _take_place(folder, out, overwrite=overwrite)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_place(folder: Path, out: Path, *, overwrite: bool) -> None:
    old = folder.with_name(f"{folder.name}.old")
    if overwrite and out.exists():
        out.rename(old)
    try:
        folder.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _result(
    out: Path, curve: Sequence[Epoch], found: tuple[Ranks, Ranks], parts: PairSplit, left_out: Mapping[Any, str]
) -> FinetuneResult:
    before, after = ({way: summary(one) for way, one in zip(DIRECTIONS, ranks, strict=True)} for ranks in found)
    change = {way: compare_ranks(old, new) for way, old, new in zip(DIRECTIONS, *found, strict=True)}
    counts = {"train": len(parts.train), "valid": len(parts.valid), "held_out": len(parts.held_out)}
    return FinetuneResult(out, best_epoch(curve), tuple(curve), before, after, change, counts, left_out)


def _report(result: FinetuneResult, config: FinetuneConfig) -> dict[str, Any]:
    values = asdict(result) | {"left_out": {str(key): reason for key, reason in result.left_out.items()}}
    del values["out"]
    packages = {name: _version(name) for name in PACKAGES}
    return {"settings": config.model_dump(mode="json"), "improved": result.improved, **values, "packages": packages}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _tell(left_out: Mapping[Any, str], count: int) -> None:
    if left_out:
        shown = "; ".join(f"{key!r}: {reason}" for key, reason in list(left_out.items())[:3])
        log.warning("%d of %d pairs cannot be read and are left out: %s", len(left_out), count, shown)


def _conclude(result: FinetuneResult) -> None:
    if not result.best_epoch:
        log.warning("no epoch found its counterparts better: %s holds the checkpoint as it was given", result.out)
    for way in DIRECTIONS:
        change, old, new = result.change[way], result.before[way]["mrr"], result.after[way]["mrr"]
        log.info("held-out items, %s: mean reciprocal rank %.4f -> %.4f (p=%.2g)", way, old, new, change["p_value"])
