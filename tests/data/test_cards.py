import pytest

from graphrec.config import ConfigError, dump_yaml, load_yaml
from graphrec.data import cards
from graphrec.data.cards import (
    Counts,
    DatasetCard,
    card_names,
    file_hash,
    find_card,
    find_folder,
    load_card,
    read_card,
    verify,
)
from graphrec.data.splits import random_mmrec
from graphrec.runtime import package_folder

NAMES = ["amazon-baby", "amazon-clothing", "gowalla", "lfm2k", "ml-100k", "tiktok"]


@pytest.fixture
def toy(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "train.txt").write_text("0 1 2\n1 1\n")
    (folder / "valid.txt").write_text("0 3\n")
    (folder / "test.txt").write_text("1 2\n")
    (folder / "extra").mkdir()
    (folder / "extra" / "a.jpg").write_bytes(b"a")
    files = {name: file_hash(folder / name) for name in ("train.txt", "valid.txt", "test.txt", "extra/")}
    counts = {"users": 2, "items": 3, "train": 3, "valid": 1, "test": 1}
    card = {"name": "toy", "title": "Toy", "description": "A toy.", "reader": {"kind": "lightgcn"}}
    return DatasetCard.parse(card | {"files": files, "counts": counts}), folder


def test_there_is_a_card_for_every_data_set_with_files_of_its_own():
    assert set(NAMES) <= set(card_names())


@pytest.mark.parametrize("name", NAMES)
def test_cards_are_complete_and_round_trip(name):
    card = load_card(name)
    assert card.name == name
    assert card.sources
    assert card.citation
    assert card.licence
    assert card.counts is not None
    assert all(len(digest) == 64 for digest in card.files.values())
    assert DatasetCard.parse(card.model_dump(mode="json")) == card
    assert load_card(package_folder("datasets") / f"{name}.yaml") == card


def test_cards_name_the_files_they_read():
    for name in NAMES:
        card = load_card(name)
        reader = card.reader.model_dump()
        files = [reader.get(key) for key in ("inter", "ratings", "train")]
        files += [entry["file"] for entry in reader.get("features", {}).values()]
        files += [entry["file"] for entry in reader.get("content", {}).values()]
        files += reader.get("neighbors", {}).values()
        assert set(filter(None, files)) <= set(card.files), name


def test_unknown_names_and_keys_are_explained(tmp_path):
    with pytest.raises(ConfigError, match="unknown data set 'amazon-babi': did you mean 'amazon-baby'"):
        load_card("amazon-babi")
    card = load_yaml(package_folder("datasets") / "tiktok.yaml")
    with pytest.raises(ConfigError, match="did you mean 'inter'"):
        DatasetCard.parse(card | {"reader": {"kind": "mmrec", "intr": "x"}})
    with pytest.raises(ConfigError, match="'mmrec', 'lightgcn', 'movielens-100k'"):
        DatasetCard.parse(card | {"reader": {"kind": "parquet"}})
    with pytest.raises(FileNotFoundError):
        load_card(tmp_path / "none.yaml")


def test_missing_data_folders_say_where_to_put_them(tmp_path, monkeypatch):
    card = load_card("tiktok")
    with pytest.raises(FileNotFoundError, match=r"no folder .*tiktok.*--data-root .* GRAPHREC_DATA; .* tiktok\.inter"):
        find_folder(card, tmp_path)
    (tmp_path / "tiktok").mkdir()
    assert find_folder(card, tmp_path) == tmp_path / "tiktok"
    monkeypatch.setenv("GRAPHREC_DATA", str(tmp_path))
    assert find_folder(card) == tmp_path / "tiktok"


def test_verify_lists_what_is_missing_and_what_differs(toy):
    card, folder = toy
    verify(card, folder)
    (folder / "valid.txt").unlink()
    (folder / "test.txt").write_text("1 3\n")
    (folder / "extra" / "a.jpg").write_bytes(b"b")
    with pytest.raises(ValueError, match=r"valid\.txt is missing; test\.txt differs; extra/ differs"):
        verify(card, folder)


