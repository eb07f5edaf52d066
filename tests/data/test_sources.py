from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from graphrec.config import ConfigError, dump_yaml
from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids
from graphrec.data.sources import describe, from_dataframe, load_dataset, read_table
from graphrec.data.splits import SplitConfig
from graphrec.features.table import FeatureTable


def frame(num_users=12, num_items=15, seed=0):
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((num_users, num_items)) < 0.7)
    order = rng.permutation(len(user))
    columns = {"user": [f"u{n:02}" for n in user[order]], "item": [f"i{n:02}" for n in item[order]]}
    return pd.DataFrame(columns | {"stars": rng.integers(1, 6, len(user)), "when": rng.integers(0, 99, len(user))})


def pairs(interactions):
    return set(interactions.to_frame()[["user", "item"]].itertuples(index=False, name=None))


def all_pairs(dataset):
    return pairs(dataset.split.train) | pairs(dataset.split.valid) | pairs(dataset.test)


def test_default_split_is_eight_one_one_per_user_whatever_the_order():
    data, shuffled = from_dataframe(frame()), from_dataframe(frame().sample(frac=1, random_state=3))
    degree = data.split.train.user_degree() + data.split.valid.user_degree() + data.test.user_degree()
    assert (data.test.user_degree() == np.floor(degree * 0.1 + 0.5)).all()
    assert all_pairs(data) == set(frame()[["user", "item"]].itertuples(index=False, name=None))
    assert pairs(data.test) == pairs(shuffled.test)
    assert data.fingerprint() == shuffled.fingerprint()
    assert pairs(data.test) == pairs(from_dataframe(frame(), split=SplitConfig(name="random", seed=0)).test)


def test_thresholds_keep_high_ratings_and_drop_ids_left_without_any():
    data = from_dataframe(
        frame(), rating="stars", threshold=3, split="mmrec", features={"text": {"i00": "a", "new": "b"}}
    )
    good = frame()[frame()["stars"] >= 3]
    assert all_pairs(data) == set(good[["user", "item"]].itertuples(index=False, name=None))
    assert set(data.split.items.index) == {*good["item"], "new"}
    with pytest.raises(ValueError, match="got none; the highest is 5"):
        from_dataframe(frame(), rating="stars", threshold=7)
    with pytest.raises(ValueError, match="name the rating column"):
        from_dataframe(frame(), threshold=3)


def test_features_of_removed_ids_leave_and_of_new_ids_stay():
    rows = pd.concat([frame(), pd.DataFrame({"user": ["u00"], "item": ["rare"], "stars": [5], "when": [0]})])
    vectors = {item: [len(item)] for item in [*rows["item"].unique(), "cold"]}
    data = from_dataframe(rows, k_core=3, features={"audio": vectors})
    assert "rare" not in data.split.items
    assert "rare" not in data.vectors["audio"].ids
    assert data.split.train.item_degree()[data.split.items.rows(["cold"])] == 0
    assert FeatureTable.align(data.vectors["audio"], data.split.items).mask.all()
    with pytest.raises(ValueError, match="expected a 99-core with interactions, got none out of"):
        from_dataframe(rows, k_core=99)


def test_feature_rows_follow_their_ids_when_the_rows_are_shuffled():
    values = np.random.default_rng(0).random((15, 4)).astype(np.float32)
    ids = [f"i{n:02}" for n in range(15)]
    order = np.random.default_rng(1).permutation(15)
    given = Vectors(Ids([ids[row] for row in order], name="item"), values[order])
    data = from_dataframe(frame().sample(frac=1, random_state=5), features={"image": given})
    table = FeatureTable.align(data.vectors["image"], data.split.items)
    for row, item in enumerate(ids):
        assert (table.dense()[data.split.items.rows([item])[0]] == values[row]).all()


def test_content_of_items_and_people():
    data = from_dataframe(
        frame(),
        features={"text": pd.Series({"i01": "red"}), "image": {"i02": Path("x.jpg")}},
        items=pd.DataFrame({"brand": ["b"]}, index=["i03"]),
        people=pd.DataFrame({"age": [30]}, index=["u05"]),
        user_features={"text": {"new": "hello", "u01": "hi"}, "survey": {"u00": [1, 2]}},
    )
    assert data.items.columns == ("brand", "text", "image")
    assert data.items.values("text")[data.split.items.rows(["i01"])[0]] == "red"
    assert data.people.values("age")[data.split.users.rows(["u05"])[0]] == 30
    assert "new" in data.split.users
    assert data.user_vectors["survey"].values.tolist() == [[1, 2]]


