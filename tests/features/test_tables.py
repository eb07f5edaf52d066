import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from graphrec.config import Config, ConfigError
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Dataset, Split, Vectors
from graphrec.data.drawing import Look
from graphrec.data.interactions import Ids, Interactions
from graphrec.features.choice import EncodingConfig
from graphrec.features.encoder import UnreadableError
from graphrec.features.image import LightImageEncoder
from graphrec.features.tables import FeatureConfig, feature_tables, get_encoder, user_feature_tables
from graphrec.features.text import LightTextEncoder
from graphrec.features.towers import checkpoint

ITEMS = Ids(["a", "b", "c", "d"], name="item")
USERS = Ids(["u", "v"], name="user")
LOOKS = [Look(colour, "star", "dots", 1) for colour in ("red", "green", "blue")]


class Lengths(Config):
    """The length of a text, repeated."""

    dim: int = 1

    @property
    def name(self):
        return f"lengths({self.dim})"

    def encode(self, values):
        return np.array([[len(value)] * self.dim for value in values], np.float32)


def interactions(*pairs):
    user, item = np.array(pairs, np.int64).reshape(-1, 2).T
    return Interactions(user, item, USERS, ITEMS)


def dataset(columns=None, **content):
    frame = pd.DataFrame(columns or {}, index=range(4), dtype=object)
    split = Split(interactions((0, 0), (1, 1)), interactions())
    return Dataset("toy", split, interactions((0, 2)), Catalog(ITEMS, frame), Catalog.empty(USERS), **content)


@pytest.fixture
def pictures(tmp_path):
    return [look.save(tmp_path) for look in LOOKS]


TEXTS = ["oak table", None, "steel lamp", "oak lamp"]


def test_columns_are_encoded_and_absent_values_stay_absent(pictures):
    tables = feature_tables(dataset({"text": TEXTS, "image": [None, *pictures], "price": [1, 2, 3, 4]}))
    assert list(tables) == ["image", "text"]
    np.testing.assert_array_equal(tables["text"].rows, [0, 2, 3])
    np.testing.assert_array_equal(tables["image"].rows, [1, 2, 3])
    expected = LightTextEncoder().encode([TEXTS[row] for row in (0, 2, 3)])
    np.testing.assert_array_equal(tables["text"].values, expected)
    np.testing.assert_array_equal(tables["image"].values, LightImageEncoder().encode(pictures))
    assert tables["text"].source == LightTextEncoder().name


def test_given_vectors_are_aligned_and_come_before_columns():
    given = Vectors(Ids(["d", "a"]), np.array([[4.0, 4.0], [1.0, 1.0]]))
    table = feature_tables(dataset({"text": TEXTS}, vectors={"text": given}))["text"]
    np.testing.assert_array_equal(table.rows, [0, 3])
    np.testing.assert_array_equal(table.values, [[1, 1], [4, 4]])
    assert table.source == "given"


def test_a_modality_of_neighbours_only_has_no_table():
    neighbors = {"text": sp.csr_array((4, 4), dtype=np.float32)}
    assert feature_tables(dataset({"text": TEXTS}, neighbors=neighbors)) == {}


def test_given_encoders_come_first_and_may_take_any_column():
    given = Vectors(Ids(["a"]), np.ones((1, 2)))
    data = dataset({"text": TEXTS, "title": ["x", "yy", "zzz", None]}, vectors={"text": given})
    tables = feature_tables(data, {"text": Lengths(), "title": Lengths(dim=2)})
    np.testing.assert_array_equal(tables["text"].values, [[9], [10], [8]])
    np.testing.assert_array_equal(tables["title"].values, [[1, 1], [2, 2], [3, 3]])


def test_columns_without_values_and_data_without_content_give_nothing():
    assert feature_tables(dataset({"text": [None] * 4})) == {}
    assert feature_tables(dataset()) == {}


def test_an_encoder_for_an_unknown_column_is_refused():
    with pytest.raises(ConfigError, match="unknown catalogue column 'txet': did you mean 'text'"):
        feature_tables(dataset({"text": TEXTS}), {"txet": Lengths()})


