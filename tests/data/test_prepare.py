import io
import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest

from graphrec.config import ConfigError, dump_yaml
from graphrec.data import cards
from graphrec.data.cards import Recipe, load_card, verify
from graphrec.data.dataset import Vectors
from graphrec.data.interactions import Ids, Interactions
from graphrec.data.prepare import build, prepare_dataset
from graphrec.data.raw import RawData
from graphrec.data.sources import from_dataframe, load_dataset
from graphrec.data.splits import random_mmrec
from tests.reference.server import Site, serve

GENRES = ["Drama", "Comedy|Romance"]


def ratings(num_users=30, num_items=20, seed=0):
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((num_users, num_items)) < 0.6)
    stars, when = rng.integers(1, 6, len(user)), rng.integers(9e8, 1e9, len(user))
    return pd.DataFrame({"user": user + 1, "item": item + 1, "rating": stars, "time": when})


def archive(frame, num_items=22):
    """Returns a zip in the form of ml-1m.zip; two movies have no rating."""
    lines = ["::".join(map(str, row)) for row in frame.itertuples(index=False)]
    movies = [f"{n}::Movie {n} (1999)::{GENRES[n % 2]}" for n in range(1, num_items + 1)]
    people = [f"{n}::{'MF'[n % 2]}::25::4::{n:05}" for n in frame["user"].unique()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in (("ratings", lines), ("movies", movies), ("users", people)):
            opened.writestr(f"ml-1m/{name}.dat", "\n".join(content) + "\n")
    return buffer.getvalue()


@pytest.fixture
def site():
    with serve(Site({"/toy.zip": archive(ratings())})) as running:
        yield running


@pytest.fixture
def write_card(tmp_path, monkeypatch, site):
    (tmp_path / "datasets").mkdir()
    monkeypatch.setattr(cards, "package_folder", lambda name: tmp_path / name)

    def write(name="toy", **changes):
        values = {
            "name": name,
            "title": "Toy [ml]",
            "description": "A toy.",
            "downloads": [{"file": "toy.zip", "url": f"{site.url}/toy.zip", "extract": True}],
            "raw": {"kind": "movielens", "release": "1m"},
            "prepare": {"threshold": 2, "k_core": 5},
        }
        values = {key: value for key, value in (values | changes).items() if value is not None}
        (tmp_path / "datasets" / f"{name}.yaml").write_text(dump_yaml(values))

    write()
    return write


@pytest.fixture
def root(tmp_path, write_card):
    return tmp_path / "root"


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def pairs(interactions):
    return set(interactions.to_frame()[["user", "item"]].itertuples(index=False, name=None))


def parts(data):
    return [pairs(part) for part in (data.split.train, data.split.valid, data.test)]


def test_one_call_downloads_unpacks_filters_splits_and_writes(root, site):
    folder = prepare_dataset("toy", root)
    assert folder == root / "toy"
    data = load_dataset("toy", root=root)
    kept = ratings()[ratings()["rating"] >= 2]
    core = Interactions.from_frame(kept, time="time").k_core(5)
    split, test = random_mmrec(core)
    assert [len(part) for part in parts(data)] == [len(split.train), len(split.valid), len(test)]
    assert set.union(*parts(data)) == pairs(core)
    assert "Movie 1 (1999)" in data.items.values("text")[data.split.items.find([1])[0]]
    assert not {21, 22} & set(data.split.items.index)  # nobody rated them
    assert data.name == "toy"
    assert load_dataset(folder).fingerprint() == data.fingerprint()
    assert site.wanted == [None]


def test_the_folder_says_what_it_was_made_from(root):
    folder = prepare_dataset("toy", root)
    frame = pd.read_parquet(folder / "interactions.parquet")
    assert set(frame.columns) == {"user", "item", "rating", "time", "split"}
    known = ratings().set_index(["user", "item"])
    for column in ("rating", "time"):
        assert (known.loc[pd.MultiIndex.from_frame(frame[["user", "item"]]), column].to_numpy() == frame[column]).all()
    said = manifest(folder)
    assert said["settings"] == Recipe(threshold=2, k_core=5).model_dump()
    assert said["raw"] == {
        "users": 30,
        "items": 20,
        "interactions": len(ratings()),
        "described_users": 30,
        "described_items": 22,
    }
    assert said["prepared"]["train"] == int((frame["split"] == 0).sum())
    assert [entry["file"] for entry in said["files"]] == ["toy.zip"]
    assert said["files"][0]["sha256"] == json.loads((folder / "raw" / "pins.json").read_text())["toy.zip"]
    verify(load_card(folder / "dataset.yaml"), folder)


def test_asking_again_changes_nothing_and_other_settings_need_force(root, site):
    folder = prepare_dataset("toy", root)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file() and path.name != ".lock"}
    assert prepare_dataset("toy", root) == folder
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(ValueError, match=r"other files or settings \(.*seed=0\); make it anew with --force"):
        prepare_dataset("toy", root, recipe={"seed": 1})
    first = parts(load_dataset(folder))
    prepare_dataset("toy", root, recipe={"seed": 1}, force=True)
    second = parts(load_dataset(folder))
    assert first != second
    assert set.union(*first) == set.union(*second)
    prepare_dataset("toy", root, force=True)
    assert parts(load_dataset(folder)) == first
    assert site.wanted == [None]


