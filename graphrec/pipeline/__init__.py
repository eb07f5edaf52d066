"""The pipeline: from a configuration to one self-contained run folder, or to several that are compared."""

from graphrec.pipeline.benchmark import BenchmarkResult, Failure, benchmark
from graphrec.pipeline.config import (
    BenchmarkConfig,
    DataConfig,
    EvaluationConfig,
    FusionEntry,
    ModelChoice,
    ModelEntry,
    RunConfig,
)
from graphrec.pipeline.result import Run, load
from graphrec.pipeline.train import fit, run

__all__ = [
    "BenchmarkConfig",
    "BenchmarkResult",
    "DataConfig",
    "EvaluationConfig",
    "Failure",
    "FusionEntry",
    "ModelChoice",
    "ModelEntry",
    "Run",
    "RunConfig",
    "benchmark",
    "fit",
    "load",
    "run",
]