def test_features_can_be_columns_of_the_frame():
    rows = frame().assign(title=lambda rows: "item " + rows["item"], path=lambda rows: rows["item"] + ".jpg")
    rows.loc[rows["item"] == "i03", "title"] = None
    rows.loc[rows.index[rows["item"] == "i04"][0], "title"] = ""
    rows["home"] = rows["user"].map(len)
    data = from_dataframe(rows, features={"text": "title", "image": "path"}, user_features={"survey": "home"})
    ids = data.split.items.index.tolist()
    assert data.items.values("text") == [None if item == "i03" else f"item {item}" for item in ids]
    assert data.items.values("image") == [Path(f"{item}.jpg") for item in ids]
    assert data.user_vectors["survey"].values.tolist() == [[3]] * data.num_users


def test_columns_of_features_must_exist_and_agree():
    rows = frame().assign(title="same")
    with pytest.raises(ConfigError, match="unknown column 'titel': did you mean 'title'"):
        from_dataframe(rows, features={"text": "titel"})
    rows.loc[rows.index[rows["item"] == "i03"][0], "title"] = "other"
    with pytest.raises(ValueError, match="one value of the column 'title' for every item, got several for 'i03'"):
        from_dataframe(rows, features={"text": "title"})


def test_arrays_need_row_ids():
    with pytest.raises(ValueError, match="nothing says which row"):
        from_dataframe(frame(), features={"image": np.ones((15, 2))})
    numbered = frame().assign(item=lambda rows: rows["item"].str[1:].astype(int))
    assert from_dataframe(numbered, features={"image": np.ones((15, 2))}).vectors["image"].values.shape == (15, 2)


@pytest.mark.parametrize("names", [(0, 1, 2), ("train", "valid", "test")])
def test_a_column_can_say_the_split(names):
    labels = np.arange(len(frame())) % 3
    data = from_dataframe(frame().assign(part=[names[label] for label in labels]), split="part")
    for label, part in enumerate((data.split.train, data.split.valid, data.test)):
        expected = frame()[labels == label]
        assert pairs(part) == set(expected[["user", "item"]].itertuples(index=False, name=None))


def test_a_split_column_goes_with_a_threshold_but_not_with_a_core():
    rows = frame().assign(part=np.arange(len(frame())) % 3)
    data = from_dataframe(rows, rating="stars", threshold=4, split="part")
    expected = rows[(rows["stars"] >= 4) & (rows["part"] == 2)]
    assert pairs(data.test) == set(expected[["user", "item"]].itertuples(index=False, name=None))
    with pytest.raises(ValueError, match="expected no k_core with a split given by the column 'part'"):
        from_dataframe(rows, split="part", k_core=2)
    with pytest.raises(ValueError, match=r"labels .* got \['holdout'\] as well"):
        from_dataframe(rows.assign(part="holdout"), split="part")


def test_a_pair_in_two_given_parts_is_an_error():
    rows = pd.concat([frame().assign(part=np.arange(len(frame())) % 3), frame().head(1).assign(part=2)])
    with pytest.raises(ValueError, match=r"train and test to be disjoint, got 1 shared pairs, e.g. user 'u"):
        from_dataframe(rows, split="part")


def test_repeats_become_one_by_the_rule(caplog):
    rows = pd.concat([frame(), frame().head(4).assign(when=200)])
    data = from_dataframe(rows, time="when", name="shop")
    parts = (data.split.train, data.split.valid, data.test)
    assert sum(int((part.weight == 2).sum()) for part in parts) == 4
    assert sum(int((part.time == 200).sum()) for part in parts) == 4
    assert "shop: merged 4 repeated interactions into earlier ones (rule 'sum')" in caplog.text
    first = from_dataframe(rows, time="when", repeats="first")
    assert first.split.train.weight is None
    assert first.split.train.time.max() < 200


