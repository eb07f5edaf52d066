import json
import shutil

import numpy as np
import pytest
import torch

from graphrec.config import ConfigError
from graphrec.data.drawing import Look
from graphrec.features.finetuning.dual import TowerPair
from graphrec.features.finetuning.save import save_pair
from graphrec.features.towers.checkpoint import get_tower
from graphrec.features.towers.loading import forget_loaded
from tests.features.finetuning.tiny import tiny_bert, tiny_clip
from tests.features.towers.checkpoints import save_clip, save_siglip

TEXTS = ["wood classic cooking", "for travel of steel", "glass"]


def pair_of(folder, *kinds):
    towers = (get_tower(f"path:{folder}", kind, options={}, device="cpu", precision="fp32") for kind in kinds)
    return TowerPair(*towers)


def vectors(pair, side, values):
    with torch.no_grad():
        return pair.embed(side, [pair.read(side, value) for value in values]).numpy()


def changed(pair):
    """Returns the pair with all weights moved a little, nobody else having the model."""
    forget_loaded()
    with torch.no_grad():
        for weight in pair.module.parameters():
            weight.add_(0.02 * torch.randn(weight.shape))
    return pair


@pytest.mark.parametrize("save", [save_clip, save_siglip])
def test_a_model_of_transformers_with_two_towers_comes_back_as_it_was_changed(minilm, tmp_path, save):
    save(tmp_path / "base", minilm)
    pair = changed(pair_of(tmp_path / "base", "image", "text"))
    (tmp_path / "out").mkdir()
    save_pair(pair, tmp_path / "out")
    again = pair_of(tmp_path / "out", "image", "text")
    for side, values in ((0, [Look("red", "star", "dots", 1).draw()]), (1, TEXTS)):
        np.testing.assert_allclose(vectors(again, side, values), vectors(pair, side, values), atol=1e-6)
        unchanged = vectors(pair_of(tmp_path / "base", "image", "text"), side, values)
        assert np.abs(unchanged - vectors(pair, side, values)).max() > 1e-3


def test_a_model_of_open_clip_comes_back_as_it_was_changed(tmp_path):
    tiny_clip(tmp_path / "base", quick_gelu=True)
    pair = changed(pair_of(tmp_path / "base", "image", "text"))
    (tmp_path / "out").mkdir()
    save_pair(pair, tmp_path / "out")
    again = pair_of(tmp_path / "out", "image", "text")
    np.testing.assert_allclose(vectors(again, 1, TEXTS), vectors(pair, 1, TEXTS), atol=1e-6)
    assert json.loads((tmp_path / "out" / "open_clip_config.json").read_text())["model_cfg"]["quick_gelu"] is True


def test_what_sentence_transformers_keeps_beside_the_weights_is_kept(minilm, tmp_path):
    """In the older layout, the transformer has a folder of its own; pooling and layers after it have theirs."""
    base, inner = tmp_path / "base", tmp_path / "base" / "0_Transformer"
    tiny_bert(inner)
    modules = [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"idx": row, "name": str(row), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for row, (path, kind) in enumerate(modules)
    ]
    (base / "modules.json").write_text(json.dumps(listed))
    (base / "1_Pooling").mkdir()
    (base / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    (inner / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 3}))
    (base / ".hidden").write_text("")
    pair = changed(pair_of(base, "text", "text"))
    (tmp_path / "out").mkdir()
    save_pair(pair, tmp_path / "out")
    files = {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()} - {".hidden"}
    assert files <= {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")}
    expected = vectors(pair, 0, TEXTS)
    shutil.rmtree(base)
    np.testing.assert_allclose(vectors(pair_of(tmp_path / "out", "text", "text"), 0, TEXTS), expected, atol=1e-6)


def test_a_model_of_another_library_is_refused(tmp_path):
    tiny_bert(tmp_path / "base")
    pair = pair_of(tmp_path / "base", "text", "text")
    object.__setattr__(pair.towers[0].loaded, "model", torch.nn.Linear(1, 1))
    with pytest.raises(ConfigError, match="got Linear"):
        save_pair(pair, tmp_path)
    forget_loaded()
