"""Interactions, what items and users are, readers, splits and data cards: everything before the first vector."""

from graphrec.data.cards import (
    Counts,
    DatasetCard,
    Recipe,
    card_names,
    find_card,
    find_folder,
    load_card,
    read_card,
    verify,
)
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Split, Vectors, check_disjoint, concatenate
from graphrec.data.interactions import Ids, Interactions
from graphrec.data.lightgcn import LightGCNOptions, read_lightgcn
from graphrec.data.mmrec import ContentFile, FeatureFile, MMRecOptions, read_mmrec
from graphrec.data.movielens import MovieLensOptions, read_movielens_100k
from graphrec.data.prepare import prepare_dataset
from graphrec.data.raw import RawData
from graphrec.data.sources import describe, from_dataframe, load_dataset, read_table
from graphrec.data.splits import (
    SPLITS,
    SplitConfig,
    cold_item,
    given,
    hold_out_valid,
    leave_one_out,
    random_mmrec,
    random_ratio,
    temporal_global,
    temporal_user,
)

__all__ = [
    "SPLITS",
    "Catalog",
    "ContentFile",
    "Counts",
    "Dataset",
    "DatasetCard",
    "FeatureFile",
    "Ids",
    "Interactions",
    "LightGCNOptions",
    "MMRecOptions",
    "MovieLensOptions",
    "RawData",
    "Recipe",
    "Split",
    "SplitConfig",
    "Vectors",
    "card_names",
    "check_disjoint",
    "cold_item",
    "concatenate",
    "describe",
    "find_card",
    "find_folder",
    "from_dataframe",
    "given",
    "hold_out_valid",
    "leave_one_out",
    "load_card",
    "load_dataset",
    "prepare_dataset",
    "random_mmrec",
    "random_ratio",
    "read_card",
    "read_lightgcn",
    "read_mmrec",
    "read_movielens_100k",
    "read_table",
    "temporal_global",
    "temporal_user",
    "verify",
]
