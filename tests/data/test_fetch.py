import gzip
import hashlib
import json

import pytest

from graphrec.data.cards import DatasetCard
from graphrec.data.fetch import SourceFile, fetch, instructions
from tests.reference.server import Site, serve


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def site():
    with serve(Site({"/a.csv": b"aaa", "/b.csv": b"bb"})) as running:
        yield running


@pytest.fixture
def card(site):
    return make_card(*({"file": f"{name}.csv", "url": f"{site.url}/{name}.csv"} for name in "ab"))


def make_card(*downloads):
    values = {"name": "toy", "title": "Toy", "description": "A toy.", "raw": {"kind": "custom"}}
    return DatasetCard.parse(values | {"downloads": downloads})


def test_files_are_downloaded_pinned_and_kept(card, site, tmp_path):
    raw = tmp_path / "raw"
    found = fetch(card, raw)
    assert found.folder == raw
    assert found.files == (
        SourceFile("a.csv", 3, sha256(b"aaa"), f"{site.url}/a.csv"),
        SourceFile("b.csv", 2, sha256(b"bb"), f"{site.url}/b.csv"),
    )
    assert json.loads((raw / "pins.json").read_text()) == {"a.csv": sha256(b"aaa"), "b.csv": sha256(b"bb")}
    assert fetch(card, raw) == found
    assert len(site.asked) == 2


def test_what_a_source_lacks_is_downloaded(card, site, tmp_path):
    there, raw = tmp_path / "there", tmp_path / "raw"
    there.mkdir()
    (there / "a.csv").write_bytes(b"own")
    found = fetch(card, raw, source=there)
    assert [entry.sha256 for entry in found.files] == [sha256(b"own"), sha256(b"bb")]
    assert (raw / "a.csv").read_bytes() == b"own"
    assert [headers["path"] for headers in site.asked] == ["/b.csv"]
    assert fetch(card, raw, source=there) == found
    (there / "a.csv").unlink()
    (there / "a.csv").write_bytes(b"new")
    with pytest.raises(ValueError, match=f"expected the SHA-256 {sha256(b'own')}"):
        fetch(card, raw, source=there)
    assert (raw / "a.csv").read_bytes() == b"own"


def test_other_files_in_the_raw_folder_are_taken_for_unpacked_ones(card, site, tmp_path):
    deep = tmp_path / "raw" / "outer" / "inner"
    (deep / "images").mkdir(parents=True)
    (deep / "own.csv").write_bytes(b"own")
    for number in range(3):
        (deep / "images" / f"{number}.jpg").write_bytes(b"x" * number)
    found = fetch(card, tmp_path / "raw")
    assert found.folder == deep
    lines = "".join(f"{number}  outer/inner/images/{number}.jpg\n" for number in range(3))
    assert found.files == (
        SourceFile("outer/inner/own.csv", 3, sha256(b"own")),
        SourceFile("pictures and sounds: 3", 3, sha256(lines.encode())),
    )
    assert site.asked == []


def test_a_folder_with_all_files_is_used_where_it_is_with_its_pictures(tmp_path):
    there, raw = tmp_path / "there", tmp_path / "raw"
    (there / "images").mkdir(parents=True)
    (there / "a.csv").write_bytes(b"aaa")
    (there / "images" / "1.jpg").write_bytes(b"x")
    (there / "unrelated.iso").write_bytes(b"never read")
    card = make_card({"file": "a.csv", "login": "Ask."}, {"file": "b.csv", "url": "http://x", "optional": True})
    found = fetch(card, raw, source=there)
    assert found.folder == there
    assert [entry.file for entry in found.files] == ["a.csv", "pictures and sounds: 1"]
    assert [path.name for path in raw.iterdir()] == ["pins.json"]
    (there / "a.csv").write_bytes(b"bbb")
    with pytest.raises(ValueError, match="expected the SHA-256"):
        fetch(card, raw, source=there)


def test_a_folder_of_pictures_alone_is_not_passed_through(tmp_path):
    (tmp_path / "raw" / "images").mkdir(parents=True)
    (tmp_path / "raw" / "images" / "1.jpg").write_bytes(b"x")
    assert fetch(make_card(), tmp_path / "raw").folder == tmp_path / "raw"


def test_leftovers_of_a_cut_download_are_no_files(card, site, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.csv.part").write_bytes(b"a")
    assert len(fetch(card, tmp_path / "raw").files) == 2


def test_a_copy_that_was_stopped_is_no_file(card, tmp_path, monkeypatch):
    def stopped(source, target):
        target.write_bytes(b"a")
        raise KeyboardInterrupt

    def no_links(*paths):
        raise OSError

    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.csv").write_bytes(b"mine")
    monkeypatch.setattr("os.link", no_links)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", stopped)
        with pytest.raises(KeyboardInterrupt):
            fetch(card, tmp_path / "raw", source=tmp_path / "there")
    fetch(card, tmp_path / "raw")
    assert (tmp_path / "raw" / "a.csv").read_bytes() == b"aaa"
    fetch(card, tmp_path / "other", source=tmp_path / "there")
    assert (tmp_path / "other" / "a.csv").read_bytes() == b"mine"


def test_a_cut_file_is_not_pinned(site, tmp_path):
    card, packed = make_card({"file": "a.gz", "url": f"{site.url}/a.gz"}), gzip.compress(b"rows" * 1000)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.gz").write_bytes(packed[:-9])
    site.files["/a.gz"] = packed
    with pytest.raises(ValueError, match=r"a\.gz: .*it is damaged: remove it to have it fetched again"):
        fetch(card, tmp_path / "raw")
    (tmp_path / "raw" / "a.gz").unlink()
    assert fetch(card, tmp_path / "raw").files[0].sha256 == sha256(packed)


def test_what_a_person_must_do_is_said_once():
    card = make_card(
        {"file": "a", "login": "Sign in. "},
        {"file": "b", "login": "Sign in."},
        {"file": "c", "login": "x", "optional": True},
    )
    assert instructions(card) == "Sign in."
    assert instructions(make_card({"file": "a", "url": "https://x"})) == ""
