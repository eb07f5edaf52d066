import json

import pandas as pd
import pytest
from pyarrow import parquet

from graphrec.config import ConfigError, dump_yaml
from graphrec.data import by_address
from graphrec.data.by_address import fetch_addresses
from graphrec.data.cards import file_hash, load_card, verify
from graphrec.data.media_download import Patience
from graphrec.data.prepare import prepare_dataset
from graphrec.data.sources import load_dataset
from tests.data.test_media_download import picture
from tests.reference.server import Site, serve

QUICK = Patience(retries=1, pause=0.01, timeout=5)
ITEMS = {
    "good": "/good.jpg",
    "../x": "/x.png",
    "a/b": "/shared.jpg",
    "a_b": "/shared.jpg",
    "moved": "/old.jpg",
    "lost": "/lost.jpg",
    "page": "/page.jpg",
    "none": None,
}
FILES = {
    "/good.jpg": picture(seed=1),
    "/x.png": picture("PNG", seed=2),
    "/shared.jpg": picture(seed=3),
    "/new.jpg": picture(seed=4),
    "/page.jpg": b"<html>please log in</html>",
}
STORED = {
    "good": "images/good.jpg",
    "../x": "images/%2E.%2Fx.png",
    "a/b": "images/a%2Fb.jpg",
    "a_b": "images/a_b.jpg",
    "moved": "images/moved.jpg",
}


@pytest.fixture
def site():
    with serve(Site(dict(FILES), kinds={"/page.jpg": "text/html"}, redirects={"/old.jpg": "/new.jpg"})) as running:
        yield running


def write_card(folder, site, **columns):
    """Writes a card, and the tables of its data set, whose items have these addresses."""
    (folder / "there").mkdir(parents=True)
    items = pd.DataFrame(columns or {"image": ITEMS}).rename_axis("item")
    items = items.map(lambda path: site.url + path, na_action="ignore").assign(title="A thing", price=1.5)
    items.to_csv(folder / "there" / "items.csv")
    pairs = [(user, item) for user in range(12) for item in items.index]
    pd.DataFrame(pairs, columns=["user", "item"]).to_csv(folder / "there" / "interactions.csv", index=False)
    files = [{"file": name, "login": "Ask."} for name in ("interactions.csv", "items.csv")]
    values = {"name": "toy", "title": "Toy", "description": "A toy.", "downloads": files, "raw": {"kind": "custom"}}
    values["prepare"] = {"k_core": None, "split": "random"}
    (folder / "toy.yaml").write_text(dump_yaml(values))
    return folder / "toy.yaml"


def make(folder, site, **columns):
    card = write_card(folder, site, **columns)
    return prepare_dataset(str(card), folder / "root", source=folder / "there")


@pytest.fixture
def folder(tmp_path, site):
    return make(tmp_path, site)


def fetch(folder, **options):
    return fetch_addresses(str(folder), **{"patience": QUICK, "workers": 4} | options)


def stored(folder, column="image"):
    table = pd.read_parquet(folder / "items.parquet").set_index("item")
    return table[column].dropna().to_dict() if column in table else {}


def asked(site):
    return sorted(headers["path"] for headers in site.asked)


def test_the_pictures_come_and_stand_in_the_table(folder, site):
    found = fetch(folder)
    assert stored(folder) == STORED
    for item, path in STORED.items():
        address = site.redirects.get(ITEMS[item], ITEMS[item])
        assert (folder / path).read_bytes() == FILES[address]
    assert (found.addressed, found.present, found.new, found.known) == (7, 5, 5, 0)
    assert found.failures == {"the server answered 404 Not Found": ["lost"], "a web page instead of a file": ["page"]}
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]
    data = load_dataset(folder)
    assert data.items.missing_files("image") == []
    assert data.items.values("image")[data.split.items.rows(["../x"])[0]] == folder / "images" / "%2E.%2Fx.png"
    assert data.items.values("image")[data.split.items.rows(["lost"])[0]] is None


