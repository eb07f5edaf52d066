import pytest

from graphrec.data.formats import LastFmOptions, read_lastfm


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "user_artists.dat").write_text("userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n2\t53\tmany\n")
    (tmp_path / "artists.dat").write_text(
        "id\tname\turl\tpictureURL\n51\tBjörk\thttp://x\thttp://y\n52\tDuran Duran\thttp://x\t\n", encoding="utf-8"
    )
    (tmp_path / "tags.dat").write_bytes("tagID\ttagValue\n1\tmétal\n2\tnew wave\n".encode("latin-1"))
    (tmp_path / "user_taggedartists.dat").write_text(
        "userID\tartistID\ttagID\tday\tmonth\tyear\n2\t51\t1\t1\t4\t2009\n2\t51\t2\t1\t4\t2009\n3\t51\t2\t1\t4\t2009\n"
    )
    return tmp_path


def test_counts_names_and_tags_come_together(folder):
    raw = read_lastfm(folder, LastFmOptions())
    assert raw.interactions.to_dict("list") == {"user": [2, 2], "item": [51, 52], "rating": [13883, 11690]}
    assert raw.items.to_dict("index") == {
        51: {"title": "Björk", "tags": "new wave, métal", "text": "Björk\nnew wave, métal"},
        52: {"title": "Duran Duran", "tags": None, "text": "Duran Duran"},
    }
    assert raw.skipped == {"user_artists.dat: no rating": 1}


def test_tags_are_limited_and_may_be_missing(folder):
    assert read_lastfm(folder, LastFmOptions(tags=1)).items.loc[51, "tags"] == "new wave"
    (folder / "tags.dat").unlink()
    assert "tags" not in read_lastfm(folder, LastFmOptions()).items
