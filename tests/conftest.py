"""Fixtures shared by the tests."""

from __future__ import annotations

import pytest
import torch

from graphrec.runtime import DATA_VARIABLE, data_root


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def real_data():
    """Returns the folder of a real data set, or skips with the reason."""

    def find(name: str):
        folder = data_root() / name
        if not folder.is_dir():
            pytest.skip(f"no data set folder {folder}; set {DATA_VARIABLE} to the folder that holds it")
        return folder

    return find
