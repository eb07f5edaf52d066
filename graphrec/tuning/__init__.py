"""Tuning of hyper-parameters on validation, with a journal that survives whatever happens to its processes."""

from graphrec.tuning.config import TuningConfig
from graphrec.tuning.export import export
from graphrec.tuning.journal import TuningError
from graphrec.tuning.space import Parameter, search_space
from graphrec.tuning.study import Study, load_study
from graphrec.tuning.tuner import tune

__all__ = ["Parameter", "Study", "TuningConfig", "TuningError", "export", "load_study", "search_space", "tune"]