def test_splits_by_name():
    data = from_dataframe(frame(), time="when", split="temporal-global")
    assert data.split.train.time.max() < data.test.time.min()
    with pytest.raises(ConfigError, match=r"did you mean 'temporal-global'.*or the column"):
        from_dataframe(frame(), split="temporal-globl")
    with pytest.raises(ValueError, match="expected times"):
        from_dataframe(frame(), split="temporal-user")


def test_missing_columns_and_empty_frames():
    with pytest.raises(ValueError, match=r"missing \['item'\]; the columns are"):
        from_dataframe(frame().drop(columns="item"))
    with pytest.raises(ValueError, match="empty split"):
        from_dataframe(frame().head(0))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_tables_load_by_suffix(tmp_path, suffix):
    path = tmp_path / f"shop{suffix}"
    if suffix == ".parquet":
        frame().to_parquet(path)
    else:
        frame().to_csv(path, sep="\t" if suffix == ".tsv" else ",", index=False)
    data = load_dataset(path)
    assert data.name == "shop"
    assert pairs(data.test) == pairs(from_dataframe(frame()).test)
    assert load_dataset(str(path)).fingerprint() == data.fingerprint()


def test_tables_use_times_and_splits_where_they_have_them(tmp_path):
    rows = frame().rename(columns={"when": "time", "stars": "rating"}).assign(split=np.arange(len(frame())) % 3)
    rows.to_csv(tmp_path / "shop.csv", index=False)
    data = load_dataset(tmp_path / "shop.csv")
    assert len(data.test) == (rows["split"] == 2).sum()
    assert data.test.time is not None
    assert data.test.weight is None


def test_read_table_renames_columns(tmp_path):
    frame().assign(rating="hidden").to_csv(tmp_path / "x.txt", sep=";", index=False)
    table = read_table(tmp_path / "x.txt", user="item", item="user", rating="stars", time="when", separator=";")
    assert table.columns.tolist() == ["item", "user", "rating", "time"]
    assert (table["rating"] == frame()["stars"]).all()
    assert table["user"].str.startswith("i").all()


def test_ids_of_text_tables_keep_their_form(tmp_path):
    (tmp_path / "x.csv").write_text("user,item\n001,7\nNA,8\n")
    table = read_table(tmp_path / "x.csv")
    assert table["user"].tolist() == ["001", "NA"]
    assert table["item"].tolist() == [7, 8]
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ValueError, match=r"cannot read .*empty\.csv: No columns"):
        load_dataset(tmp_path / "empty.csv")


def test_read_table_errors(tmp_path):
    frame().to_csv(tmp_path / "x.txt", index=False)
    frame().to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"ending in .csv, .tsv, .inter, .parquet, got 'x.txt'; or name a separator"):
        read_table(tmp_path / "x.txt")
    for name, separator in (("x.txt", ","), ("x.parquet", None)):
        with pytest.raises(ValueError, match=r"missing \['who'\]"):
            read_table(tmp_path / name, user="who", separator=separator)
    with pytest.raises(FileNotFoundError, match=r"'y\.csv' in .*, found x\.parquet, x\.txt"):
        load_dataset(tmp_path / "y.csv")


@pytest.fixture
def folder(tmp_path):
    card = {"name": "mine", "title": "Mine", "description": "My own.", "reader": {"kind": "lightgcn"}}
    (tmp_path / "dataset.yaml").write_text(dump_yaml(card))
    (tmp_path / "train.txt").write_text("0 1 2\n1 1\n2 1\n")
    (tmp_path / "valid.txt").write_text("0 3\n2 2\n")
    (tmp_path / "test.txt").write_text("1 2 3\n")
    return tmp_path


