"""Models in memory: loaded quietly, kept for a second tower of the same checkpoint, and known by their weights."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.config import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

KEPT = 2  # models that stay in memory when no tower uses them any more
PASSING = ("_name_or_path", "name_or_path", "transformers_version", "dtype", "torch_dtype")  # say nothing of a vector
NOISY = ("transformers", "open_clip", "timm", "huggingface_hub", "sentence_transformers", "httpx")
_KEPT: OrderedDict[tuple[Any, ...], Loaded] = OrderedDict()
_LOCK = threading.RLock()


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory: in 32 bits, in evaluation mode, on its device.

    Args:
        model: The module.
        device: Where it is.
        settings: What of its configuration determines its output, as plain values.
        parts: Whatever belongs to it, such as a transform.
        unused: Names of parameters that the checkpoint lacks and that no tower reads.
    """

    model: nn.Module
    device: torch.device
    settings: Mapping[str, Any]
    parts: Mapping[str, Any] = field(default_factory=dict)
    unused: frozenset[str] = frozenset()

    @cached_property
    def weights(self) -> str:
        """A hash of the weights and settings, computed once: equal for equal checkpoints wherever they lie."""
        return digest(hash_weights(self.model, self.unused), self.settings)


def keep_loaded(key: tuple[Any, ...], load: Callable[[], Loaded]) -> Loaded:
    """Returns what was loaded under that key before, or loads it, without touching the global random generator.

    The last few models stay in memory, so that the two towers of a CLIP are loaded once.
    """
    import torch

    with _LOCK:
        if key not in _KEPT:
            with quiet(), torch.random.fork_rng(devices=[]):
                _KEPT[key] = load()
        _KEPT.move_to_end(key)
        while len(_KEPT) > KEPT:
            _KEPT.popitem(last=False)
        return _KEPT[key]


def forget_loaded() -> None:
    """Lets go of the models that are kept for further towers, for the memory, or after a model was changed in place."""
    with _LOCK:
        _KEPT.clear()


def digest(*parts: Any) -> str:
    """Returns the sha256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def hash_weights(model: nn.Module, unused: Collection[str] = ()) -> str:
    """Returns the sha256 of a module's tensors: their names, types, shapes and bytes."""
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in unused}
    with ThreadPoolExecutor(max_workers=4) as pool:  # hashing lets other threads run
        digests = list(pool.map(_hash_tensor, state.values()))
    lines = (f"{name} {digest}" for name, digest in sorted(zip(state, digests, strict=True)))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def plain_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a library's configuration without what changes no vector, such as the folder that it came from."""
    return {
        key: plain_settings(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if key not in PASSING
    }


def stamp(path: str | Path | None) -> tuple[Any, ...]:
    """Returns what tells whether a local checkpoint has changed; empty for what is not on this disk."""
    if not path:
        return ()
    root = Path(path)
    files = [root] if root.is_file() else sorted(entry for entry in root.rglob("*") if entry.is_file())
    return tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Keeps progress bars, reports and warnings of model libraries off the terminal; yields what they say."""
    with warnings.catch_warnings(), _without_bars(), _listening() as said:
        warnings.simplefilter("ignore")
        yield said


@contextmanager
def _without_bars() -> Iterator[None]:
    from transformers.utils import logging as bars

    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


@contextmanager
def _listening() -> Iterator[list[str]]:
    said, root = _Listener(), logging.getLogger()
    loggers = [logging.getLogger(name) for name in NOISY]
    states = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    nothing = logging.NullHandler()
    root.addHandler(nothing)  # a root without handlers gets one that prints, at the first message and for good
    root.addFilter(said.refuse)  # open_clip logs to the root
    for logger in loggers:
        logger.handlers, logger.propagate = [said], False
        logger.setLevel(logging.INFO)  # which weights are missing, timm says in passing
    try:
        yield said.messages
    finally:
        root.removeFilter(said.refuse)
        root.removeHandler(nothing)
        for logger, (handlers, propagate, level) in zip(loggers, states, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


class _Listener(logging.Handler):
    """Collects what is logged; as a filter, it lets nothing through."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def refuse(self, record: logging.LogRecord) -> bool:
        self.emit(record)
        return False


@contextmanager
def checkpoint_errors(checkpoint: str, spec: str) -> Iterator[None]:
    """Turns what a library says about a checkpoint that it cannot load into one error that says what to do.

    Raises:
        ConfigError: If the checkpoint is not there, is not one, or does not fit its model.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # hubs, disks and readers of weights each have errors of their own
        if not _is_absence(error, checkpoint):
            raise ConfigError(f"cannot load {spec!r}: {_first_lines(error)}") from error
        raise ConfigError(
            f"cannot find the checkpoint of {spec!r}: it was looked for in the caches of the hub and on the hub, which "
            f"is out of reach or has no such model; download it where there is a network, or name a local folder, as "
            f"in 'path:/folder/of/the/checkpoint' ({_first_lines(error)})"
        ) from error


def _is_absence(error: BaseException | None, checkpoint: str) -> bool:
    while error is not None:
        if isinstance(error, OSError) or "huggingface_hub" in type(error).__module__:
            return not Path(checkpoint).exists()
        error = error.__cause__ or error.__context__
    return False


def _first_lines(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}{'…' if len(text) > 300 else ''}"


def _hash_tensor(tensor: Tensor) -> str:
    import torch

    data = tensor.detach().cpu().contiguous()
    values: Any = data.reshape(-1).view(torch.uint8).numpy()
    found = hashlib.sha256(f"{data.dtype} {tuple(data.shape)} ".encode())
    found.update(values)
    return found.hexdigest()