def test_vectors_of_unknown_items_are_refused():
    with pytest.raises(ValueError, match="1 unknown ids: 'z'"):
        feature_tables(dataset(vectors={"image": Vectors(Ids(["a", "z"]), np.ones((2, 3)))}))


def test_broken_pictures_become_absent_with_one_warning_naming_their_ids(pictures, tmp_path, caplog):
    (tmp_path / "broken.png").write_text("no picture")
    data = dataset({"image": [pictures[0], tmp_path / "broken.png", pictures[1], str(tmp_path / "gone.png")]})
    with caplog.at_level(logging.WARNING, logger="graphrec"):
        table = feature_tables(data)["image"]
    np.testing.assert_array_equal(table.rows, [0, 2])
    np.testing.assert_array_equal(table.values, LightImageEncoder().encode(pictures[:2]))
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert message.startswith("2 value(s) of 'image' cannot be read and count as absent: 'b': ")
    assert "broken.png" in message
    assert "'d': " in message
    assert "gone.png' (no such file)" in message
    assert data.items.present("image").all()


def test_broken_pictures_raise_when_strict_or_when_an_encoder_that_was_asked_for_finds_none(pictures, tmp_path, caplog):
    gone = tmp_path / "gone.png"
    with pytest.raises(UnreadableError, match=r"gone\.png"):
        feature_tables(dataset({"image": [*pictures, gone]}), strict=True)
    broken = dataset({"image": [gone, None, None, None], "text": TEXTS})
    with pytest.raises(UnreadableError, match=r"gone\.png"):
        feature_tables(broken, {"image": LightImageEncoder()})
    for config in (FeatureConfig(encoders={"image": "light"}), FeatureConfig(modalities=("image",))):
        with pytest.raises(UnreadableError, match=r"gone\.png.*leave it out of features\.modalities"):
            config.tables(broken)
    assert list(feature_tables(broken)) == list(FeatureConfig().tables(broken)) == ["text"]
    assert "image is left out: expected readable values, got 1 that cannot be read: 'a': " in caplog.text


def test_user_vectors_are_aligned_to_the_users_under_their_own_names():
    given = Vectors(Ids(["v"]), np.array([[2.0]]))
    tables = user_feature_tables(dataset(user_vectors={"text": given, "image": given}))
    assert list(tables) == ["user_image", "user_text"]
    assert tables["user_text"].ids == USERS
    np.testing.assert_array_equal(tables["user_text"].rows, [1])
    assert user_feature_tables(dataset()) == {}


@pytest.mark.parametrize(("modality", "expected"), [("text", LightTextEncoder), ("image", LightImageEncoder)])
def test_light_means_the_built_in_encoder_of_the_modality(modality, expected):
    encoder = get_encoder("light", modality=modality, dim=7)
    assert encoder == expected(dim=7)
    assert get_encoder(f"light-{modality}", modality="title", dim=7) == encoder


def test_unknown_encoders_are_refused_with_a_hint():
    with pytest.raises(ConfigError, match="unknown encoder 'ligth-text': did you mean 'light-text'"):
        get_encoder("ligth-text", modality="text")
    with pytest.raises(ConfigError, match=r"modality with a light encoder \(image, text\), got 'audio'"):
        get_encoder("light", modality="audio")
    with pytest.raises(ConfigError, match="cannot import encoder 'no_such_module:Thing'"):
        get_encoder("no_such_module:Thing", modality="text")
    with pytest.raises(
        ConfigError, match=r"cannot import encoder 'opn_clip:a/b'.*; a tower begins with one of .*open_clip:"
    ):
        get_encoder("opn_clip:a/b", modality="image")
    with pytest.raises(ConfigError, match=r"os\.path:join: expected a class that takes dim and these options: "):
        get_encoder("os.path:join", modality="text")


