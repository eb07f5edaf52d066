import zipfile

import pytest
from typer.testing import CliRunner

from graphrec.cli import app
from graphrec.config import dump_yaml
from graphrec.data import cards
from graphrec.data.sources import load_dataset
from tests.data.test_by_address import make, stored
from tests.data.test_media_download import picture
from tests.data.test_prepare import archive, ratings
from tests.reference.server import Site, serve

CARD = {
    "name": "toy",
    "title": "Toy [ml]",
    "description": "A toy.",
    "licence": "free",
    "citation": "[1] Somebody",
    "downloads": [
        {"file": "toy.zip", "url": "http://127.0.0.1:9/toy.zip", "extract": True},
        {"file": "extra.zip", "login": "Ask nicely.", "optional": True},
    ],
    "raw": {"kind": "movielens", "release": "1m"},
    "columns": {"rating": "1 to 5"},
    "expected": {"users": 30, "source": "README"},
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "toy.yaml").write_text(dump_yaml(CARD))
    variants = {"name": "parts", "variants": {"key": "part", "default": "A", "names": ["A", "B"]}}
    (tmp_path / "datasets" / "parts.yaml").write_text(dump_yaml(CARD | variants))
    monkeypatch.setattr(cards, "package_folder", lambda name: tmp_path / name)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "toy.zip").write_bytes(archive(ratings()))

    def invoke(*arguments, status=0):
        result = CliRunner().invoke(app, ["data", *map(str, arguments)])
        assert result.exit_code == status, result.output
        return result.output

    return invoke


def prepare(run, tmp_path, *options, **status):
    return run("prepare", "toy", "--root", tmp_path / "root", "--from", tmp_path / "there", *options, **status)


def test_prepare_says_where_the_data_is_and_how_much(run, tmp_path):
    said = prepare(run, tmp_path, "--seed", 3)
    data = load_dataset("toy", root=tmp_path / "root")
    assert f"{tmp_path / 'root' / 'toy'}: {data.num_users} users, {data.num_items} items" in said
    assert "make it anew with --force" in prepare(run, tmp_path, status=2)
    prepare(run, tmp_path, "--force", "--k-core", "none", "--threshold", "4.5", "--split", "leave-one-out")
    settings = load_dataset("toy", root=tmp_path / "root")
    assert "num_users" in run("describe", "toy", "--root", tmp_path / "root")
    assert len(settings.split.valid) < data.num_users
    assert settings.fingerprint() != data.fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--k-core", "many"], "expected a number or 'none' for --k-core, got 'many'"),
        (["--k-core", "0"], "recipe.k_core: Input should be greater than or equal to 1"),
        (["--split", "mmre"], "unknown split 'mmre': did you mean 'mmrec'"),
        (["--split", "given"], "expected k_core: null with split: given"),
        (["--k-core", "99"], "expected a 99-core with interactions, got none"),
    ],
)
def test_wrong_recipes_are_explained_in_one_line(run, tmp_path, options, message):
    said = prepare(run, tmp_path, *options, status=2)
    assert message in said
    assert "Traceback" not in said


def test_list_shows_what_is_there(run, tmp_path):
    before = run("list", "--root", tmp_path / "root")
    assert "Toy [ml]" in before
    assert "prepared" not in before
    prepare(run, tmp_path)
    assert "prepared" in run("list", "--root", tmp_path / "root")


def test_show_is_the_card_for_people(run):
    said = run("show", "toy")
    for text in (
        "Toy [ml]",
        "free",
        "[1] Somebody",
        "rating: 1 to 5",
        "Ask nicely.",
        "k_core=5",
        "unverified",
        "README",
    ):
        assert text in said
    assert "A, B; A by default" in run("show", "parts")
    assert "unknown data set 'toi': did you mean 'toy'" in run("show", "toi", status=2)


def test_verify_finds_changed_files(run, tmp_path):
    assert "prepare it with: graphrec data prepare toy" in run("verify", "toy", "--root", tmp_path / "root", status=2)
    prepare(run, tmp_path)
    assert "files are those of the card" in run("verify", "toy", "--root", tmp_path / "root")
    assert "files are those of the card" in run("verify", tmp_path / "root" / "toy")
    (tmp_path / "root" / "toy" / "items.parquet").write_bytes(b"changed")
    assert "items.parquet differs" in run("verify", "toy", "--root", tmp_path / "root", status=2)


def test_pictures_says_what_came_and_what_did_not(run, tmp_path):
    addresses = {f"i{n}": f"/{n}.jpg" for n in range(10)}
    with serve(Site({"/0.jpg": picture(), "/1.jpg": picture(), "/2.jpg": b"<html>"})) as site:
        folder = make(tmp_path / "own", site, image=addresses)
        said = run("pictures", "toy", "--root", folder.parent, "--workers", 2)
        assert f"{folder}: 2 of 10 items with an address have their image (2 new)" in said
        assert "7 failed, the server answered 404 Not Found: i" in said
        assert "1 failed, no picture that can be read: i2" in said
        assert "files are those of the card" in run("verify", folder)
        site.asked.clear()
        said = run("pictures", folder)
        assert "2 of 10 items with an address have their image (0 new)" in said
        assert "7 were gone before and not asked for, see images/failed.json; ask again with --retry" in said
        assert len(site.asked) == 1
        run("pictures", folder, "--retry", "--limit", 3)
        assert len(site.asked) == 4
    assert stored(folder) == {"i0": "images/i0.jpg", "i1": "images/i1.jpg"}


def test_pictures_explains_what_it_cannot_do(run, tmp_path):
    prepare(run, tmp_path)
    said = run("pictures", "toy", "--root", tmp_path / "root", status=2)
    assert "expected a column 'image_url' in the items of 'toy', got item, " in said
    assert "did you mean 'image'" in run("pictures", "toy", "--root", tmp_path / "root", "--column", "imag", status=2)
    assert "graphrec data prepare toy" in run("pictures", "toy", "--root", tmp_path / "empty", status=2)


def test_an_archive_with_evil_names_is_one_line(run, tmp_path):
    with zipfile.ZipFile(tmp_path / "there" / "toy.zip", "a") as opened:
        opened.writestr("../../evil", "x")
    said = prepare(run, tmp_path, status=2)
    assert "expected a name that stays inside its folder, got '../../evil'" in said
    assert not list(tmp_path.rglob("evil"))


def test_every_card_that_graphrec_brings_can_be_shown_and_listed():
    runner = CliRunner()
    assert "amazon-baby" in runner.invoke(app, ["data", "list"]).output
    for name in cards.card_names():
        assert name in runner.invoke(app, ["data", "show", name]).output
