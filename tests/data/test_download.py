import errno
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from threading import Event

import numpy as np
import pytest

from graphrec.data.download import DownloadError, check_hash, download
from tests.reference.server import Site, serve

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MEGABYTE = 1 << 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site():
    with serve(Site({"/a.bin": CONTENT})) as running:
        yield running


def get(site, path, **options):
    return download(f"{site.url}/a.bin", path, **({"pause": 0.001} | options))


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_is_fetched_once(site, tmp_path):
    path = tmp_path / "sub" / "a.bin"
    assert get(site, path, sha256=SHA256) == path
    assert path.read_bytes() == CONTENT
    assert get(site, path, sha256=SHA256) == path
    assert site.wanted == [None]
    assert site.asked[0]["Accept-Encoding"] == "identity"
    assert left(path.parent) == ["a.bin"]


def test_a_wrong_checksum_keeps_nothing_and_says_both(site, tmp_path):
    with pytest.raises(ValueError) as error:
        get(site, tmp_path / "a.bin", sha256="0" * 64)
    assert "0" * 64 in str(error.value)
    assert SHA256 in str(error.value)
    assert "put its SHA-256 into the data set's card" in str(error.value)
    assert left(tmp_path) == []


def test_a_wrong_file_that_is_there_is_neither_used_nor_overwritten(site, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"mine")
    with pytest.raises(ValueError, match=f"expected the SHA-256 {SHA256} of .*a.bin', got {'[0-9a-f]' * 64}"):
        get(site, tmp_path / "a.bin", sha256=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
    assert site.asked == []


def test_a_cut_connection_is_continued_where_it_stopped(site, tmp_path):
    site.cuts = [MEGABYTE, MEGABYTE // 2]
    path = get(site, tmp_path / "a.bin", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert site.wanted == [None, f"bytes={MEGABYTE}-", f"bytes={MEGABYTE * 3 // 2}-"]
    tag = f'"{SHA256[:8]}"'
    assert [headers.get("If-Range") for headers in site.asked] == [None, tag, tag]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(site, tmp_path):
    site.cuts = [MEGABYTE]
    with pytest.raises(DownloadError, match=r"1\.0 MB of it are kept in .*a\.bin\.part'"):
        get(site, tmp_path / "a.bin", retries=0)
    assert left(tmp_path) == ["a.bin.part", "a.bin.part.json"]
    assert json.loads((tmp_path / "a.bin.part.json").read_text())["length"] == len(CONTENT)
    assert get(site, tmp_path / "a.bin").read_bytes() == CONTENT
    assert site.wanted == [None, f"bytes={MEGABYTE}-"]
    assert left(tmp_path) == ["a.bin"]


def test_a_killed_download_goes_on_and_leaves_nothing_behind(site, tmp_path):
    site.cuts, site.stall = [MEGABYTE], Event()
    code = "from pathlib import Path; from graphrec.data.download import download; "
    code += f"download({site.url + '/a.bin'!r}, Path({str(tmp_path)!r}) / 'a.bin')"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        part = tmp_path / "a.bin.part"
        while process.poll() is None and not (part.exists() and part.stat().st_size >= MEGABYTE // 2):
            time.sleep(0.01)
        process.kill()
    site.stall.set()
    have = part.stat().st_size
    assert MEGABYTE // 2 <= have <= MEGABYTE
    assert get(site, tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT
    assert site.wanted == [None, f"bytes={have}-"]
    assert left(tmp_path) == ["a.bin"]


def test_a_part_that_is_complete_is_not_asked_for_again(site, tmp_path):
    note = {"url": f"{site.url}/a.bin", "etag": '"x"', "modified": None, "length": len(CONTENT)}
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    (tmp_path / "a.bin.part.json").write_text(json.dumps(note))
    assert get(site, tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT
    assert site.asked == []


def test_a_server_without_ranges_starts_anew(site, tmp_path):
    site.ranges, site.cuts = False, [MEGABYTE]
    assert get(site, tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT
    assert site.wanted == [None, f"bytes={MEGABYTE}-"]


def test_a_server_that_cuts_and_refuses_to_go_on_is_given_up(site, tmp_path):
    site.refuses, site.cuts = True, [MEGABYTE] * 50
    with pytest.raises(DownloadError, match="the file on the server has changed"):
        get(site, tmp_path / "a.bin", retries=3)
    assert site.wanted == [None, f"bytes={MEGABYTE}-", None, f"bytes={MEGABYTE}-"]  # no gain, so every one counts


@pytest.mark.parametrize("wanted", [[None], [None, "bytes=1000-"]])
def test_an_answer_that_is_compressed_all_the_same_is_the_file(site, tmp_path, wanted):
    site.files["/a.bin"], site.encoding, site.cuts = gzip.compress(CONTENT), "gzip", [1000] * (len(wanted) - 1)
    assert get(site, tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT
    assert site.wanted == wanted
    assert left(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("twice", [False, True])
def test_a_gzip_file_stays_one_though_the_server_calls_it_an_encoding(site, tmp_path, twice):
    packed = gzip.compress(CONTENT)
    site.files["/a.json.gz"], site.encoding = gzip.compress(packed) if twice else packed, "x-gzip"
    path = download(f"{site.url}/a.json.gz", tmp_path / "a.json.gz", sha256=hashlib.sha256(packed).hexdigest())
    assert path.read_bytes() == packed


def test_encodings_that_cannot_be_undone_are_refused(site, tmp_path):
    site.encoding = "br"
    with pytest.raises(DownloadError, match="got it encoded as 'br'; fetch it by hand"):
        get(site, tmp_path / "a.bin")
    site.encoding = "gzip"
    with pytest.raises(DownloadError, match="the server's compression is broken"):
        get(site, tmp_path / "a.bin")
    assert left(tmp_path) == []


def test_who_is_stopped_while_the_file_is_checked_need_not_fetch_it_again(site, tmp_path, monkeypatch):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pooch.core.hash_matches", stopped)
        with pytest.raises(KeyboardInterrupt):
            get(site, tmp_path / "a.bin", sha256=SHA256)
    assert left(tmp_path) == ["a.bin.part", "a.bin.part.json"]
    assert get(site, tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT
    assert site.wanted == [None]


def test_a_file_that_changed_meanwhile_starts_anew(site, tmp_path):
    site.cuts = [MEGABYTE]
    with pytest.raises(DownloadError):
        get(site, tmp_path / "a.bin", retries=0)
    site.files["/a.bin"] = CONTENT[::-1]
    assert get(site, tmp_path / "a.bin").read_bytes() == CONTENT[::-1]
    assert site.wanted == [None, f"bytes={MEGABYTE}-"]


def test_a_part_longer_than_a_shorter_new_file_starts_anew(site, tmp_path):
    note = {"url": f"{site.url}/a.bin", "etag": None, "modified": "yesterday", "length": None}
    (tmp_path / "a.bin.part").write_bytes(CONTENT * 2)
    (tmp_path / "a.bin.part.json").write_text(json.dumps(note))
    site.tags = False
    site.files["/a.bin"] = CONTENT[:10]
    assert get(site, tmp_path / "a.bin").read_bytes() == CONTENT[:10]


@pytest.mark.parametrize("change", [{"tags": False}, {"lengths": False}])
def test_servers_that_say_little_of_their_files_still_serve_them(site, tmp_path, change):
    for key, value in change.items():
        setattr(site, key, value)
    site.cuts = [MEGABYTE] if site.lengths else []
    assert get(site, tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT
    assert site.wanted == [None] * (2 if site.lengths else 1)  # without a tag nothing says that the rest fits


@pytest.mark.parametrize("damage", ["not json", '{"url": 1}', None])
def test_a_part_without_a_sound_note_is_thrown_away(site, tmp_path, damage):
    (tmp_path / "a.bin.part").write_bytes(b"something else")
    if damage is not None:
        (tmp_path / "a.bin.part.json").write_text(damage)
    assert get(site, tmp_path / "a.bin", sha256=SHA256).read_bytes() == CONTENT
    assert site.wanted == [None]


def test_busy_servers_are_asked_again_and_refusals_are_explained(site, tmp_path):
    site.statuses = [503, 429]
    assert get(site, tmp_path / "a.bin").read_bytes() == CONTENT
    assert len(site.asked) == 3
    with pytest.raises(DownloadError, match=r"answered 404 Not Found; fetch 'b\.bin' by hand and name its folder with"):
        download(f"{site.url}/b.bin", tmp_path / "b.bin")
    site.statuses = [500] * 9
    with pytest.raises(DownloadError, match="answered 500"):
        get(site, tmp_path / "c.bin", retries=2)
    assert len(site.asked) == 7


def test_a_web_page_is_no_data(site, tmp_path):
    site.kind = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="got a web page"):
        get(site, tmp_path / "a.bin")
    assert left(tmp_path) == []


def test_a_disk_without_room_is_found_out_before(site, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(9, 8, 1_000))
    with pytest.raises(OSError, match=r"expected 3\.0 MB free in .*, got 1\.0 kB") as error:
        get(site, tmp_path / "a.bin")
    assert error.value.errno == errno.ENOSPC
    assert "a.bin" not in left(tmp_path)


def test_nobody_there_is_said_after_the_tries(tmp_path):
    with serve(Site({})) as site:
        url = site.url
    with pytest.raises(DownloadError, match=r"a\.bin: .*refused.*; try again later, or fetch it by hand"):
        download(f"{url}/a.bin", tmp_path / "a.bin", retries=1, pause=0.001)


def test_file_addresses_are_copied(tmp_path):
    source = tmp_path / "there is.bin"
    source.write_bytes(CONTENT)
    path = download(source.as_uri(), tmp_path / "here" / "a.bin", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=r"no file .*none\.bin"):
        download((tmp_path / "none.bin").as_uri(), tmp_path / "b.bin")


def test_hashes_are_compared_and_returned(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    assert check_hash(tmp_path / "a", None) == check_hash(tmp_path / "a", SHA256) == SHA256
