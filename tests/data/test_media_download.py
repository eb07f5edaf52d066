import io
from threading import Event
from urllib.parse import unquote

import numpy as np
import pytest
import requests
from PIL import Image

from graphrec.data.media_download import MEDIA, MediaError, Medium, Patience, fetch_medium, name_for
from tests.reference.server import Site, serve

QUICK = Patience(pause=0.01, timeout=5)
IDS = [
    "B00A1",
    7,
    "../x",
    "a/b",
    "a%2Fb",
    "a_b",
    "..",
    ".",
    ".hidden",
    "é",
    "a\\b",
    "x\0y",
    "C:",
    "q?&",
    "a" * 400,
    "a" * 401,
]


def picture(kind="JPEG", seed=0, side=48):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def site():
    with serve(Site({"/a.jpg": picture()})) as running:
        yield running


@pytest.fixture
def fetch(site, tmp_path):
    def run(path, *, column="image", patience=QUICK, medium=None):
        with requests.Session() as session:
            return fetch_medium(session, site.url + path, tmp_path / "x", medium or MEDIA[column], patience)

    yield run
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


@pytest.fixture
def refused(fetch, tmp_path):
    def run(path, **options):
        with pytest.raises(MediaError) as caught:
            fetch(path, **options)
        assert list(tmp_path.iterdir()) == []
        return caught.value

    return run


def test_different_ids_have_different_names_that_stay_in_one_folder(tmp_path):
    names = [name_for(id_) for id_ in IDS]
    assert len(set(names)) == len(IDS)
    assert all((tmp_path / f"{name}.jpg").resolve().parent == tmp_path.resolve() for name in names)
    assert not any(name.startswith(".") for name in names)
    assert [unquote(name) for name in names[:-2]] == [str(id_) for id_ in IDS[:-2]]
    for name in names:
        (tmp_path / f".{name}.jpeg.part").touch()


def test_a_picture_arrives_as_it_is(fetch, site, tmp_path):
    assert fetch("/a.jpg") == tmp_path / "x.jpg"
    assert (tmp_path / "x.jpg").read_bytes() == site.files["/a.jpg"]


@pytest.mark.parametrize(
    ("path", "content", "stated", "suffix"),
    [
        ("/a", picture("PNG"), "application/octet-stream", ".png"),
        ("/a.jpg", picture("WEBP"), "image/jpeg", ".webp"),
        ("/a.jpg?size=2", picture("GIF"), "text/plain", ".gif"),
        ("/a.JPEG", picture("JPEG"), "image/jpeg", ".jpg"),
        ("/a", picture("TIFF"), "", ".tif"),
    ],
)
def test_the_suffix_of_a_picture_says_what_it_is(fetch, site, path, content, stated, suffix):
    site.files, site.kind = {path: content}, stated
    assert fetch(path).suffix == suffix


@pytest.mark.parametrize(
    ("column", "path", "stated", "suffix"),
    [
        ("audio", "/a", "audio/mpeg", ".mp3"),
        ("audio", "/a.FLAC", "application/octet-stream", ".flac"),
        ("audio", "/a.mp3", "audio/x-wav; rate=8000", ".wav"),
        ("video", "/a", "video/mp4", ".mp4"),
    ],
)
def test_the_suffix_of_sounds_and_videos_is_what_the_server_or_the_address_says(
    fetch, site, column, path, stated, suffix
):
    site.files, site.kind = {path: b"anything"}, stated
    assert fetch(path, column=column).suffix == suffix


def test_redirects_are_followed_and_endless_ones_left(fetch, refused, site):
    site.redirects = {"/old": "/a.jpg", "/loop": "/loop"}
    assert "TooManyRedirects" in str(refused("/loop"))
    assert fetch("/old").read_bytes() == site.files["/a.jpg"]