def test_an_unknown_device_is_refused_before_a_tower_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match=r"encoding\.device: expected 'auto', 'cpu' or a device like 'cuda:0'"):
        get_encoder(f"path:{tmp_path}", modality="text", encoding=EncodingConfig(device="foo"))


def test_numbers_and_lists_are_written_out_for_an_encoder_of_texts():
    data = dataset({"year": [1984, 2001.0, None, "1984"], "tags": [["oak", "table"], ["oak"], None, ["lamp"]]})
    tables = FeatureConfig(encoders={"year": "light-text", "tags": "light-text"}).tables(data)
    assert tables["year"].rows.tolist() == [0, 1, 3]
    np.testing.assert_array_equal(tables["year"].values, LightTextEncoder().encode(["1984", "2001", "1984"]))
    np.testing.assert_array_equal(tables["tags"].values, LightTextEncoder().encode(["oak, table", "oak", "lamp"]))


def test_values_of_a_type_that_an_encoder_cannot_take_are_one_error_that_names_the_column():
    with pytest.raises(ConfigError, match=r"image from 'price': expected a path or a PIL image, got int"):
        FeatureConfig(encoders={"image": {"encoder": "light", "columns": ["price"]}}).tables(
            dataset({"price": [1, 2, 3, 4]})
        )


def test_encoders_from_outside_and_prefixes_plug_in(monkeypatch):
    encoder = get_encoder("graphrec.features.text:LightTextEncoder", modality="title", dim=3)
    assert encoder == LightTextEncoder(dim=3)
    monkeypatch.setitem(checkpoint.TOWERS, "made", "types:SimpleNamespace")
    monkeypatch.setattr("types.SimpleNamespace", lambda *given: given)
    encoder = get_encoder({"encoder": "made:up/by:us", "options": {"a": 1}}, modality="title_text")
    assert encoder.tower == ("up/by:us", "text", {"a": 1}, "auto", "auto")


def test_the_config_chooses_modalities_encoders_and_length(pictures):
    data = dataset({"text": TEXTS, "image": [*pictures, None], "title": TEXTS})
    assert list(FeatureConfig().tables(data)) == ["image", "text"]
    assert list(FeatureConfig(modalities=("text",)).tables(data)) == ["text"]
    assert FeatureConfig(modalities=()).tables(data) == {}
    chosen = FeatureConfig(encoders={"title": "light-text"}, dim=2)
    tables = chosen.tables(data)
    assert list(tables) == ["image", "text", "title"]
    assert tables["title"].dim == 2
    assert FeatureConfig.parse(chosen.model_dump()) == chosen


def test_a_modality_may_be_made_from_other_columns(pictures):
    texts = {"title": ["oak table", "lamp", None, None], "brand": ["Ash", None, "Elm", None]}
    data = dataset({**texts, "x": [1, 2, 3, None], "y": [4, 5, 6, None]})
    encoders = {
        "about": {"encoder": "light-text", "columns": ["title", "brand"]},
        "label": {"encoder": "light-text", "template": "{title}[ by {brand}]"},
        "numbers": {"encoder": "numeric", "columns": ["x"]},
        "place": {"encoder": "place", "columns": ["x", "y"]},
    }
    tables = FeatureConfig(encoders=encoders).tables(data)
    assert {name: table.rows.tolist() for name, table in tables.items()} == {
        "about": [0, 1, 2], "label": [0, 1, 2], "numbers": [0, 1, 2], "place": [0, 1, 2]
    }  # fmt: skip
    expected = LightTextEncoder().encode(["oak table\nAsh", "lamp", "Elm"])
    np.testing.assert_array_equal(tables["about"].values, expected)
    np.testing.assert_array_equal(
        tables["label"].values, LightTextEncoder().encode(["oak table by Ash", "lamp", "by Elm"])
    )
    with pytest.raises(ConfigError, match="a template, which names its columns, or columns, got both"):
        FeatureConfig.parse({"encoders": {"text": {"encoder": "light", "columns": ["title"], "template": "{title}"}}})