def test_a_prepared_folder_without_its_raw_files_needs_no_download(root, site, tmp_path):
    folder = prepare_dataset("toy", root)
    (folder / "raw").rename(tmp_path / "moved")
    assert prepare_dataset("toy", root) == folder
    (folder / "raw").mkdir()
    (folder / "raw" / "pins.json").write_text("{}")
    assert prepare_dataset("toy", root) == folder
    assert site.wanted == [None]


def test_an_archive_that_was_removed_to_save_space_is_not_fetched_again(root, site):
    folder = prepare_dataset("toy", root)
    before = manifest(folder)
    (folder / "raw" / "toy.zip").unlink()
    assert manifest(prepare_dataset("toy", root)) == before
    prepare_dataset("toy", root, recipe={"seed": 1}, force=True)
    assert manifest(folder)["files"] == before["files"]
    assert site.wanted == [None]


def test_an_interrupted_write_is_done_again(root):
    folder = prepare_dataset("toy", root)
    whole = parts(load_dataset(folder))
    (folder / "dataset.yaml").unlink()
    (folder / ".partial").mkdir()
    (folder / ".partial" / "items.parquet").write_bytes(b"half")
    assert parts(load_dataset(prepare_dataset("toy", root))) == whole
    assert not (folder / ".partial").exists()


@pytest.mark.parametrize("packed", [True, False])
def test_files_on_the_disk_are_used(root, site, tmp_path, packed):
    there = tmp_path / "there" / "deep"
    there.mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(site.files["/toy.zip"])) as opened:
        opened.extractall(there)
    if packed:
        (there / "toy.zip").write_bytes(site.files["/toy.zip"])
    before = sorted(there.rglob("*"))
    folder = prepare_dataset("toy", root, source=there if packed else there.parent)
    assert site.asked == []
    assert sorted(there.rglob("*")) == before
    other = prepare_dataset("toy", tmp_path / "other")
    assert parts(load_dataset(folder)) == parts(load_dataset(other))
    names = [entry["file"] for entry in manifest(folder)["files"]]
    assert names == (["toy.zip"] if packed else [f"deep/ml-1m/{name}.dat" for name in ("movies", "ratings", "users")])


def test_a_missing_source_is_said(root):
    with pytest.raises(FileNotFoundError, match="expected the folder of the raw files of 'toy'"):
        prepare_dataset("toy", root, source="nowhere")


def test_a_pinned_file_must_stay_the_same(root, site):
    folder = prepare_dataset("toy", root)
    shutil.rmtree(folder / "raw" / "toy")
    (folder / "raw" / "toy.zip").unlink()
    site.files["/toy.zip"] = archive(ratings(seed=1))
    with pytest.raises(ValueError, match=r"(?s)does not match.*pins\.json"):
        prepare_dataset("toy", root, recipe={"seed": 1})
    (folder / "raw" / "toy.zip").write_bytes(b"tampered")
    with pytest.raises(ValueError, match="move it away to have it downloaded again"):
        prepare_dataset("toy", root)
    (folder / "raw" / "pins.json").write_text("[")
    with pytest.raises(ValueError, match=r"cannot read .*pins\.json"):
        prepare_dataset("toy", root)


