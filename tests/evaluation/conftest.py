"""Fixtures shared by the tests of evaluation."""

import pytest


@pytest.fixture(scope="module")
def ranx():
    """ranx as plain Python: compiling its metrics takes longer than all our tests."""
    import numba

    numba.config.DISABLE_JIT = True
    yield pytest.importorskip("ranx")
    numba.config.DISABLE_JIT = False
