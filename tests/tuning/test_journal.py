"""The journal: what a dying process leaves unfinished is cut off, and damage elsewhere is named."""

import optuna
import pytest

from graphrec.tuning.journal import (
    JOURNAL,
    JournalLock,
    TuningError,
    cut_unfinished_line,
    differences,
    open_storage,
    open_study,
)


def begin(folder):
    study = optuna.create_study(study_name="graphrec", storage=open_storage(folder))
    for _ in range(3):
        study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}), 1.0)
    return study


@pytest.mark.parametrize(
    ("content", "kept"), [(b"", b""), (b"ab\n", b"ab\n"), (b"ab\ncd", b"ab\n"), (b"ab", b""), (b"a\n\0\0", b"a\n")]
)
def test_only_an_unfinished_line_is_cut_off(tmp_path, content, kept):
    path = tmp_path / "file"
    path.write_bytes(content)
    cut_unfinished_line(path)
    assert path.read_bytes() == kept


def test_a_journal_cut_anywhere_in_its_last_line_can_be_gone_on_with(tmp_path):
    begin(tmp_path)
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    for length in range(last + 1, len(whole), 7):
        path.write_bytes(whole[:length])
        open_study(tmp_path).set_user_attr("note", length)
        found = open_study(tmp_path)
        assert len(found.trials) == 3
        assert found.user_attrs["note"] == length


def test_a_reader_goes_on_after_another_process_was_killed_while_writing(tmp_path):
    study = begin(tmp_path)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    assert len(study.get_trials()) == 3
    study.ask()
    assert len(study.get_trials()) == len(open_study(tmp_path).trials) == 4


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    begin(tmp_path)
    path = tmp_path / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{not json\n", *lines[3:]]))
    with pytest.raises(TuningError, match=r"cannot read the journal .*journal\.log"):
        open_study(tmp_path)


def test_a_folder_without_a_study_is_an_error_and_stays_as_it_is(tmp_path):
    with pytest.raises(TuningError, match="expected the journal of a study"):
        open_study(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    open_storage(tmp_path)
    with pytest.raises(TuningError, match="found none"):
        open_study(tmp_path)


def test_the_lock_keeps_others_out_until_it_is_given_back(tmp_path):
    path = tmp_path / "file"
    path.touch()
    lock, other = JournalLock(path), JournalLock(path)
    lock.acquire()
    with pytest.raises(TimeoutError):
        other._lock.acquire(timeout=0)
    lock.release()
    assert other.acquire()
    other.release()


def test_differences_name_what_is_there_only_once():
    assert differences({"a": 1, "b": None}, {"a": 1, "c": 2}) == [
        "b: None before, not there now",
        "c: not there before, 2 now",
    ]