@pytest.mark.parametrize(
    ("status", "gone", "asked"), [(404, True, 1), (410, True, 1), (403, False, 1), (503, False, 4)]
)
def test_what_a_server_refuses_is_asked_for_again_only_if_that_may_help(refused, site, status, gone, asked):
    site.statuses = [status] * 4
    error = refused("/a.jpg")
    assert str(error).startswith(f"the server answered {status} ")
    assert (error.gone, len(site.asked)) == (gone, asked)


def test_a_busy_server_is_asked_again(fetch, site):
    site.statuses = [429, 500]
    assert fetch("/a.jpg").read_bytes() == site.files["/a.jpg"]
    assert len(site.asked) == 3


@pytest.mark.parametrize("lengths", [True, False])
def test_a_cut_picture_is_fetched_again_or_refused(fetch, refused, site, lengths):
    site.cuts, site.lengths = [900] * 4, lengths
    said = str(refused("/a.jpg", patience=Patience(pause=0.01, timeout=5)))
    assert said == ("the connection was cut" if lengths else "no picture that can be read")
    site.cuts = [900] if lengths else []
    assert fetch("/a.jpg").read_bytes() == site.files["/a.jpg"]


def test_a_server_that_stalls_is_left(refused, site):
    site.cuts, site.stall = [10, 10], Event()
    error = refused("/a.jpg", patience=Patience(retries=1, pause=0.01, timeout=0.2))
    site.stall.set()
    assert str(error) == "the server took too long"
    assert len(site.asked) == 2


def test_an_answer_that_takes_longer_than_the_longest_is_left(refused):
    assert str(refused("/a.jpg", patience=Patience(retries=0, longest=-1))) == "the server took too long"


@pytest.mark.parametrize(
    ("path", "content", "stated", "reason"),
    [
        ("/a.jpg", b"<html>log in</html>", "text/html; charset=utf-8", "a web page instead of a file"),
        ("/a.jpg", b"<html>log in</html>", "image/jpeg", "no picture that can be read"),
        ("/a.jpg", b"noise" * 100, "image/jpeg", "no picture that can be read"),
        ("/a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/jpeg", "no picture that can be read"),
        ("/a.jpg", b"", "image/jpeg", "an empty file"),
    ],
)
def test_what_is_no_picture_is_refused(refused, site, path, content, stated, reason):
    site.files, site.kind = {path: content}, stated
    assert str(refused(path)) == reason


@pytest.mark.parametrize(
    ("content", "stated", "reason"),
    [
        (b" <!DOCTYPE html><p>", "audio/mpeg", "a web page instead of a file"),
        (b'{"error": 1}', "application/json", "a web page instead of a file"),
        (b"anything", "application/x-what", "a file of the kind 'application/x-what'"),
    ],
)
def test_what_is_no_sound_is_refused(refused, site, content, stated, reason):
    site.files, site.kind = {"/a": content}, stated
    assert str(refused("/a", column="audio")) == reason


def test_what_is_too_large_is_left(refused, site):
    assert str(refused("/a.jpg", medium=Medium("images", MEDIA["image"].suffixes, 10))) == "more than 0 MB"


@pytest.mark.parametrize(
    "url", ["http://", "http://[", "ftp://x/a.jpg", "nothing", "http://.../a", "http://a..b/", f"http://{'a' * 70}.x/"]
)
def test_addresses_that_are_none_are_a_reason_not_a_crash(tmp_path, url):
    with requests.Session() as session, pytest.raises(MediaError, match=r"cannot be asked for|was not reached"):
        fetch_medium(session, url, tmp_path / "x", MEDIA["image"], Patience(retries=0))


def test_a_server_that_is_not_there_is_unreached(tmp_path):
    with requests.Session() as session, pytest.raises(MediaError) as caught:
        fetch_medium(session, "http://127.0.0.1:9/a.jpg", tmp_path / "x", MEDIA["image"], Patience(retries=1, pause=0))
    assert (caught.value.unreached, caught.value.gone) == (True, False)


def test_nothing_is_asked_again_after_a_stop(refused, site):
    patience = Patience()
    patience.stop.set()
    site.statuses = [503] * 4
    refused("/a.jpg", patience=patience)
    assert len(site.asked) == 1
