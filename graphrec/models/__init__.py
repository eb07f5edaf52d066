"""Models: ``base.py`` is the contract, then one paper is one file."""

from __future__ import annotations

from graphrec.config import resolve
from graphrec.models.base import Recommender

MODELS: dict[str, str] = {
    "popularity": "graphrec.models.popularity:Popularity",
    "item-knn": "graphrec.models.item_knn:ItemKNN",
    "ease": "graphrec.models.ease:EASE",
    "add-ease": "graphrec.models.ease_content:AddEASE",
    "collective-ease": "graphrec.models.ease_content:CollectiveEASE",
    "l3ae": "graphrec.models.ease_content:L3AE",
    "mf": "graphrec.models.mf:MF",
    "lightgcn": "graphrec.models.lightgcn:LightGCN",
    "vbpr": "graphrec.models.vbpr:VBPR",
    "freedom": "graphrec.models.freedom:FREEDOM",
    "hetero-lightgcn": "graphrec.models.hetero_lightgcn:HeteroLightGCN",
}


def get_model(name: str) -> type[Recommender]:
    """Returns the model class of that name, or of ``"package.module:Class"``.

    Raises:
        ConfigError: If there is none.
    """
    found: type[Recommender] = resolve(name, MODELS, kind="model")
    return found
