import pytest

from graphrec.data.formats.lines import Skips
from graphrec.data.formats.media import IMAGES, files_by_id, path_inside


def test_files_are_found_by_name_in_folders_below_too(tmp_path):
    (tmp_path / "010").mkdir()
    for name in ("1.jpg", "1.png", "2.JPEG", "3.txt", "010/0108.webp"):
        (tmp_path / name).touch()
    skips = Skips()
    found = files_by_id(tmp_path, IMAGES, skips)
    assert {key: path.name for key, path in found.items()} == {"1": "1.jpg", "2": "2.JPEG", "0108": "0108.webp"}
    assert sum(skips.counts.values()) == 1
    assert files_by_id(tmp_path / "none", IMAGES) == {}


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    (tmp_path / "secret.jpg").touch()
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "1.jpg").symlink_to(tmp_path / "secret.jpg")
    skips = Skips()
    assert files_by_id(folder, IMAGES, skips) == {}
    assert skips.counts == {"images: link that leaves the folder": 1}
    with pytest.raises(ValueError, match="a link out of it"):
        path_inside(folder, "1.jpg")


@pytest.mark.parametrize("name", ["../x.jpg", "/x.jpg", "a/../../x.jpg", "x\0.jpg", ""])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="stays inside"):
        path_inside(tmp_path, name)
    assert path_inside(tmp_path, "a/b.jpg") == tmp_path / "a" / "b.jpg"
