"""The pipeline with raw content: encoders of items and users, missing modalities, and the encode step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from graphrec.config import ConfigError
from graphrec.data.catalog import Catalog
from graphrec.features.tables import FeatureConfig
from graphrec.graph.build import GraphConfig
from graphrec.pipeline import RunConfig, fit, load
from graphrec.pipeline.encode import encode
from graphrec.pipeline.prepare import prepare
from graphrec.testing import block_data

FAST = {"max_epochs": 2, "batch_size": 64, "metric": "Recall@5"}


@pytest.fixture
def data():
    """Returns block data with words about items and users, some of them absent."""
    blocks = block_data()
    words = [f"block {block} word" if row % 4 else None for row, block in enumerate(blocks.truth.item)]
    about = [f"user of block {block}" if row % 3 else None for row, block in enumerate(blocks.truth.user)]
    items = Catalog(blocks.split.items, pd.DataFrame({"text": words}, dtype=object))
    people = Catalog(blocks.split.users, pd.DataFrame({"text": about, "age": range(len(about))}, dtype=object))
    return replace(blocks, items=items, people=people, vectors={})


def test_what_users_are_becomes_nodes_of_the_graph(data):
    features = {"user_encoders": {"text": "light", "age": {"encoder": "numeric", "options": {"waves": 4}}}}
    run = fit("hetero-lightgcn", data, training=FAST, graph={"neighbors": 3}, features=features)
    nodes = run.graph["user_text"]
    assert nodes.user_id.tolist() == np.flatnonzero(data.people.present("text")).tolist()
    assert run.graph["user_age"].num_nodes == data.num_users
    assert ("user", "has_user_text", "user_text") in run.graph.edge_types


def test_a_run_is_the_same_whatever_batches_and_store_its_vectors_come_from(data, tmp_path, minilm):
    places = []
    for batch_size in (1, 16):
        encoding = {"store": tmp_path / str(batch_size), "batch_size": batch_size}
        encoders = {"text": {"encoder": f"path:{minilm}"}}
        features = FeatureConfig.parse({"encoders": encoders, "encoding": encoding})
        places.append(prepare(data, features, GraphConfig(neighbors=3)))
    first, second = places
    np.testing.assert_allclose(first.tables["text"].values, second.tables["text"].values, atol=1e-5)
    assert first.identity == second.identity
    other = replace(data, items=Catalog(data.split.items, data.items.frame.assign(text=data.items.frame["text"] + "!")))
    assert prepare(other, features, GraphConfig(neighbors=3)).identity != first.identity


def test_a_loaded_run_with_made_up_nodes_matches_and_users_recommends_the_same(data, tmp_path):
    words = [text and text.replace("word", "thing") for text in data.items.values("text")]
    frame = data.items.frame.assign(words_text=pd.Series(words, dtype=object))
    data = replace(data, items=Catalog(data.split.items, frame))
    space = {"encoder": "tests.features.fake_tower:SharedSpace"}
    features = {
        "encoders": {"text": space, "words_text": {**space, "columns": ["words_text"]}},
        "user_encoders": {"text": "light"},
    }
    graph = {"neighbors": 3, "matches": 2, "missing": {"text": "propagate", "words_text": "token"}, "user_neighbors": 3}
    models = {"hetero-lightgcn": ({"user_relations": None}, FAST), "collective-ease": ({"modalities": ["text"]}, {})}
    for model, (options, training) in models.items():
        settings = {"config": options, "training": training, "graph": graph, "features": features}
        run = fit(model, data, folder=tmp_path / model, **settings)
        again = load(tmp_path / model)
        users = list(data.split.users.index[:8])
        pd.testing.assert_frame_equal(again.recommend(users, k=5), run.recommend(users, k=5))
        if model == "hetero-lightgcn":
            assert {"text_matches_words_text", "user_text"} <= set(run.model.coupling)
            assert again.graph["words_text"].token.any()


def test_a_dropped_item_leaves_training_but_not_the_mask(data):
    features = FeatureConfig(modalities=("text",))
    prepared = prepare(data, features, GraphConfig(neighbors=3, missing={"text": "drop"}))
    present = data.items.present("text")
    assert present[prepared.split(refit=False).train.item].all()
    assert present[prepared.split(refit=True).train.item].all()
    assert len(prepared.data.split.train) == len(data.split.train) > len(prepared.split(refit=False).train)
    assert len(prepared.split(refit=True).train) > len(prepared.split(refit=False).train)
    (note,) = prepared.data.notes
    assert note.startswith("items without text dropped from training: ")


def test_a_run_with_dropped_items_recommends_nothing_that_was_met(data):
    run = fit("lightgcn", data, training=FAST, graph={"neighbors": 3, "missing": "drop", "modalities": ["text"]})
    met = data.split.train.to_frame().groupby("user")["item"].agg(set)
    users = list(met.index[:6])
    for user, group in run.recommend(users, k=20).groupby("user"):
        assert not met[user] & set(group["item"])
    with torch.no_grad():
        assert run.model.score(torch.arange(3)).isfinite().all()


def test_how_towers_are_run_is_no_part_of_what_a_run_is():
    values = {"model": {"name": "lightgcn"}}
    plain = RunConfig.parse(values).fingerprint()
    assert RunConfig.parse(values | {"features": {"encoding": {"workers": 3, "batch_size": 7}}}).fingerprint() == plain
    assert RunConfig.parse(values | {"features": {"encoders": {"text": "light"}}}).fingerprint() != plain


def test_encode_yields_every_modality_made_from_content(data):
    config = FeatureConfig(user_encoders={"age": "numeric"})
    found = {entry.name: entry for entry in encode(data, config)}
    assert list(found) == ["text", "user_age"]
    assert len(found["text"].table.rows) == data.items.present("text").sum()
    bare = replace(data, items=Catalog.empty(data.split.items))
    with pytest.raises(ConfigError, match="expected something to encode in 'blocks'"):
        list(encode(bare))