def test_users_are_encoded_alike():
    people = Catalog(USERS, pd.DataFrame({"text": ["likes oak", None], "age": [3, 5]}, dtype=object))
    data = replace(dataset(), people=people)
    config = FeatureConfig(user_encoders={"text": "light", "age": "numeric"})
    tables = config.user_tables(data)
    assert list(tables) == ["user_age", "user_text"]
    assert tables["user_text"].rows.tolist() == [0]
    np.testing.assert_allclose(tables["user_age"].values, [[-1], [1]])
    with pytest.raises(ConfigError, match="unknown catalogue column 'sex'"):
        FeatureConfig(user_encoders={"sex": "categorical"}).user_tables(data)


def test_what_cannot_be_read_of_users_is_named_by_modality_and_user(caplog):
    people = Catalog(USERS, pd.DataFrame({"lat": [1.5, None], "lon": [2.5, 3.5]}, dtype=object))
    config = FeatureConfig(user_encoders={"place": {"encoder": "place", "columns": ["lat", "lon"]}})
    assert config.user_tables(replace(dataset(), people=people))["user_place"].rows.tolist() == [0]
    assert "1 value(s) of 'user_place' cannot be read" in caplog.text
    assert "'v': (None, 3.5) (expected latitude and longitude, got no latitude)" in caplog.text


def test_the_kind_of_a_tower_is_named_where_the_modality_does_not_say_it(tmp_path):
    with pytest.raises(ConfigError, match="expected kind: text, image, audio, video beside the encoder of 'cover'"):
        get_encoder(f"path:{tmp_path}", modality="cover")


def test_the_config_does_not_read_what_is_not_chosen(tmp_path):
    data = dataset({"text": TEXTS, "image": [tmp_path / "gone.png"] * 4})
    assert list(FeatureConfig(modalities=["text"], strict=True).tables(data)) == ["text"]
    with pytest.raises(UnreadableError):
        FeatureConfig(strict=True).tables(data)


def test_a_modality_of_neighbours_may_be_chosen():
    data = dataset({"text": TEXTS}, neighbors={"image": sp.csr_array((4, 4), dtype=np.float32)})
    assert list(FeatureConfig(modalities=("image", "text")).tables(data)) == ["text"]


def test_unknown_modalities_and_columns_in_the_config_are_refused():
    data = dataset({"text": TEXTS, "title": TEXTS})
    with pytest.raises(ConfigError, match="unknown modality 'texts': did you mean 'text'"):
        FeatureConfig(modalities=("texts",)).tables(data)
    with pytest.raises(ConfigError, match="unknown catalogue column 'titel': did you mean 'title'"):
        FeatureConfig(modalities=("text",), encoders={"titel": "light-text"}).tables(data)
    with pytest.raises(ConfigError, match="unknown key 'modality'"):
        FeatureConfig.parse({"modality": ["text"]})


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{titel}", "template of 'text': unknown column 'titel': did you mean 'title'"),
        ("no column", "template of 'text': expected columns in braces"),
    ],
)
def test_a_wrong_template_is_an_error_of_the_configuration(template, reason):
    config = FeatureConfig.parse({"encoders": {"text": {"encoder": "light", "template": template}}})
    with pytest.raises(ConfigError, match=reason):
        config.tables(dataset({"title": ["a", "b", "c", "d"]}))


def test_a_wrong_setting_of_an_encoder_is_an_error_of_the_configuration():
    with pytest.raises(ConfigError, match="text: unknown key 'colums': did you mean 'columns'"):
        get_encoder({"encoder": "light", "colums": ["a"]}, modality="text")


def test_columns_of_files_that_nothing_reads_are_named(caplog):
    data = dataset({"text": TEXTS, "audio": ["a.wav", None, None, None]})
    with caplog.at_level(logging.INFO, logger="graphrec"):
        assert list(FeatureConfig().tables(data)) == ["text"]
    assert "no encoder reads the column 'audio'; name one: features.encoders.audio=hf:… or path:…" in caplog.text
