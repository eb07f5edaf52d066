import pandas as pd
import pytest

from graphrec.data.formats import MovieLensRawOptions, read_movielens
from graphrec.data.movielens import read_movielens_100k


def write(folder, **files):
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_bytes(text.encode("latin-1"))


def test_the_100k_form_has_tabs_and_bars_in_latin_1(tmp_path):
    write(
        tmp_path,
        u__data="196\t242\t3\t881250949\n22\t242\t1\t878887116\n22\t300\tx\t1\n",
        u__genre="unknown|0\nAction|1\nComedy|2\n\n",
        u__item="242|Kolyá (1996)|24-Jan-1997||http://us.imdb.com/x|0|1|1\n300|Other|||u|1|0|0\n",
        u__user="196|49|M|writer|55105\n22|x|F|none|00101\n",
    )
    raw = read_movielens(tmp_path, MovieLensRawOptions(release="100k"))
    assert raw.interactions.to_numpy().tolist() == [[196, 242, 3, 881250949], [22, 242, 1, 878887116]]
    assert raw.items.loc[242].to_dict() == {
        "title": "Kolyá (1996)",
        "genres": "Action, Comedy",
        "text": "Kolyá (1996)\nAction, Comedy",
    }
    assert raw.items.index.tolist() == [242, 300]
    assert raw.people.loc[196].to_dict() == {"age": 49, "gender": "M", "occupation": "writer", "zip": "55105"}
    assert pd.isna(raw.people.loc[22, "age"])
    assert raw.skipped == {"u.data: no rating": 1}


def test_the_1m_form_has_double_colons(tmp_path):
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    write(
        folder,
        ratings__dat="1::1193::5::978300760\n2::1193::4::978298413\nbroken\n",
        movies__dat="1193::One Flew: Over (1975)::Drama\n73::Misérables, Les (1995)::Drama|Musical\n",
        users__dat="1::F::1::10::48067\n2::M::56::99::70072\n",
    )
    raw = read_movielens(tmp_path, MovieLensRawOptions(release="1m"))
    assert raw.interactions.to_numpy().tolist() == [[1, 1193, 5, 978300760], [2, 1193, 4, 978298413]]
    assert raw.items["title"].to_dict() == {1193: "One Flew: Over (1975)", 73: "Misérables, Les (1995)"}
    assert raw.items.loc[73, "text"] == "Misérables, Les (1995)\nDrama, Musical"
    assert raw.people["occupation"].to_dict() == {1: "K-12 student", 2: "99"}
    assert raw.people["age"].to_dict() == {1: 1, 2: 56}
    assert raw.skipped == {"ratings.dat: not 4 columns": 1}


@pytest.fixture
def latest(tmp_path):
    write(
        tmp_path,
        ratings__csv="userId,movieId,rating,timestamp\n1,1,4.5,964982703\n1,3,4.0,964981247\n2,1,0.5,5\n",
        movies__csv='movieId,title,genres\n1,"Toys, The (1995)",Adventure|Comedy\n3,B,(no genres listed)\n9,C,Drama\n',
        tags__csv="userId,movieId,tag,timestamp\n2,1,Pixar,1\n3,1,fun,1\n4,1,FUN,1\n4,1,old,1\n",
        links__csv="movieId,imdbId,tmdbId\n1,0114709,862\n3,0113228,\n",
    )
    return tmp_path


def test_the_csv_form_has_tags_and_links(latest):
    raw = read_movielens(latest, MovieLensRawOptions(tags=2))
    assert raw.interactions["rating"].tolist() == [4.5, 4, 0.5]
    assert raw.items.index.tolist() == [1, 3, 9]
    assert raw.items.loc[1].to_dict() == {
        "title": "Toys, The (1995)",
        "genres": "Adventure, Comedy",
        "text": "Toys, The (1995)\nAdventure, Comedy\nfun, pixar",
        "imdb": "0114709",
        "tmdb": "862",
    }
    assert raw.items.loc[3, ["genres", "text", "tmdb"]].tolist() == [None, "B", None]


def test_tags_can_be_left_out(latest):
    raw = read_movielens(latest, MovieLensRawOptions(tags=0))
    assert raw.items.loc[1, "text"] == "Toys, The (1995)\nAdventure, Comedy"


def test_posters_are_found_by_movie(latest):
    (latest / "posters").mkdir()
    for name in ("1.jpg", "77.jpg", "3.txt"):
        (latest / "posters" / name).touch()
    raw = read_movielens(latest, MovieLensRawOptions())
    assert raw.items["image"].dropna().to_dict() == {1: str(latest / "posters" / "1.jpg")}


def test_missing_files_are_named(latest):
    (latest / "movies.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"movies\.csv"):
        read_movielens(latest, MovieLensRawOptions())


@pytest.mark.data
def test_the_real_100k_is_what_its_reader_reads(real_data):
    folder = real_data("ml-100k")
    raw, data = read_movielens(folder, MovieLensRawOptions(release="100k")), read_movielens_100k(folder)
    assert (len(raw.interactions), len(raw.people), len(raw.items)) == (100_000, 943, 1682)
    for name in ("title", "genres"):
        own = raw.items[name].reindex(data.items.ids.index)
        assert [value or None for value in own] == [value and value.strip() for value in data.items.values(name)]
    assert (raw.interactions["rating"] >= 4).sum() == len(data.split.train) + len(data.split.valid) + len(data.test)
