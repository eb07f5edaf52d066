"""Features: vectors aligned to items and users, and the encoders that make them from raw content.

For example::

tower = get_tower("hf:sentence-transformers/all-MiniLM-L6-v2", "text")
found = encode(tower, ["a red chair", "an oak table"], store=Store())
found.vectors
"""

from graphrec.features.choice import EncoderConfig, EncodingConfig, get_encoder
from graphrec.features.encoder import Encoded, Encoder, Tower, UnreadableError
from graphrec.features.engine import StoredEncoder, encode
from graphrec.features.finetuning.finetune import FinetuneConfig, FinetuneResult, finetune
from graphrec.features.finetuning.retrieval import retrieval
from graphrec.features.store.store import Store
from graphrec.features.table import FeatureTable
from graphrec.features.tables import FeatureConfig, feature_tables, user_feature_tables
from graphrec.features.towers.checkpoint import get_tower

__all__ = [
    "Encoded",
    "Encoder",
    "EncoderConfig",
    "EncodingConfig",
    "FeatureConfig",
    "FeatureTable",
    "FinetuneConfig",
    "FinetuneResult",
    "Store",
    "StoredEncoder",
    "Tower",
    "UnreadableError",
    "encode",
    "feature_tables",
    "finetune",
    "get_encoder",
    "get_tower",
    "retrieval",
    "user_feature_tables",
]