def test_a_wrong_checksum_in_the_card_stops_everything(root, write_card, site):
    write_card(downloads=[{"file": "toy.zip", "url": f"{site.url}/toy.zip", "extract": True, "sha256": "0" * 64}])
    with pytest.raises(ValueError, match="0" * 64):
        prepare_dataset("toy", root)
    assert [path.name for path in (root / "toy" / "raw").iterdir()] == []


def test_a_login_is_explained_until_the_files_are_there(root, write_card, site):
    login = "Accept the terms at https://example.org and download toy.zip."
    write_card(downloads=[{"file": "toy.zip", "login": login, "extract": True}])
    with pytest.raises(FileNotFoundError, match=r"Accept the terms at .*or name its folder with --from"):
        prepare_dataset("toy", root)
    (root / "toy" / "raw" / "toy.zip").write_bytes(site.files["/toy.zip"])
    assert len(load_dataset(prepare_dataset("toy", root)).test)


def test_optional_files_are_downloaded_on_demand(root, write_card, site):
    main = {"file": "toy.zip", "url": f"{site.url}/toy.zip", "extract": True}
    write_card(downloads=[main, {"file": "more.bin", "url": f"{site.url}/more.bin", "optional": True}])
    site.files["/more.bin"] = b"more"
    folder = prepare_dataset("toy", root)
    assert not (folder / "raw" / "more.bin").exists()
    prepare_dataset("toy", root, optional=True, force=True)
    assert (folder / "raw" / "more.bin").read_bytes() == b"more"


def test_counts_other_than_the_cards_are_a_warning_or_an_error(root, write_card, caplog):
    write_card(expected={"users": 30, "items": 22, "interactions": 5, "source": "its README"})
    folder = prepare_dataset("toy", root)
    assert f"expected 'toy' to have 5 interactions, got {len(ratings())} (its README)" in caplog.text
    with pytest.raises(ValueError, match="leave out --strict"):
        prepare_dataset("toy", root, strict=True, recipe={"seed": 3}, force=True)
    assert len(load_dataset(folder).test)


def test_variants_have_a_folder_each(root, write_card, site):
    write_card(
        title="Toy {part}",
        downloads=[{"file": "{part}.zip", "url": f"{site.url}/{{part}}.zip", "extract": True}],
        variants={"key": "part", "default": "A", "names": ["A", "B"]},
    )
    site.files |= {"/A.zip": archive(ratings()), "/B.zip": archive(ratings(seed=1))}
    assert prepare_dataset("toy:B", root) == root / "toy-B"
    assert prepare_dataset("toy", root) == root / "toy-A"
    assert load_dataset("toy:B", root=root).name == "toy-B"
    assert parts(load_dataset("toy", root=root)) == parts(load_dataset(root / "toy-A"))
    assert load_card("toy:B").title == "Toy B"
    with pytest.raises(ConfigError, match="unknown variant of toy 'C'"):
        prepare_dataset("toy:C", root)


def test_what_is_not_prepared_says_how(root):
    with pytest.raises(FileNotFoundError, match=rf"prepare it with: graphrec data prepare toy --root {root}"):
        load_dataset("toy", root=root)
    with pytest.raises(FileNotFoundError, match=r"--root '.*/a root'"):
        load_dataset("toy", root=root / "a root")


def test_a_readers_files_become_a_prepared_folder_with_their_own_split(root, write_card, site):
    lists = {"train": "0 1 2\n1 1 3\n2 1\n", "valid": "0 3\n", "test": "1 2\n"}
    site.files |= {f"/{name}.txt": text.encode() for name, text in lists.items()}
    files = [{"file": f"{name}.txt", "url": f"{site.url}/{name}.txt"} for name in lists]
    write_card(downloads=files, raw=None, reader={"kind": "lightgcn"})
    data = load_dataset(prepare_dataset("toy", root))
    assert parts(data) == [{(0, 1), (0, 2), (1, 1), (1, 3), (2, 1)}, {(0, 3)}, {(1, 2)}]
    with pytest.raises(ValueError, match="expected no seed for 'toy': its files are a finished split"):
        prepare_dataset("toy", root, recipe={"seed": 1}, force=True)


