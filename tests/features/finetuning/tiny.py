"""Small random checkpoints saved as users have theirs, and pairs that can be learned."""

import itertools
import json

import torch

from graphrec.data.drawing import COLOURS, MATERIALS, SHAPES, STYLES, TOPICS, Look

WORDS = {"plain": "plain", "dots": "dotted"}
CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 24, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def tiny_clip(folder, **changes):
    """Saves a CLIP of open_clip with two layers and returns its name."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder.mkdir()
    config = CLIP | changes
    model = open_clip.CLIP(**json.loads(json.dumps(config)))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    values = {"model_cfg": config, "preprocess_cfg": {"size": 24}}
    (folder / "open_clip_config.json").write_text(json.dumps(values))
    return f"path:{folder}"


def tiny_bert(folder):
    """Saves a BERT of one layer, whose tokens are words, and returns its name."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = sorted({word for pair in text_pairs() for text in pair for word in text.split()})
    vocabulary = {word: row for row, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return f"path:{folder}"


def caption_pairs(folder):
    """Returns pictures of 72 looks in four variants each, with a caption that names what can be seen."""
    looks = [Look(*parts) for parts in itertools.product(COLOURS, SHAPES, WORDS, (0, 3, 5, 6))]
    return [(look.save(folder), f"a {look.colour} {WORDS[look.pattern]} {look.shape}") for look in looks]


def text_pairs():
    """Returns titles with descriptions that say the same in other words, 144 of each."""
    chosen = itertools.product(TOPICS.values(), MATERIALS.values(), STYLES.values())
    return [(f"{a[0]} {b[0]} {c[0]}", f"for {a[1]} of {b[1]} in a {c[1]} finish") for a, b, c in chosen]
