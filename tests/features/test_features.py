"""The features room by its public names."""

import subprocess
import sys

import numpy as np

import graphrec.features as features


def test_texts_become_vectors_by_the_names_of_the_room_alone(minilm, tmp_path):
    tower = features.get_tower(f"path:{minilm}", "text", device="cpu")
    found = features.encode(tower, ["a red chair", "an oak table", "a red chair"], store=features.Store(tmp_path))
    np.testing.assert_array_equal(found.vectors[0], found.vectors[2])
    assert found.vectors.shape == (3, 384)
    assert not found.failed


def test_every_public_name_is_there_and_loads_no_deep_learning():
    code = (
        "import sys, graphrec.features as f; [getattr(f, name) for name in f.__all__]; "
        "raise SystemExit(sorted({'torch', 'transformers', 'open_clip', 'timm', 'peft'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