def test_a_card_of_ones_own_is_prepared_from_its_path(root, tmp_path):
    card = tmp_path / "datasets" / "toy.yaml"
    assert prepare_dataset(str(card), root) == root / "toy"


def test_own_tables_and_pictures_need_no_card(root, write_card, tmp_path):
    write_card("custom", downloads=None, raw={"kind": "custom"}, prepare={"k_core": None, "split": "random"})
    with pytest.raises(FileNotFoundError, match="name it with --from"):
        prepare_dataset("custom", root)
    mine = tmp_path / "mine"
    (mine / "images").mkdir(parents=True)
    frame = ratings().assign(item=lambda rows: "i" + rows["item"].astype(str))
    frame.to_csv(mine / "interactions.csv", index=False)
    pd.DataFrame({"item": ["i1", "cold"], "title": ["one", "new"]}).to_csv(mine / "items.csv", index=False)
    (mine / "images" / "i1.png").write_bytes(b"picture")
    data = load_dataset(prepare_dataset("custom", root, source=mine))
    assert "cold" in data.split.items
    assert data.items.values("image")[data.split.items.rows(["i1"])[0]] == mine / "images" / "i1.png"
    moved = mine.rename(tmp_path / "moved")
    again = load_dataset(prepare_dataset("custom", root, source=moved))
    assert again.items.values("image")[again.split.items.rows(["i1"])[0]] == moved / "images" / "i1.png"
    assert again.fingerprint() == data.fingerprint()
    (moved / "images" / "i1.png").write_bytes(b"another picture")
    with pytest.raises(ValueError, match="other files or settings"):
        prepare_dataset("custom", root, source=moved)


def test_with_a_core_vectors_and_content_of_items_nobody_met_leave():
    frame = ratings()
    items = pd.DataFrame({"title": ["a", "b"]}, index=[1, 99])
    vectors = {"image": Vectors(Ids([99, 1, 2], name="item"), np.arange(6, dtype=np.float32).reshape(3, 2))}
    core = build(RawData(frame, items, vectors=vectors), Recipe(), name="x")
    assert core.vectors["image"].ids.index.tolist() == [1, 2]
    assert core.vectors["image"].values.tolist() == [[2, 3], [4, 5]]
    everyone = build(RawData(frame, items, vectors=vectors), Recipe(k_core=None), name="x")
    assert 99 not in core.split.items
    assert 99 in everyone.split.items
    same = from_dataframe(frame, time="time", k_core=5, split="mmrec", items=items[:1], features={"image": {1: [2, 3]}})
    assert parts(core) == parts(same)


def test_given_parts_stay_and_a_missing_validation_part_is_drawn():
    frame = ratings().assign(split=lambda rows: np.where(rows["item"] % 5 == 0, 2, 0))
    whole = Recipe(k_core=None, split="given")
    data = build(RawData(frame, pd.DataFrame()), whole, name="x")
    train, valid, test = parts(data)
    assert test == set(frame[frame["split"] == 2][["user", "item"]].itertuples(index=False, name=None))
    degree = frame[frame["split"] == 0].groupby("user").size()
    drawn = pd.Series([user for user, _ in valid]).value_counts()
    assert (drawn.sort_index() == np.maximum(1, np.floor(degree * 0.1 + 0.5))).all()
    assert train | valid == set(frame[frame["split"] == 0][["user", "item"]].itertuples(index=False, name=None))
    with_valid = frame.assign(split=np.where(frame["item"] == 1, 1, frame["split"]))
    assert parts(build(RawData(with_valid, pd.DataFrame()), whole, name="x"))[1] == {
        (user, 1) for user in frame[frame["item"] == 1]["user"]
    }
    with pytest.raises(ValueError, match="expected parts in the files of 'x' for split=given"):
        build(RawData(ratings(), pd.DataFrame()), whole, name="x")


def test_unknown_times_are_not_used(caplog):
    frame = ratings().astype({"time": float})
    frame.loc[3, "time"] = np.nan
    assert build(RawData(frame, pd.DataFrame()), Recipe(), name="x").test.time is None
    assert "1 of" in caplog.text