def test_everything_else_stays_as_it_was(folder):
    before = {path.name: file_hash(path) for path in folder.iterdir() if path.is_file()}
    table, data = parquet.read_table(folder / "items.parquet"), load_dataset(folder)
    counts = load_card(folder / "dataset.yaml").counts
    fetch(folder)
    changed = {name for name, known in before.items() if file_hash(folder / name) != known}
    assert changed == {"items.parquet", "manifest.json", "dataset.yaml"}
    assert parquet.read_table(folder / "items.parquet").drop_columns(["image"]).equals(table)
    after = load_dataset(folder)
    assert after.split.items.index.equals(data.split.items.index)
    for part in ("train", "valid"):
        assert getattr(after.split, part).to_frame().equals(getattr(data.split, part).to_frame())
    assert after.test.to_frame().equals(data.test.to_frame())
    card = load_card(folder / "dataset.yaml")
    verify(card, folder)
    assert card.counts == counts
    assert json.loads((folder / "manifest.json").read_text())["fetched"]["image"] == {"addressed": 7, "present": 5}


def test_an_address_of_two_items_is_asked_for_once(folder, site):
    fetch(folder)
    assert asked(site).count("/shared.jpg") == 1
    (folder / "images" / "a_b.jpg").unlink()
    fetch(folder)
    assert asked(site).count("/shared.jpg") == 1
    assert (folder / "images" / "a_b.jpg").read_bytes() == FILES["/shared.jpg"]


def test_a_second_call_asks_only_for_what_may_come_now(folder, site):
    fetch(folder)
    site.asked.clear()
    site.files |= {"/page.jpg": picture(seed=5), "/lost.jpg": picture(seed=6)}
    site.kinds.clear()
    found = fetch(folder)
    assert asked(site) == ["/page.jpg"]
    assert (found.present, found.new, found.known, found.failures) == (6, 1, 1, {})
    verify(load_card(folder / "dataset.yaml"), folder)
    found = fetch(folder, retry=True)
    assert asked(site) == ["/lost.jpg", "/page.jpg"]
    assert (found.present, found.known) == (7, 0)
    assert not (folder / "images" / "failed.json").exists()


def test_a_call_with_nothing_new_changes_nothing(folder):
    fetch(folder)
    before = {path: file_hash(path) for path in folder.rglob("*") if path.is_file()}
    found = fetch(folder)
    assert {path: file_hash(path) for path in folder.rglob("*") if path.is_file()} == before
    assert (found.new, found.known) == (0, 1)


def test_what_is_gone_is_on_record_with_its_reason(folder, site):
    fetch(folder)
    said = json.loads((folder / "images" / "failed.json").read_text())
    assert said == {f"{site.url}/lost.jpg": {"items": ["lost"], "reason": "the server answered 404 Not Found"}}
    (folder / "images" / "failed.json").write_text("{")
    assert fetch(folder).failures["the server answered 404 Not Found"] == ["lost"]


def test_a_limit_stops_early_and_the_next_call_goes_on(folder, site):
    assert fetch(folder, limit=2).new == 3  # two items share the second address
    assert len(stored(folder)) == 3
    verify(load_card(folder / "dataset.yaml"), folder)
    assert fetch(folder).new == 2
    assert stored(folder) == STORED
    assert len(set(asked(site))) == len(asked(site))


def test_a_cut_connection_is_mended_and_a_dead_one_named(folder, site):
    site.cuts = [100]
    assert fetch(folder, workers=1).present == 5
    (folder / "images" / "good.jpg").unlink()
    site.cuts = [100] * 2
    assert fetch(folder, workers=1).failures["the connection was cut"] == ["good"]
    assert "good" not in stored(folder)
    verify(load_card(folder / "dataset.yaml"), folder)


