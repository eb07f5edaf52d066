"""How a specification such as ``"open_clip:ViT-B-32/laion2b_s34b_b79k"`` becomes a tower."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphrec.config import ConfigError, resolve, unknown_name
from graphrec.data.files import reading
from graphrec.features.encoder import KINDS, Kind, Precision, Tower

TOWERS = {  # what stands before the first colon; others may add their own
    "open_clip": "graphrec.features.towers.open_clip:load",
    "hf": "graphrec.features.towers.hf:load",
    "timm": "graphrec.features.towers.timm:load",
    "path": "graphrec.features.towers.checkpoint:load_folder",
}
PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "bf16", "fp16")
VIDEO = "graphrec.features.towers.video:VideoTower"


def get_tower(
    spec: str,
    kind: Kind,
    *,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
) -> Tower:
    """Returns the pretrained tower that a specification names.

    Args:
        spec: A prefix and a checkpoint:

            - ``open_clip:ViT-B-32/laion2b_s34b_b79k``: a model and its pretrained weights; ``open_clip:ViT-B-32//w.pt``
              a model and a file (here ``/w.pt``); ``open_clip:local-dir:/folder`` a folder;
            - ``hf:sentence-transformers/all-MiniLM-L6-v2``: a checkpoint of transformers on the hub, or a folder;
            - ``timm:vit_small_patch14_dinov2``: a backbone of timm, likewise with a file or a folder;
            - ``path:/folder``: a folder with a checkpoint of any of these.

        kind: What it reads. A video tower is an image tower over the frames of a video.
        options: What the tower may be told, see the options of each; for a video, ``image`` holds those of the image
            tower.
        device: Where it runs; ``"auto"`` is the GPU where there is one.
        precision: ``"auto"`` is bfloat16 on a GPU (float16 where it has none) and float32 on the CPU.

    Raises:
        ConfigError: If the specification, an option or the checkpoint is unknown, or the checkpoint has no weights.
    """
    load = _loader(spec, kind, precision)
    values = dict(options or {})
    if kind != "video":
        tower: Tower = load(_rest(spec), kind, values, device, precision)
        return tower
    image = load(_rest(spec), "image", values.pop("image", {}), device, precision)
    video: Tower = resolve(VIDEO, {}, kind="tower")(image, values)
    return video


def load_folder(checkpoint: str, kind: Kind, options: Mapping[str, Any], device: str, precision: Precision) -> Tower:
    """Returns a tower of a local checkpoint of open_clip, timm or transformers, whichever its files say it is.

    Raises:
        ConfigError: If it is none of them.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_file():
        raise ConfigError(
            f"expected a folder for 'path:{checkpoint}', got a file; weights alone do not say of which model: write "
            f"'open_clip:model/{checkpoint}' or 'timm:model/{checkpoint}'"
        )
    prefix, start = _family(folder)
    tower: Tower = resolve(TOWERS[prefix], {}, kind="tower")(start + str(folder), kind, options, device, precision)
    return tower


def _loader(spec: str, kind: Kind, precision: Precision) -> Any:
    _check_known(kind, KINDS, "kind")
    _check_known(precision, PRECISIONS, "precision")
    prefix, separator, rest = spec.partition(":")
    if prefix not in TOWERS or not separator or not rest:
        known = [f"{name}:" for name in TOWERS]
        raise ConfigError(unknown_name(f"{prefix}:", known, kind="prefix") + _example(spec))
    return resolve(TOWERS[prefix], {}, kind="tower")


def _check_known(value: str, known: Sequence[str], kind: str) -> None:
    if value not in known:
        raise ConfigError(unknown_name(value, known, kind=kind))


def _example(spec: str) -> str:
    return f"; expected a tower such as 'hf:sentence-transformers/all-MiniLM-L6-v2', got {spec!r}"


def _rest(spec: str) -> str:
    rest = spec.partition(":")[2]
    return str(Path(rest).expanduser()) if rest.startswith("~") else rest


def _family(folder: Path) -> tuple[str, str]:
    """Returns the prefix of the library that saved a folder, and what the library writes before folders."""
    if not folder.is_dir():
        raise ConfigError(f"expected a folder with a checkpoint, but there is no folder {str(folder)!r}")
    if (folder / "open_clip_config.json").is_file():
        return "open_clip", "local-dir:"
    if (folder / "modules.json").is_file():
        return "hf", ""
    values = _json(folder / "config.json")
    if "model_type" in values:
        return "hf", ""
    if "architecture" in values:
        return "timm", "local-dir:"
    present = ", ".join(sorted(entry.name for entry in folder.iterdir())[:12]) or "nothing"
    raise ConfigError(
        f"expected a checkpoint of open_clip (open_clip_config.json), transformers or timm (config.json) in "
        f"{str(folder)!r}, found {present}"
    )


def _json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    with reading(path):
        values: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values
