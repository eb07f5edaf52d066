"""The run folder: what pipeline, serving and report share."""

from graphrec.data.files import write_text
from graphrec.runs.dataset import load_dataset, save_dataset, share_dataset
from graphrec.runs.environment import FORMAT, environment, peak_memory
from graphrec.runs.files import RunFolderError
from graphrec.runs.folder import ORACLE, STUDY, RunFolder, find_runs, now, open_run, scan_runs
from graphrec.runs.graph import load_graph, save_graph, share_graph

__all__ = [
    "FORMAT",
    "ORACLE",
    "STUDY",
    "RunFolder",
    "RunFolderError",
    "environment",
    "find_runs",
    "load_dataset",
    "load_graph",
    "now",
    "open_run",
    "peak_memory",
    "save_dataset",
    "save_graph",
    "scan_runs",
    "share_dataset",
    "share_graph",
    "write_text",
]
