"""Under which versions and on which machine a run was made."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import graphrec

FORMAT = 1
PACKAGES = ("torch", "torch-geometric", "lightning-fabric", "numpy", "scipy", "pandas", "scikit-learn")
GIT_SECONDS = 5


def environment() -> dict[str, Any]:
    """Returns versions, platform, device, threads, and the git revisions of the working directory and of graphrec.

    A revision is None where there is none, that of graphrec also where it is not run from a checkout of its own.
    """
    package = Path(__file__).parents[1]
    return {
        "format": FORMAT,
        "graphrec": graphrec.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "git": git_revision(Path.cwd()),
        "graphrec git": git_revision(package) if _git(package, "ls-files", "__init__.py") else None,
    }


def git_revision(folder: Path) -> str | None:
    """Returns the commit checked out in a folder, marked ``+changes`` where files differ; None without git."""
    revision = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{revision}+changes" if revision and changed else revision or None


def peak_memory() -> float | None:
    """Returns the peak resident memory of this process in MiB; None where the platform does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