def test_an_interrupted_call_is_continued(folder, site, monkeypatch):
    real, calls = by_address.fetch_medium, []

    def interrupted(*arguments):
        calls.append(arguments[1])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(by_address, "fetch_medium", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(folder, workers=1)
    assert stored(folder) == {}
    verify(load_card(folder / "dataset.yaml"), folder)
    (folder / "images" / ".moved.part").write_bytes(b"half")  # as a kill leaves it
    arrived = {path.name for path in (folder / "images").iterdir() if path.suffix in (".jpg", ".png")}
    assert arrived
    site.asked.clear()
    monkeypatch.undo()
    assert fetch(folder).new == 5 - len(arrived)
    assert stored(folder) == STORED
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_stop_while_the_table_is_put_in_place_is_mended_by_the_next_call(folder, monkeypatch, stage):
    before = load_dataset(folder).test.to_frame()
    real, calls = by_address.file_hash, []

    def stopped(path):
        calls.append(path)
        if len(calls) == stage + 2:  # the first is of the table as it was found
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(by_address, "file_hash", stopped)
    with pytest.raises(KeyboardInterrupt):
        fetch(folder)
    monkeypatch.undo()
    assert load_dataset(folder).test.to_frame().equals(before)
    fetch(folder)
    verify(load_card(folder / "dataset.yaml"), folder)
    assert stored(folder) == STORED


def test_preparing_again_keeps_the_pictures(tmp_path, folder, site):
    fetch(folder)
    before = file_hash(folder / "items.parquet")
    prepare_dataset(str(tmp_path / "toy.yaml"), tmp_path / "root", source=tmp_path / "there")
    prepare_dataset(str(tmp_path / "toy.yaml"), tmp_path / "root")
    assert file_hash(folder / "items.parquet") == before
    site.asked.clear()
    prepare_dataset(
        str(tmp_path / "toy.yaml"), tmp_path / "root", source=tmp_path / "there", recipe={"seed": 3}, force=True
    )
    assert stored(folder) == {}
    assert fetch(folder).new == 0
    assert asked(site) == ["/page.jpg"]
    assert stored(folder) == STORED


def test_sounds_and_videos_have_folders_of_their_own(tmp_path, site):
    site.files |= {"/s": b"sound", "/v": b"video"}
    site.kinds |= {"/s": "audio/mpeg", "/v": "video/mp4"}
    sounds = {n: "/s" if n == 1 else None for n in range(1, 9)}
    folder = make(tmp_path, site, audio=sounds, video={n: "/v" if n == 2 else None for n in sounds})
    for column in ("audio", "video"):
        assert fetch(folder, column=column).present == 1
    assert (stored(folder, "audio"), stored(folder, "video")) == ({1: "audio/1.mp3"}, {2: "video/2.mp4"})
    verify(load_card(folder / "dataset.yaml"), folder)


def test_a_file_that_left_the_disk_is_absent(folder, site):
    fetch(folder)
    (folder / "images" / "good.jpg").unlink()
    del site.files["/good.jpg"]
    assert fetch(folder).present == 4
    assert "good" not in stored(folder)


def test_without_any_server_it_stops(tmp_path, site, monkeypatch):
    monkeypatch.setattr(by_address, "UNREACHED", 3)
    folder = make(tmp_path, Site({}, url="http://127.0.0.1:9"))
    with pytest.raises(OSError, match="no server was reached for 3 addresses in a row"):
        fetch(folder, patience=Patience(retries=0))
    verify(load_card(folder / "dataset.yaml"), folder)


def test_a_full_disk_stops_the_call(folder, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(by_address, "fetch_medium", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(folder)
    verify(load_card(folder / "dataset.yaml"), folder)


def test_a_table_that_is_not_the_cards_is_left_alone(folder):
    (folder / "items.parquet").write_bytes(b"changed")
    with pytest.raises(
        ValueError, match=r"expected '.*items.parquet' as in its card, got another one; make the folder anew"
    ):
        fetch(folder)
    assert (folder / "items.parquet").read_bytes() == b"changed"


def test_other_folders_and_options_are_explained(tmp_path, folder, site):
    with pytest.raises(ConfigError, match="unknown column 'images': did you mean 'image'"):
        fetch(folder, column="images")
    with pytest.raises(ValueError, match="expected a column 'audio_url' in the items of 'toy', got item"):
        fetch(folder, column="audio")
    with pytest.raises(ValueError, match="expected workers of 1 or more"):
        fetch(folder, workers=0)
    card = load_card(folder / "dataset.yaml").model_dump(mode="json") | {"reader": {"kind": "lightgcn"}}
    (folder / "dataset.yaml").write_text(dump_yaml(card))
    with pytest.raises(ValueError, match="expected a folder that 'graphrec data prepare' made, got"):
        fetch(folder)
    with pytest.raises(ConfigError, match="unknown data set"):
        fetch_addresses("no-such-set", tmp_path)
