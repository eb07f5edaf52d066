import gzip
import logging

import pytest

from graphrec.data.formats import lines
from graphrec.data.formats.lines import (
    CSV,
    TSV,
    Form,
    Skips,
    find_file,
    find_optional,
    first_known,
    header,
    read_batches,
    read_lines,
    read_records,
)


def rows(path, columns, **options):
    skips = Skips()
    batches = list(read_batches(path, columns, skips, **options))
    found = [row for batch in batches for row in zip(*batch, strict=True)]
    return found, [number for batch in batches for number in batch.numbers], skips.counts


def test_plain_and_gzip_files_are_read_alike_whatever_they_are_called(tmp_path):
    (tmp_path / "a.json").write_text("one\n\ntwo")
    with gzip.open(tmp_path / "b.json", "wt") as stream:
        stream.write("one\n\ntwo")
    for name in ("a.json", "b.json"):
        found = [(number, line.strip()) for number, line in read_lines(tmp_path / name, Skips())]
        assert found == [(1, "one"), (3, "two")]


def test_a_cut_off_gzip_file_says_where_it_ends(tmp_path):
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % number for number in range(5000)))
    (tmp_path / "x.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot read .*x\.gz after line \d+: .*get the file again"):
        list(read_lines(tmp_path / "x.gz", Skips()))
    (tmp_path / "x.gz").write_bytes(b"\x1f\x8bgarbage")
    with pytest.raises(ValueError, match=r"cannot read .*get the file again"):
        list(read_lines(tmp_path / "x.gz", Skips()))


def test_too_long_and_undecodable_lines_are_skipped_and_the_rest_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST_LINE", 8)
    (tmp_path / "x").write_bytes(b"short\n" + b"a" * 30 + b"\nok\n\xff\nend")
    skips = Skips()
    assert [line.strip() for _, line in read_lines(tmp_path / "x", skips)] == ["short", "ok", "end"]
    assert skips.counts == {"x: longer than 16 megabytes": 1, "x: not utf-8": 1}


def test_encodings_are_tried_in_order_and_a_byte_order_mark_is_dropped(tmp_path):
    (tmp_path / "x").write_bytes("\ufeffé\n".encode() + "é\n".encode("latin-1"))
    found = [line.strip() for _, line in read_lines(tmp_path / "x", Skips(), ("utf-8", "latin-1"))]
    assert found == ["é", "é"]


def test_json_lines_and_python_dictionaries_are_records(tmp_path):
    text = "{\"a\": 1}\n{'a': 'it\\'s', 'b': [['x']]}\n[1]\n{'a': __import__('os')}\n{\"a\": \n{'b': '\\d'}\n"
    (tmp_path / "x").write_text(text + "[" * 100_000 + "\n{" + "'a':{" * 3000 + "\n")
    skips = Skips()
    found = list(read_records(tmp_path / "x", skips))
    assert found == [(1, {"a": 1}), (2, {"a": "it's", "b": [["x"]]}), (6, {"b": "\\d"})]
    assert skips.counts == {"x: no JSON object": 5}


def test_python_dictionaries_are_limited_in_length(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST_LITERAL", 20)
    (tmp_path / "x").write_text("{'a': 1}\n{'a': '" + "b" * 20 + '\'}\n{"a": "' + "b" * 20 + '"}\n')
    assert [number for number, _ in read_records(tmp_path / "x", Skips())] == [1, 3]


def test_skipped_lines_are_logged_with_the_first_one(tmp_path, caplog):
    (tmp_path / "x").write_text('{"a": 1}\nbad\nworse\n')
    skips = Skips()
    list(read_records(tmp_path / "x", skips))
    with caplog.at_level(logging.WARNING):
        assert skips.report() == {"x: no JSON object": 2}
    assert "x: no JSON object: skipped 2, the first at line 2" in caplog.text


def test_tables_give_the_columns_asked_for_in_that_order(tmp_path):
    (tmp_path / "x.csv").write_text('b,a,c\n1,"2, or\n3",x\n"say ""hi""",004,y\n')
    found, numbers, _ = rows(tmp_path / "x.csv", ["a", "none", "b"], optional=["none"])
    assert found == [("2, or\n3", "", "1"), ("004", "", 'say "hi"')]
    assert numbers == [3, 4]


def test_rows_of_another_width_are_skipped(tmp_path):
    (tmp_path / "x.tsv").write_text('a\tb\n1\t"2\n3\n4\t5\t6\n7\t8\n')
    found, numbers, skipped = rows(tmp_path / "x.tsv", ["a", "b"], form=TSV)
    assert (found, numbers) == ([("1", '"2'), ("7", "8")], [2, 5])
    assert skipped == {"x.tsv: not 2 columns": 2}


def test_a_row_that_is_no_csv_does_not_end_the_table(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"a,b\n1,2\n3\r4,5\n6,7\n")
    found, _, skipped = rows(tmp_path / "x.csv", ["a"])
    assert [value for (value,) in found] == ["1", "6"]
    assert sum(skipped.values()) == 1


def test_tables_come_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "BATCH", 2)
    (tmp_path / "x").write_text("1::a\n2::b\n3::c\n")
    names = ("n", "t")
    batches = list(read_batches(tmp_path / "x", names, Skips(), form=Form("::", quoted=False), names=names))
    assert [batch.columns for batch in batches] == [[["1", "2"], ["a", "b"]], [["3"], ["c"]]]


def test_missing_columns_say_what_there_is(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match=r"missing \['c'\]; it has a, b"):
        list(read_batches(tmp_path / "x.csv", ["a", "c"], Skips()))
    with pytest.raises(ValueError, match=r"expected one of the columns \['u'\] in .*x\.csv; it has a, b"):
        first_known(header(tmp_path / "x.csv"), ["u"], tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(ValueError, match="it has none"):
        list(read_batches(tmp_path / "x.csv", ["a"], Skips(), form=CSV))


def test_files_are_found_packed_or_not_and_in_folders_below(tmp_path):
    (tmp_path / "ml" / "deep").mkdir(parents=True)
    (tmp_path / "ml" / "ratings.csv.gz").touch()
    (tmp_path / "ml" / "deep" / "tags.csv").touch()
    (tmp_path / "reviews.json").touch()
    assert find_file(tmp_path, "ratings.csv") == tmp_path / "ml" / "ratings.csv.gz"
    assert find_file(tmp_path, "tags.csv") == tmp_path / "ml" / "deep" / "tags.csv"
    assert find_file(tmp_path, "reviews.json.gz") == tmp_path / "reviews.json"
    assert find_optional(tmp_path, "none") is None
    assert find_optional(tmp_path, None) is None
    with pytest.raises(FileNotFoundError, match=r"'none' in .*, found ml, reviews\.json"):
        find_file(tmp_path, "none")


def test_a_file_in_two_folders_must_be_told_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").touch()
    with pytest.raises(ValueError, match=r"expected one file 'x\.csv' below"):
        find_file(tmp_path, "x.csv")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "x\0y", "C:\\x"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="stays inside"):
        find_file(tmp_path, name)


def test_a_quote_without_an_end_is_said_and_its_lines_are_no_text(tmp_path):
    (tmp_path / "t.csv").write_text('id,title\n1,"two\nlines"\n2,"stray\n3,c\n4,d\n')
    skips = Skips()
    batches = list(read_batches(tmp_path / "t.csv", ("id", "title"), skips))
    assert [batch.columns for batch in batches] == [[["1"], ["two\nlines"]]]
    assert skips.counts == {"t.csv: a quote without an end": 1}
