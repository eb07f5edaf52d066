"""Graph-based multimodal recommendation on PyTorch Geometric.

    data = graphrec.load_dataset("path/or/name")
    run = graphrec.fit("hetero-lightgcn", data, epochs=50)
    run.recommend(user_ids, k=10)

Everything is loaded when it is first used: importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphrec.data.dataset import Dataset
    from graphrec.data.interactions import Interactions
    from graphrec.data.prepare import prepare_dataset
    from graphrec.data.sources import from_dataframe, load_dataset
    from graphrec.data.synthetic import generate
    from graphrec.evaluation.ranking import evaluate
    from graphrec.graph.build import build_graph
    from graphrec.models import get_model
    from graphrec.models.base import Recommender
    from graphrec.pipeline.benchmark import benchmark
    from graphrec.pipeline.result import Run, load
    from graphrec.pipeline.train import fit, run

    __version__: str

_HOMES = {
    "Dataset": "graphrec.data.dataset",
    "Interactions": "graphrec.data.interactions",
    "Recommender": "graphrec.models.base",
    "Run": "graphrec.pipeline.result",
    "benchmark": "graphrec.pipeline.benchmark",
    "build_graph": "graphrec.graph.build",
    "evaluate": "graphrec.evaluation.ranking",
    "fit": "graphrec.pipeline.train",
    "from_dataframe": "graphrec.data.sources",
    "generate": "graphrec.data.synthetic",
    "get_model": "graphrec.models",
    "load": "graphrec.pipeline.result",
    "load_dataset": "graphrec.data.sources",
    "prepare_dataset": "graphrec.data.prepare",
    "run": "graphrec.pipeline.train",
}

__all__ = [
    "Dataset",
    "Interactions",
    "Recommender",
    "Run",
    "__version__",
    "benchmark",
    "build_graph",
    "evaluate",
    "fit",
    "from_dataframe",
    "generate",
    "get_model",
    "load",
    "load_dataset",
    "prepare_dataset",
    "run",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'graphrec' has no attribute {name!r}; it has {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("graphrec")
    except metadata.PackageNotFoundError:
        return "0+unknown"