def test_a_folder_hash_sees_names(toy):
    _, folder = toy
    before = file_hash(folder / "extra")
    (folder / "extra" / "a.jpg").rename(folder / "extra" / "b.jpg")
    assert file_hash(folder / "extra") != before


def test_counts_are_checked_on_load(toy):
    card, folder = toy
    assert Counts.of(read_card(card, folder)) == card.counts
    (folder / "train.txt").write_text("0 1\n2 1 2\n")
    with pytest.raises(ValueError, match="expected 'toy' to have 2 users, got 3; the files differ from those of"):
        read_card(card, folder)


def test_features_can_only_be_chosen_where_there_are_some(toy):
    with pytest.raises(ConfigError, match=r"no features=\['text'\]: this data set has no feature vectors"):
        read_card(*toy, features=["text"])
    assert len(read_card(*toy, features=[]).test) == 1


RAW = {
    "name": "raw",
    "title": "Raw",
    "description": "Raw files of {part}.",
    "downloads": [
        {"file": "{part}.zip", "url": "https://example.org/{part}.zip", "extract": True},
        {"file": "by-hand.zip", "login": "Ask for {part}.", "sha256": "a" * 64},
    ],
    "raw": {"kind": "custom", "interactions": "{part}.csv"},
    "variants": {"key": "part", "default": "A", "names": ["A", "B_2"]},
    "prepare": {"k_core": 3, "seed": 7},
    "expected": {"users": 3, "source": "README"},
}


def raw(**changes):
    return DatasetCard.parse(RAW | changes)


def test_a_variant_is_filled_in_everywhere():
    card = raw().choose("B_2")
    assert card.name == "raw-B_2"
    assert card.description == "Raw files of B_2."
    assert [entry.file for entry in card.downloads] == ["B_2.zip", "by-hand.zip"]
    assert card.downloads[0].url == "https://example.org/B_2.zip"
    assert card.downloads[1].login == "Ask for B_2."
    assert card.raw.interactions == "B_2.csv"
    assert card.expected is None  # its counts are those of the default
    assert raw().choose() == raw().choose("A")
    assert raw().choose().expected.users == 3
    assert card.choose() == card
    assert DatasetCard.parse(raw().model_dump(mode="json")) == raw()
    with pytest.raises(ConfigError, match="unknown variant of raw 'B2': did you mean 'B_2'"):
        raw().choose("B2")
    with pytest.raises(ConfigError, match="expected 'raw-A' without a variant, got 'A'"):
        raw().choose("A").choose("A")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"raw": None}, "expected a reader or raw"),
        ({"name": "../raw"}, "expected a name that stays inside its folder, got '../raw'"),
        ({"name": "a/b"}, "expected a name without '/', got 'a/b'"),
        ({"prepare": {"seed": -1}}, "prepare.seed: Input should be greater than or equal to 0"),
        ({"downloads": [{"file": "../x.zip", "url": "https://x"}]}, "expected a name that stays inside its folder"),
        ({"downloads": [{"file": "/x.zip", "url": "https://x"}]}, "expected a name that stays inside its folder"),
        ({"downloads": [{"file": "x.zip"}]}, "expected a url or a login for 'x.zip', got neither"),
        ({"downloads": [{"file": "x", "url": "https://x", "login": "no"}]}, "for 'x', got both"),
        (
            {"downloads": [{"file": "x", "url": "https://x", "sha256": "abc"}]},
            "downloads.0.sha256: String should match",
        ),
        ({"downloads": [{"fil": "x"}]}, "did you mean 'file'"),
        ({"variants": {"key": "part", "default": "C", "names": ["A"]}}, "unknown variant 'C'"),
        ({"variants": {"key": "part", "default": "../A", "names": ["../A"]}}, "stays inside its folder"),
        ({"variants": {"key": "part", "default": "a/b", "names": ["a/b"]}}, "names of variants without '/'"),
        ({"raw": {"kind": "custom", "item": "x", "itm": "y"}}, "did you mean 'item'"),
        ({"raw": {"kind": "unheard-of"}}, "'custom'"),
        ({"prepare": {"split": "mmre"}}, "unknown split 'mmre': did you mean 'mmrec'"),
        ({"prepare": {"split": "given"}}, "expected k_core: null with split: given, got 5"),
        ({"prepare": {"split": "mmrec", "ratios": [8, 1, 1]}}, "expected no ratios for the split 'mmrec'"),
        ({"prepare": {"kcore": 5}}, "did you mean 'k_core'"),
        ({"expected": {"users": 3}}, "expected.source: Field required"),
    ],
)
def test_mistakes_in_cards_are_explained(changes, message):
    with pytest.raises(ConfigError, match=message):
        raw(**changes)


