"""Checkpoints of transformers: which tower reads one, and how it is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.config import ConfigError, resolve
from graphrec.features.encoder import Kind, Precision, Tower
from graphrec.features.towers.base import check_weights_folder
from graphrec.features.towers.loading import Loaded, checkpoint_errors, keep_loaded, plain_settings, quiet, stamp
from graphrec.runtime import resolve_device

if TYPE_CHECKING:
    import torch

AUDIO_TYPES = ("clap",)  # their text towers come with the audio towers
LOADERS: dict[Kind, str] = {
    "image": "graphrec.features.towers.hf_image:load",
    "text": "graphrec.features.towers.hf_text:load",
    "audio": "graphrec.features.towers.hf_audio:load",
}
UNREAD = re.compile(r"(^|\.)(pooler|lm_head)\.|mask_token$")  # weights that may be missing, since no tower reads them


def load(checkpoint: str, kind: Kind, options: Mapping[str, Any], device: str, precision: Precision) -> Tower:
    """Returns a tower of a checkpoint of transformers.

    Args:
        checkpoint: A name on the hub, or a local folder.
        kind: What it reads.
        options: The options of the tower of that kind.
        device: Where it runs.
        precision: See ``ModelTower``.

    Raises:
        ConfigError: If there is no such checkpoint, or it has no tower of that kind.
    """
    if checkpoint.startswith(("/", ".")) and not Path(checkpoint).is_dir():
        raise ConfigError(f"expected a folder for 'hf:{checkpoint}', but there is no folder {checkpoint!r}")
    with checkpoint_errors(checkpoint, f"hf:{checkpoint}"), quiet():
        config = find_json(checkpoint, "config.json") or {}  # old checkpoints of sentence-transformers have none here
    audio = kind == "text" and config.get("model_type") in AUDIO_TYPES
    target = LOADERS["audio"] if audio else LOADERS[kind]
    tower: Tower = resolve(target, {}, kind="tower")(checkpoint, kind, options, device, precision)
    return tower


def load_model(checkpoint: str, device: str, subfolder: str = "") -> Loaded:
    """Returns the bare model of a checkpoint in 32 bits, also where it was saved in 16; code of others is never run.

    Raises:
        ConfigError: If there is no such checkpoint, or it lacks weights, which would be random.
    """
    place = resolve_device(device)
    with checkpoint_errors(checkpoint, f"hf:{checkpoint}"):
        if Path(checkpoint).is_dir():
            check_weights_folder(Path(checkpoint) / subfolder, f"hf:{checkpoint}")
        key = ("hf", checkpoint, subfolder, stamp(checkpoint), str(place))
        return keep_loaded(key, lambda: _load(checkpoint, place, subfolder))


def load_tokenizer(checkpoint: str, subfolder: str = "") -> Any:
    """Returns the tokenizer of a checkpoint.

    Raises:
        ConfigError: If it has none.
    """
    from transformers import AutoTokenizer

    with checkpoint_errors(checkpoint, f"hf:{checkpoint}"), quiet():
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, subfolder=subfolder, trust_remote_code=False)
    if tokenizer.pad_token_id is None:  # padding is masked, so any token does
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def model_config(checkpoint: str, subfolder: str = "") -> Any:
    """Returns the configuration of a checkpoint's model.

    Raises:
        ConfigError: If there is no such checkpoint.
    """
    from transformers import AutoConfig

    with checkpoint_errors(checkpoint, f"hf:{checkpoint}"), quiet():
        return AutoConfig.from_pretrained(checkpoint, subfolder=subfolder, trust_remote_code=False)


def find_file(checkpoint: str, name: str) -> Path | None:
    """Returns the path of a file of a checkpoint, or nothing where it has none of that name."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if Path(checkpoint).is_dir():
        path = Path(checkpoint) / name
        return path if path.is_file() else None
    try:
        return Path(hf_hub_download(checkpoint, name))
    except EntryNotFoundError:
        return None


def find_json(checkpoint: str, name: str) -> Any:
    """Returns what a JSON file of a checkpoint holds, or nothing where it has none of that name."""
    path = find_file(checkpoint, name)
    return None if path is None else json.loads(path.read_text(encoding="utf-8"))


def tokenizer_settings(tokenizer: Any) -> dict[str, Any]:
    """Returns all of a tokenizer that changes tokens, as plain values."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return {"type": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    state = json.loads(backend.to_str())
    return {key: value for key, value in state.items() if key not in ("truncation", "padding")}  # as last used


def features_of(output: Any) -> Any:
    """Returns the vectors of ``get_image_features`` and the like: transformers 5 wraps them, 4 does not."""
    return output if hasattr(output, "shape") else output.pooler_output


def encoder_of(model: Any) -> Any:
    """Returns the encoder of a model that has a decoder too, such as T5; other models as they are."""
    return model.encoder if _has_both(model) else model


def _has_both(model: Any) -> bool:
    return hasattr(model, "encoder") and hasattr(model, "decoder")


def _load(checkpoint: str, device: torch.device, subfolder: str) -> Loaded:
    import torch
    from transformers import AutoModel

    model, info = AutoModel.from_pretrained(
        checkpoint,
        subfolder=subfolder,
        trust_remote_code=False,
        output_loading_info=True,
        **{_dtype_argument(): torch.float32},
    )
    missing = frozenset(info["missing_keys"])
    _check_missing(missing, checkpoint, r"decoder\." if _has_both(model) else "$^")
    settings = plain_settings(model.config.to_dict())
    model = model.float().eval().requires_grad_(False).to(device)
    return Loaded(model, device, settings, unused=missing)


def _dtype_argument() -> str:
    import transformers

    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def _check_missing(missing: frozenset[str], checkpoint: str, decoder: str) -> None:
    needed = sorted(key for key in missing if not (UNREAD.search(key) or re.match(decoder, key)))
    if needed:
        raise ConfigError(
            f"expected all weights of the model in 'hf:{checkpoint}', missing {len(needed)}, which would be random: "
            f"{', '.join(needed[:5])}; is it a checkpoint of another model?"
        )
