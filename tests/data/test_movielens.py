import pytest

from graphrec.config import ConfigError
from graphrec.data.movielens import MovieLensOptions, read_movielens_100k


@pytest.fixture
def folder(tmp_path):
    ratings = [(user, item, 1 + (user + item) % 5, 100 * item) for user in (1, 2, 3) for item in range(1, 13)]
    (tmp_path / "u.data").write_text("".join("\t".join(map(str, row)) + "\n" for row in ratings))
    (tmp_path / "u.genre").write_text("unknown|0\nDrama|1\n\n")
    movies = [f"{n}|Caf\u00e9 {n} (1995)|01-Jan-1995||http://x|{n % 2}|1\n" for n in range(1, 14)]
    (tmp_path / "u.item").write_bytes("".join(movies).encode("latin-1"))
    (tmp_path / "u.user").write_text("1|24|M|writer|02139\n2|53|F|other|V3N4P\n3|9|M|none|94043\n4|40|F|none|1\n")
    (tmp_path / "items_text.csv").write_text('movie_id,title,overview,tagline\n2,Two,"A, b",\n1,,,\n')
    (tmp_path / "posters").mkdir()
    for name in ("3.jpg", "cover.jpg"):
        (tmp_path / "posters" / name).touch()
    return tmp_path


def test_ratings_at_the_threshold_count(folder):
    for threshold, kept in ((4.0, 16), (None, 36)):
        data = read_movielens_100k(folder, MovieLensOptions(threshold=threshold))
        assert len(data.split.train) + len(data.split.valid) + len(data.test) == kept
        assert (data.num_users, data.num_items) == (4, 13)
        assert data.split.train.weight is None
    with pytest.raises(ValueError, match="got none; the highest is 5"):
        read_movielens_100k(folder, MovieLensOptions(threshold=6))


def test_what_movies_are(folder):
    items = read_movielens_100k(folder).items
    assert items.values("title")[0] == "Caf\u00e9 1 (1995)"
    assert items.values("genres")[:2] == ["unknown, Drama", "Drama"]
    assert items.values("text")[:3] == [None, "Two\nA, b", None]
    assert items.values("image")[:4] == [None, None, folder / "posters" / "3.jpg", None]
    assert items.missing_files("image") == []


def test_who_the_users_are(folder):
    people = read_movielens_100k(folder).people
    assert people.columns == ("age", "gender", "occupation", "zip")
    assert people.values("age") == [24, 53, 9, 40]
    assert people.values("zip") == ["02139", "V3N4P", "94043", "1"]


def test_text_and_posters_may_be_absent(folder):
    (folder / "items_text.csv").unlink()
    for poster in (folder / "posters").iterdir():
        poster.unlink()
    (folder / "posters").rmdir()
    items = read_movielens_100k(folder).items
    assert not items.present("text").any()
    assert not items.present("image").any()


def test_splits_use_the_times(folder):
    data = read_movielens_100k(folder, MovieLensOptions(threshold=None, split={"name": "leave-one-out"}))
    assert data.split.items.ids(data.test.item).tolist() == [12, 12, 12]
    assert data.split.items.ids(data.split.valid.item).tolist() == [11, 11, 11]


def test_a_test_file_is_kept_and_validation_drawn(folder):
    lines = (folder / "u.data").read_text().splitlines(keepends=True)
    (folder / "ua.base").write_text("".join(lines[:30]))
    (folder / "ua.test").write_text("".join(lines[30:]))
    data = read_movielens_100k(folder, MovieLensOptions(ratings="ua.base", test="ua.test", threshold=None))
    assert len(data.test) == 6
    assert data.split.valid.user_degree().tolist() == [1, 1, 1, 0]
    with pytest.raises(ConfigError, match="a test file or a split, got both"):
        MovieLensOptions.parse({"test": "ua.test", "split": {"name": "random"}})


@pytest.mark.parametrize("file", ["u.data", "u.item", "u.user", "u.genre"])
def test_missing_files_are_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"'{file}'"):
        read_movielens_100k(folder)
