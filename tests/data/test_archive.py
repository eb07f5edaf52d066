import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile

import pytest

from graphrec.data.archive import safe_name, unpack

FILES = {"a.txt": b"a" * 10, "sub/b.txt": b"b" * 20}
EVIL = ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "C:evil", "sub/..", "a\nb", "."]


def make_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def contents(folder):
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".unpacked.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_archives_are_unpacked_whatever_they_are_called(tmp_path, kind):
    path = tmp_path / "download"
    if kind == "zip":
        make_zip(path, FILES)
    else:
        make_tar(path, FILES, "w" if kind == "tar" else f"w:{kind.partition('.')[2]}")
    assert contents(unpack(path, tmp_path / "out")) == FILES
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["download", "out"]


def test_a_gz_file_becomes_the_file(tmp_path):
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert contents(unpack(tmp_path / "a.json.gz", tmp_path / "a")) == {"a.json": b"one\ntwo\n"}


def test_a_single_folder_around_everything_is_left_out_and_so_is_what_macos_adds(tmp_path):
    files = {"ml-1m/a.txt": b"a", "ml-1m/.DS_Store": b"x", "__MACOSX/ml-1m/._a.txt": b"x"}
    assert contents(unpack(make_zip(tmp_path / "a.zip", files), tmp_path / "out")) == {"a.txt": b"a"}


def test_unpacking_again_changes_nothing_and_a_new_archive_replaces_the_old_files(tmp_path):
    archive, out = make_zip(tmp_path / "a.zip", FILES), tmp_path / "out"
    unpack(archive, out)
    (out / "a.txt").write_bytes(b"edited")
    assert contents(unpack(archive, out))["a.txt"] == b"edited"
    make_zip(archive, {"c.txt": b"c"})
    assert contents(unpack(archive, out)) == {"c.txt": b"c"}


def test_a_folder_filled_by_hand_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_bytes(b"mine")
    assert contents(unpack(make_zip(tmp_path / "a.zip", FILES), tmp_path / "out")) == {"mine.txt": b"mine"}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_names_that_leave_the_folder_are_refused_and_nothing_is_left(tmp_path, name, make):
    folder = tmp_path / "deep" / "down"
    folder.mkdir(parents=True)
    make(folder / "a", {"fine.txt": b"x", name: b"evil"})
    with pytest.raises(ValueError, match="expected a name that stays inside its folder"):
        unpack(folder / "a", folder / "out")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "a"]
    with pytest.raises(ValueError):
        safe_name(name)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("evil")
        info.type, info.linkname = kind, "/etc"
        archive.addfile(info)
    with pytest.raises(ValueError, match="got the link or device 'evil'"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_in_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("evil")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="got the link or device 'evil'"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("names", [["a", "a"], ["a", "a/b"], ["a/b", "a"]])
def test_names_that_overwrite_others_are_refused(tmp_path, names):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(ValueError, match="expected every name once"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_a_bomb_is_stopped_at_the_limit(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10_000_000))
    with pytest.raises(ValueError, match=r"expected at most 1000000 bytes in .*a\.zip, got more"):
        unpack(tmp_path / "a.zip", tmp_path / "out", limit=1_000_000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    assert (unpack(tmp_path / "a.zip", tmp_path / "out", limit=10_000_000) / "zeros").stat().st_size == 10_000_000


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "gz"])
def test_damaged_archives_are_named(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "zip":
        make_zip(path, {"a": b"a" * 5_000})
    elif kind == "gz":
        path.write_bytes(gzip.compress(bytes(range(256)) * 50))
    else:
        make_tar(path, {"a": bytes(range(256)) * 50}, "w" if kind == "tar" else f"w:{kind.partition('.')[2]}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"{path}.*fetch it again"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"<html>", bz2.compress(b"x"), lzma.compress(b"x")])
def test_what_is_no_archive_is_said(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match="expected a zip, tar or gz archive"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        unpack(tmp_path / "none.zip", tmp_path / "out")


def test_a_zip_with_a_password_is_said(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"a": b"secret"})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="password required"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize(
    "damage", [lambda tar: tar[:1024], lambda tar: tar[:1124], lambda tar: tar[:1024] + b"?" * 4096]
)
def test_a_tar_that_is_cut_between_two_files_is_not_whole(tmp_path, damage):
    path = make_tar(tmp_path / "a.tar", {f"{number}.txt": b"x" for number in range(5)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="ends early"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_compressed_tar_is_read_to_its_end(tmp_path):
    path = make_tar(tmp_path / "a.tar.gz", FILES, "w:gz")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="fetch it again"):
        unpack(path, tmp_path / "out")
