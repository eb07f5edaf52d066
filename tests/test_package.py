"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import graphrec


def test_import_is_light():
    code = "import sys, graphrec; print([name for name in ('torch', 'numpy', 'pandas') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_public_names_resolve():
    for name in graphrec.__all__:
        assert getattr(graphrec, name) is not None
    assert set(graphrec.__all__) <= set(dir(graphrec))
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = graphrec.fitt


def test_data_room_does_not_import_torch():
    code = "import sys, graphrec.data; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
