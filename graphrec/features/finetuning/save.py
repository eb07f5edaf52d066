"""Writes an adapted checkpoint as a folder that loads like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.config import ConfigError
from graphrec.features.finetuning.dual import TowerPair
from graphrec.features.towers.loading import quiet

if TYPE_CHECKING:
    from torch import nn

MODULES = "modules.json"  # of sentence-transformers: pooling, and layers after it, in folders of their own
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".ckpt", ".onnx", ".index.json")
OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def save_pair(pair: TowerPair, folder: Path) -> None:
    """Writes the model of two towers, with what is needed to preprocess.

    A model of open_clip becomes ``open_clip_config.json`` and ``open_clip_model.safetensors``; one of transformers what
    ``save_pretrained`` writes; both with the tokenizer, where the model has one of transformers.

    Args:
        pair: The towers.
        folder: An empty folder.

    Raises:
        ConfigError: If the model is of neither library.
    """
    from transformers import PreTrainedModel

    if isinstance(pair.module, PreTrainedModel):
        _save_transformers(pair, folder)
    elif hasattr(pair.module, "encode_image") and hasattr(pair.module, "encode_text"):
        _save_open_clip(pair, folder)
    else:
        raise ConfigError(f"expected a model of open_clip or transformers, got {type(pair.module).__name__}")


def _save_open_clip(pair: TowerPair, folder: Path) -> None:
    from safetensors.torch import save_file

    settings = pair.towers[0].loaded.settings
    model = dict(settings["model"])
    if _has_quick_gelu(pair.module):  # weights may ask for it where the model's name does not
        model["quick_gelu"] = True
    values = {"model_cfg": model, "preprocess_cfg": dict(settings["preprocess"])}
    (folder / OPEN_CLIP_CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    state = {name: weight.detach().cpu().clone().contiguous() for name, weight in pair.module.state_dict().items()}
    save_file(state, folder / OPEN_CLIP_WEIGHTS)
    if model["text_cfg"].get("hf_tokenizer_name"):
        _tokenizer(pair).tokenizer.save_pretrained(folder)


def _has_quick_gelu(model: nn.Module) -> bool:
    return any(type(layer).__name__ == "QuickGELU" for layer in model.modules())


def _tokenizer(pair: TowerPair) -> Any:
    return next(tower.tokenizer for tower in pair.towers if hasattr(tower, "tokenizer"))


def _save_transformers(pair: TowerPair, folder: Path) -> None:
    module: Any = pair.module
    source = _origin(str(module.name_or_path))
    unused = pair.towers[0].loaded.unused  # random, and to be missing again
    state = {name: weight for name, weight in module.state_dict().items() if name not in unused}
    with quiet():
        module.save_pretrained(folder / _transformer_folder(source), state_dict=state)
    for entry in _companions(source):
        target = folder / entry.relative_to(source)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry, target)


def _companions(source: Path) -> Iterator[Path]:
    """Yields the files beside the weights: of the tokenizer, the processor, and of sentence-transformers' modules."""
    transformer = source / _transformer_folder(source)
    folders = {source, transformer, *(source / str(module["path"]) for module in _modules(source))}
    for folder in filter(Path.is_dir, folders):
        for entry in sorted(folder.iterdir()):
            weights = folder in (source, transformer) and entry.name.endswith(WEIGHTS)
            if entry.is_file() and not weights and not entry.name.startswith("."):
                yield entry


def _transformer_folder(source: Path) -> str:
    """Returns the folder of the model within its checkpoint, which sentence-transformers once gave one of its own."""
    paths = [str(module["path"]) for module in _modules(source) if str(module["type"]).endswith(".Transformer")]
    return paths[0] if paths else ""


def _modules(source: Path) -> list[dict[str, Any]]:
    path = source / MODULES
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def _origin(name: str) -> Path:
    """Returns the folder that a model was loaded from, on this disk or in the hub's cache."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, local_files_only=True))
