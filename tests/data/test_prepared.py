from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from graphrec.config import ConfigError
from graphrec.data.catalog import Catalog
from graphrec.data.dataset import Split, Vectors
from graphrec.data.interactions import Ids
from graphrec.data.prepared import PreparedOptions, read_prepared, write_prepared
from graphrec.data.sources import from_dataframe
from graphrec.data.synthetic import generate


def frame(kind=str, num_users=15, num_items=12, repeated=False):
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((num_users, num_items)) < 0.7)
    columns = {"user": [kind(n) for n in user], "item": [kind(n + 100) for n in item]}
    rows = pd.DataFrame(columns | {"time": rng.integers(0, 10**9, len(user))})
    return pd.concat([rows, rows[:5]]) if repeated else rows


def same(first, second):
    assert first.split.users == second.split.users
    assert first.split.items == second.split.items
    for one, other in zip(
        (first.split.train, first.split.valid, first.test),
        (second.split.train, second.split.valid, second.test),
        strict=True,
    ):
        for field in ("user", "item", "weight", "time"):
            mine, its = getattr(one, field), getattr(other, field)
            assert (mine is None) == (its is None), field
            assert mine is None or (mine.dtype == its.dtype and (mine == its).all()), field
    assert first.fingerprint() == second.fingerprint()
    for mine, its in ((first.items, second.items), (first.people, second.people)):
        assert mine.columns == its.columns
        assert [mine.values(name) for name in mine.columns] == [its.values(name) for name in its.columns]


@pytest.mark.parametrize("kind", [str, int])
@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("split", ["mmrec", "leave-one-out", "cold-item"])
def test_a_data_set_comes_back_as_it_was(tmp_path, kind, repeated, split):
    data = from_dataframe(
        frame(kind, repeated=repeated),
        time="time",
        split=split,
        features={
            "audio": {kind(101): [1.0, 2.0], kind(100): [3.0, 4.0]},
            "text": {kind(100): "a", kind(777): "ü, 漢"},
        },
        user_features={"survey": {kind(3): [1, 2]}},
        items=pd.DataFrame({"year": [1999, None], "tags": [["a", "b"], None]}, index=[kind(100), kind(101)]),
        people=pd.DataFrame({"age": [30], "member": [True]}, index=[kind(2)]),
    )
    back = read_prepared(tmp_path, write_prepared(tmp_path, data), name=data.name)
    same(data, back)
    assert back.vectors["audio"].ids.index.tolist() == [kind(101), kind(100)]
    assert back.user_vectors["survey"].values.tolist() == [[1, 2]]
    assert isinstance(back.split.users.index[0], (int, np.integer)) == (kind is int)


def test_notes_neighbours_and_dates_come_back(tmp_path):
    rows = frame().assign(time=lambda rows: pd.to_datetime(rows["time"], unit="s"))
    data = from_dataframe(rows, time="time", split="temporal-user")
    graph = sp.csr_array(np.eye(data.num_items, dtype=np.float32)[::-1])
    data = replace(data, neighbors={"image": graph}, notes=("a label",))
    back = read_prepared(tmp_path, write_prepared(tmp_path, data), name=data.name)
    same(data, back)
    assert back.notes == ("a label",)
    assert (back.neighbors["image"] != graph).nnz == 0


def test_weights_of_one_part_alone_come_back(tmp_path):
    data = from_dataframe(frame())
    train = data.split.train
    weighted = replace(train, weight=np.arange(1, len(train) + 1, dtype=np.float32))
    data = replace(data, split=Split(weighted, data.split.valid))
    same(data, read_prepared(tmp_path, write_prepared(tmp_path, data), name=data.name))


def test_pictures_are_found_from_the_folder(tmp_path):
    data = from_dataframe(frame(), features={"image": {"100": Path("raw/100.jpg"), "101": Path("/far/101.jpg")}})
    back = read_prepared(tmp_path, write_prepared(tmp_path, data))
    images = dict(zip(back.split.items.index, back.items.values("image"), strict=True))
    assert images["100"] == tmp_path / "raw" / "100.jpg"
    assert images["101"] == Path("/far/101.jpg")
    assert images["102"] is None
    assert back.name == tmp_path.name


def test_the_synthetic_catalogue_comes_back(tmp_path):
    data = generate(500)
    same(replace(data, truth=None), read_prepared(tmp_path, write_prepared(tmp_path, data), name=data.name))


def test_modalities_can_be_chosen(tmp_path):
    data = from_dataframe(frame(), features={name: {"100": [1.0]} for name in ("audio", "image")})
    options = write_prepared(tmp_path, data)
    assert options.vectors == ("audio", "image")
    assert list(read_prepared(tmp_path, options.choose(["image"])).vectors) == ["image"]
    assert PreparedOptions.parse(options.model_dump(mode="json")) == options
    with pytest.raises(ConfigError, match="unknown features 'imag': did you mean 'image'"):
        options.choose(["imag"])


def test_values_of_mixed_types_become_texts(tmp_path):
    data = from_dataframe(frame())
    mixed = Catalog.from_columns(data.split.items, {"size": {"100": 1, "101": "large"}})
    data = replace(data, items=mixed)
    back = read_prepared(tmp_path, write_prepared(tmp_path, data))
    assert back.items.values("size")[:3] == ["1", "large", None]


@pytest.mark.parametrize("kind", [lambda n: n if n % 2 else str(n), float])
def test_ids_that_a_column_cannot_hold_are_refused(tmp_path, kind):
    with pytest.raises(ValueError, match=r"all integers or all texts, got (float|int, str); make them texts"):
        write_prepared(tmp_path, from_dataframe(frame(kind)))


def test_a_column_with_the_name_of_the_ids_is_refused(tmp_path):
    data = from_dataframe(frame(), items=pd.DataFrame({"item": ["x"]}, index=["100"]))
    with pytest.raises(ValueError, match="expected no catalogue column 'item'"):
        write_prepared(tmp_path, data)


def test_ratings_are_written_beside(tmp_path):
    rows = frame().assign(rating=lambda rows: np.arange(len(rows)) / 2)
    write_prepared(tmp_path, from_dataframe(rows), rating=rows)
    written = pd.read_parquet(tmp_path / "interactions.parquet").merge(rows, on=["user", "item"])
    assert len(written) == len(rows)
    assert (written["rating_x"] == written["rating_y"]).all()


def test_damaged_folders_are_explained(tmp_path):
    options = write_prepared(tmp_path, from_dataframe(frame(), features={"audio": {"100": [1.0]}}))
    vectors = Vectors(Ids(["100"]), np.ones((1, 1)))
    np.save(tmp_path / "audio.npy", np.ones((2, 1)))
    with pytest.raises(ValueError, match="expected 1 feature rows"):
        read_prepared(tmp_path, options)
    np.save(tmp_path / "audio.npy", vectors.values)
    whole = (tmp_path / "items.parquet").read_bytes()
    (tmp_path / "items.parquet").write_bytes(whole[:50])
    with pytest.raises(ValueError, match=r"cannot read .*items\.parquet"):
        read_prepared(tmp_path, options)
    (tmp_path / "items.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"items\.parquet"):
        read_prepared(tmp_path, options)