def test_a_prepared_folder_wins_over_the_files_of_the_bundled_card(toy, tmp_path, monkeypatch):
    card, folder = toy
    (tmp_path / "datasets").mkdir()
    monkeypatch.setattr(cards, "package_folder", lambda name: tmp_path / name)
    bundled = dump_yaml(card.model_dump(mode="json"))
    (tmp_path / "datasets" / "toy.yaml").write_text(bundled)
    assert find_card("toy", tmp_path) == (card, folder)
    (folder / "dataset.yaml").write_text(bundled.replace("A toy.", "A prepared toy."))
    assert find_card("toy", tmp_path)[0].description == "A prepared toy."
    (tmp_path / "datasets" / "raw.yaml").write_text(dump_yaml(RAW))
    with pytest.raises(
        FileNotFoundError, match=rf"'raw-B_2' prepared in .*graphrec data prepare raw:B_2 --root {tmp_path}"
    ):
        find_card("raw:B_2", tmp_path)
    with pytest.raises(ValueError, match="expected a card with a reader, got 'raw' with raw files"):
        read_card(raw(), tmp_path)


@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_real_files_are_those_of_the_card(name, real_data):
    card, folder = load_card(name), real_data(name)
    verify(card, folder)
    dataset = read_card(card, folder)
    assert Counts.of(dataset) == card.counts
    assert dataset.notes == ()


@pytest.mark.data
def test_real_baby_has_neighbours_and_on_demand_vectors(real_data):
    card, folder = load_card("amazon-baby"), real_data("amazon-baby")
    dataset = read_card(card, folder)
    assert dataset.vectors == {}
    assert {name: graph.nnz for name, graph in dataset.neighbors.items()} == {"text": 70_500, "image": 70_500}
    assert int(dataset.items.present("text").sum()) == 3_416
    assert "&" not in dataset.items.values("text")[0]
    asked = read_card(card, folder, features=["image"])
    assert asked.vectors["image"].values.shape == (7_050, 256)
    assert "not the original features" in asked.notes[0]


@pytest.mark.data
@pytest.mark.parametrize("name", ["amazon-baby", "amazon-clothing"])
def test_real_mmrec_split_has_the_counts_of_random_mmrec(name, real_data):
    dataset = read_card(load_card(name), real_data(name))
    degree = dataset.split.train.user_degree() + dataset.split.valid.user_degree() + dataset.test.user_degree()
    everything = dataset.split.merged().train
    assert (dataset.split.valid.user_degree() == [max(1, n // 10) for n in degree]).all()
    assert (dataset.test.user_degree() == (degree + 5) // 10).all()
    split, test = random_mmrec(everything)
    again = everything.user_degree()
    assert (split.valid.user_degree() == [max(1, n // 10) for n in again]).all()
    assert (test.user_degree() == (again + 5) // 10).all()


@pytest.mark.data
def test_real_movies_have_texts_and_posters(real_data):
    dataset = read_card(load_card("ml-100k"), real_data("ml-100k"))
    assert int(dataset.items.present("image").sum()) == 1_663
    assert dataset.items.missing_files("image") == []
    assert dataset.items.values("text")[0].startswith("Toy Story\n")
    assert dataset.items.values("genres")[0] == "Animation, Children's, Comedy"
    assert dataset.people.values("occupation")[0] == "technician"


@pytest.mark.data
def test_real_vggish_is_centred(real_data):
    dataset = read_card(load_card("lfm2k"), real_data("lfm2k"))
    assert abs(dataset.vectors["vggish"].values.mean(axis=0)).max() < 1e-3
    assert dataset.items.values("name")[0] == "Groove Armada"
    assert dataset.items.present("text").all()
