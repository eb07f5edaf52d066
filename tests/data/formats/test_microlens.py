import pytest

from graphrec.data.formats import MicroLensOptions, read_microlens


def test_pairs_titles_and_covers_come_together(tmp_path):
    (tmp_path / "MicroLens-50k_pairs.csv").write_text(
        "user,item,timestamp\n36121,9580,1583378629552\n36121,16,1583436719018\n"
    )
    (tmp_path / "MicroLens-50k_titles.csv").write_text('item,title\n9580,"Cats, dogs &amp; me"\n16,\n77,unseen\n')
    covers = tmp_path / "MicroLens-50k_covers"
    covers.mkdir()
    (covers / "9580.jpg").touch()
    raw = read_microlens(tmp_path, MicroLensOptions())
    assert raw.interactions.to_numpy().tolist() == [[36121, 9580, 1583378629.552], [36121, 16, 1583436719.018]]
    assert raw.items.loc[9580].to_dict() == {
        "title": "Cats, dogs & me",
        "text": "Cats, dogs & me",
        "image": str(covers / "9580.jpg"),
    }
    assert raw.items["title"].tolist() == ["Cats, dogs & me", None, "unseen"]


def test_titles_need_no_header_and_columns_have_other_names(tmp_path):
    (tmp_path / "p.csv").write_text("userID,videoID,timestamp\n1,2,1583378629552\n")
    (tmp_path / "t.csv").write_text("\ufeff2,A title\n", encoding="utf-8")
    raw = read_microlens(tmp_path, MicroLensOptions(pairs="p.csv", titles="t.csv"))
    assert raw.items["title"].to_dict() == {2: "A title"}
    (tmp_path / "t.csv").write_text("video,title\n2,A title\n")
    raw = read_microlens(tmp_path, MicroLensOptions(pairs="p.csv", titles="t.csv"))
    assert raw.items["title"].to_dict() == {2: "A title"}


def test_lists_of_videos_are_read_in_order(tmp_path):
    (tmp_path / "p.tsv").write_text("7\t30 10 20\n8\t10\n")
    raw = read_microlens(tmp_path, MicroLensOptions(pairs="p.tsv", titles=None))
    assert raw.interactions.to_numpy().tolist() == [[7, 30, 0], [7, 10, 1], [7, 20, 2], [8, 10, 0]]


def test_sounds_and_videos_are_found(tmp_path):
    (tmp_path / "p.tsv").write_text("7\t30 10\n")
    for folder, name in (("MicroLens-50k_audios", "30.wav"), ("MicroLens-50k_videos", "10.mp4")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    raw = read_microlens(tmp_path, MicroLensOptions(pairs="p.tsv"))
    assert raw.items["audio"].dropna().index.tolist() == [30]
    assert raw.items["video"].dropna().index.tolist() == [10]


def test_other_columns_are_an_error_that_names_them(tmp_path):
    (tmp_path / "p.csv").write_text("who,what,when\n")
    with pytest.raises(ValueError, match=r"expected one of the columns \['user', .*it has who, what, when"):
        read_microlens(tmp_path, MicroLensOptions(pairs="p.csv"))
