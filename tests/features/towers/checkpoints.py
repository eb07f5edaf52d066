"""Small random checkpoints, saved as their libraries save them."""

import json
from pathlib import Path

import torch

TINY_VIT = {
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
TINY_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 24,
    "vocab_size": 30522,
}
OPEN_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def save_open_clip(folder, *, weights=True, seed=0, **preprocess):
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": OPEN_CLIP, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    state = CLIP(**OPEN_CLIP).state_dict()
    if weights:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "open_clip_model.safetensors")
    return folder


def save_hf(folder, model, *parts):
    folder.mkdir(parents=True, exist_ok=True)
    for part in (model, *parts):
        part.save_pretrained(folder)
    return folder


def bert_tokenizer(minilm: Path, length=24):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm, model_max_length=length)


def save_bert(folder, minilm, **changes):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    model = BertModel(BertConfig(**(TINY_TEXT | changes)))
    return save_hf(folder, model, bert_tokenizer(minilm))


def save_clip(folder, minilm):
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(0)
    ends = {"bos_token_id": 101, "eos_token_id": 102, "pad_token_id": 0}
    config = CLIPConfig(text_config=TINY_TEXT | ends, vision_config=TINY_VIT, projection_dim=16)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    return save_hf(folder, CLIPModel(config), CLIPImageProcessor(**sizes), bert_tokenizer(minilm))


def save_siglip(folder, minilm):
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(0)
    config = SiglipConfig(text_config=TINY_TEXT, vision_config=TINY_VIT)
    processor = SiglipImageProcessor(size={"height": 32, "width": 32})
    return save_hf(folder, SiglipModel(config), processor, bert_tokenizer(minilm))


def save_dinov2(folder):
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    model = Dinov2Model(Dinov2Config(**(TINY_VIT | {"mlp_ratio": 2})))
    sizes = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    return save_hf(folder, model, BitImageProcessor(**sizes))


def save_vit(folder, *, pooler=True):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(**TINY_VIT)
    model = ViTModel(config) if pooler else ViTForImageClassification(config)
    return save_hf(folder, model, ViTImageProcessor(size={"height": 32, "width": 32}))
