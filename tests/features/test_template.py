import numpy as np
import pandas as pd
import pytest

from graphrec.data.catalog import Catalog
from graphrec.data.interactions import Ids
from graphrec.features.columns import NumericEncoder, PlaceEncoder
from graphrec.features.template import compose, gather


def catalog(**columns):
    size = len(next(iter(columns.values())))
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    return Catalog(Ids([f"i{k}" for k in range(size)], name="item"), frame)


def written(template, **row):
    (text,) = compose(catalog(**{name: [value] for name, value in row.items()}), template=template)
    return text


SENTENCE = "{title} by {brand}: {description}"


@pytest.mark.parametrize(
    ("title", "brand", "description", "expected"),
    [
        ("Cup", "Ikea", "Blue", "Cup by Ikea: Blue"),
        ("Cup", None, "Blue", "Cup: Blue"),
        ("Cup", "Ikea", None, "Cup by Ikea"),
        ("Cup", None, None, "Cup"),
        (None, "Ikea", "Blue", "by Ikea: Blue"),
        (None, None, None, None),
    ],
)
def test_the_text_before_an_absent_column_goes_with_it(title, brand, description, expected):
    assert written(SENTENCE, title=title, brand=brand, description=description) == expected


@pytest.mark.parametrize(
    ("brand", "year", "expected"),
    [
        ("Ikea", 1995, "A Cup (by Ikea, 1995)."),
        ("Ikea", None, "A Cup."),
        (None, 1995, "A Cup."),
        (None, None, "A Cup."),
    ],
)
def test_a_part_in_brackets_is_left_out_when_a_column_in_it_is_absent(brand, year, expected):
    assert written("A {title}[ (by {brand}, {year})].", title="Cup", brand=brand, year=year) == expected


def test_text_before_brackets_and_after_the_last_column_stays():
    assert written("New: [{title}, ]{brand}!", title=None, brand="Ikea") == "New: Ikea!"
    assert written("{title} new [by {brand}]", title=None, brand="Ikea") == "new by Ikea"


def test_escaped_brackets_are_written_as_single_ones():
    assert written("{{{title}}} [[x]] }}{{", title="Cup") == "{Cup} [x] }{"
    assert written("[[{title}]]", title="Cup") == "[Cup]"
    assert written("[{{{title}}}]", title="Cup") == "{Cup}"


def test_without_a_template_present_values_stand_on_lines():
    data = catalog(title=["Cup", None, None], brand=["Ikea", "Ikea", None], other=["x", "y", "z"])
    assert compose(data, ["title", "brand"]) == ["Cup\nIkea", "Ikea", None]
    assert compose(data, ["brand", "title", "brand"]) == ["Ikea\nCup", "Ikea", None]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], "a, b"),
        (("a", None, 3), "a, 3"),
        (np.array(["a", "b"]), "a, b"),
        ({"b", "a"}, "a, b"),
        ([], None),
        (1995.0, "1995"),
        (0.5, "0.5"),
        (np.float32(2), "2"),
        (True, "True"),
        ("  a ", "a"),
        ("", None),
        ("{brand} [x] {{", "{brand} [x] {{"),
    ],
)
def test_values_become_text(value, expected):
    assert written("{x}", x=value, brand="Ikea") == expected
    assert compose(catalog(x=[value]), ["x"]) == [expected]


def test_columns_may_have_any_name_without_braces():
    assert (
        written("{sub title} {a.b} {c:d} {e[0]}", **{"sub title": "S", "a.b": "T", "c:d": "U", "e[0]": "V"})
        == "S T U V"
    )


@pytest.mark.parametrize("template", ["{titel}", "x [{titel}]"])
def test_an_unknown_column_is_an_error_that_helps(template):
    with pytest.raises(KeyError, match="unknown column 'titel': did you mean 'title'"):
        written(template, title="Cup")
    with pytest.raises(KeyError, match="unknown column 'titel': did you mean 'title'"):
        compose(catalog(title=["Cup"]), ["titel"])


@pytest.mark.parametrize("template", ["{title.__class__}", "{title!r}", "{title:>10}", "{title.upper}"])
def test_formats_and_attributes_are_refused(template):
    with pytest.raises(KeyError, match=r"name of a column alone, got .*write \{title\}"):
        written(template, title="Cup")


@pytest.mark.parametrize(
    "template", ["{title", "title}", "{title} [x", "x] {title}", "[a [{title}]]", "{{title}", "{a{title}}"]
)
def test_stray_and_nested_brackets_are_refused(template):
    with pytest.raises(ValueError, match="expected"):
        written(template, title="Cup")


@pytest.mark.parametrize("template", ["", "title", "{{title}}", "[]"])
def test_a_template_without_columns_is_refused(template):
    with pytest.raises(ValueError, match="expected columns in braces"):
        written(template, title="Cup")


def test_columns_that_the_template_lacks_are_refused():
    data = catalog(title=["Cup"], brand=["Ikea"])
    assert compose(data, ["title"], "{title}") == ["Cup"]
    with pytest.raises(ValueError, match=r"expected the columns \['brand'\] in the template"):
        compose(data, ["title", "brand"], "{title}")


@pytest.mark.parametrize("columns", [[], "title"])
def test_columns_are_a_list_of_names(columns):
    with pytest.raises(ValueError, match="expected a list of the names of columns"):
        compose(catalog(title=["Cup"]), columns)


def test_rows_of_values_feed_places_and_numbers():
    data = catalog(lat=[52.5, None, 48.9], lon=[13.4, None, 2.3], stars=[4, None, 2])
    rows = gather(data, ["lat", "lon"])
    assert rows == [(52.5, 13.4), None, (48.9, 2.3)]
    present = [row for row in rows if row is not None]
    assert PlaceEncoder(dim=9).encode(present).shape == (2, 9)
    np.testing.assert_allclose(NumericEncoder().encode(present), [[1, 1], [-1, -1]], rtol=1e-6)
    assert gather(catalog(a=[1, None], b=[None, None]), ["a", "b"]) == [(1, None), None]
    with pytest.raises(KeyError, match="did you mean 'lat'"):
        gather(data, ["latt"])