def test_folders_with_a_card(folder):
    for source in (folder, str(folder), folder / "dataset.yaml"):
        assert load_dataset(source).name == "mine"
    (folder / "dataset.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"'dataset\.yaml' in .*, found test\.txt, train\.txt"):
        load_dataset(folder)


def test_unseen_ids_stay_unless_dropped(folder):
    kept, dropped = load_dataset(folder), load_dataset(folder, drop_unseen=True)
    assert kept.statistics()["test_with_unseen_item"] == 1
    assert len(kept.test) == 2
    assert len(dropped.test) == 1
    assert dropped.notes == ("unseen ids dropped: 1 valid, 1 test",)


def test_unknown_names_are_explained(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown data set 'gowala': did you mean 'gowalla'. Known: .*synthetic"):
        load_dataset("gowala")
    with pytest.raises(FileNotFoundError, match=r"no folder .*gowalla.*--data-root"):
        load_dataset("gowalla", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        load_dataset(tmp_path / "none")


def test_synthetic_sizes(monkeypatch):
    monkeypatch.setattr("graphrec.data.sources.resolve", lambda *_, **__: lambda size=None: size)
    assert load_dataset("synthetic") is None
    assert load_dataset("synthetic:200") == 200
    with pytest.raises(ConfigError, match="as in 'synthetic:200', got 'synthetic:many'"):
        load_dataset("synthetic:many")
    with pytest.raises(ConfigError, match=r"no features=\['text'\] for 'synthetic'"):
        load_dataset("synthetic", features=["text"])


def test_describe_says_what_is_known(folder):
    data = from_dataframe(frame(), features={"text": {"i00": "a"}, "audio": {"i01": [1, 2, 3]}})
    table = describe(data).set_index(["part", "property"])["value"]
    assert table["data set", "name"] == "dataframe"
    assert table["interactions", "num_users"] == 12
    assert table["interactions", "train"] == len(data.split.train)
    assert table["vectors", "audio"] == "1 of 15 (6.7%), 3 numbers each"
    assert table["item content", "text"] == "1 of 15 (6.7%)"
    notes = describe(load_dataset(folder, drop_unseen=True)).query("part == 'note'")
    assert notes["value"].tolist() == ["unseen ids dropped: 1 valid, 1 test"]


def test_a_table_of_its_own_brings_text_and_pictures(tmp_path):
    rows = ["user,item,text,image"]
    rows += [
        f"u{u},i{i},{'' if i == 3 else f'about {i}'},{f'pics/{i}.png' if i < 4 else ''}"
        for u in range(6)
        for i in range(6)
    ]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    data = load_dataset(tmp_path / "mine.csv")
    assert data.items.values("text") == ["about 0", "about 1", "about 2", None, "about 4", "about 5"]
    pictures = [tmp_path / f"pics/{i}.png" for i in range(4)]
    assert [value and Path(value) for value in data.items.values("image")] == [*pictures, None, None]


def test_a_folder_of_ones_own_tables_and_files_is_a_data_set_as_it_stands(tmp_path):
    rows = [(f"u{user}", f"00{item}") for user in range(9) for item in range(9) if (user + item) % 3]
    pd.DataFrame(rows, columns=["user", "item"]).to_csv(tmp_path / "interactions.csv", index=False)
    items = pd.DataFrame({"item": ["001", "002", "003"], "title": ["Oak table", None, "Lamp"]})
    items.assign(image=["http://shop/1.png", None, None]).to_csv(tmp_path / "items.csv", index=False)
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "002.wav").write_bytes(b"RIFF")
    data = load_dataset(tmp_path)
    assert (data.name, data.num_users, data.num_items) == (tmp_path.name, 9, 9)
    assert len(data.split.train) + len(data.split.valid) + len(data.test) == len(rows)
    content = {name: data.items.values(name)[1:3] for name in ("text", "audio", "image_url")}
    assert content == {
        "text": ["Oak table", None],
        "audio": [None, str(tmp_path / "audio" / "002.wav")],
        "image_url": ["http://shop/1.png", None],
    }
    assert "image" not in data.items.columns
    with pytest.raises(ConfigError, match="expected no features"):
        load_dataset(tmp_path, features=["image"])


def test_a_folder_of_ones_own_may_say_its_split(tmp_path):
    frame = pd.DataFrame({"user": [1, 1, 1, 2, 2], "item": [1, 2, 3, 1, 2], "split": [0, 1, 2, 0, 0]})
    frame.to_parquet(tmp_path / "interactions.parquet")
    data = load_dataset(tmp_path)
    assert (len(data.split.train), len(data.split.valid), len(data.test)) == (3, 1, 1)
