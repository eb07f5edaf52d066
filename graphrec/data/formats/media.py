"""Pictures, sounds and videos in a folder, found by the item that they are named after."""

from __future__ import annotations

from pathlib import Path

from graphrec.data.archive import safe_name
from graphrec.data.formats.lines import Skips

IMAGES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"))
SOUNDS = frozenset((".wav", ".flac", ".mp3", ".ogg", ".m4a", ".aac", ".opus"))
VIDEOS = frozenset((".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v"))


def files_by_id(folder: Path, suffixes: frozenset[str], skips: Skips | None = None) -> dict[str, Path]:
    """Returns the files in a folder and the folders below it, by their names without suffix.

    A link that leads out of the folder is not followed; of two files with one name, the first in order counts.
    An absent folder has no files.
    """
    found: dict[str, Path] = {}
    skips = skips or Skips()
    root = folder.resolve()
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.suffix.lower() not in suffixes or not path.is_file():
            continue
        if not path.resolve().is_relative_to(root):
            skips.add(folder, "link that leaves the folder", 0)
        elif path.stem in found:
            skips.add(folder, "second file for an item", 0)
        else:
            found[path.stem] = path
    return found


def path_inside(folder: Path, name: str) -> Path:
    """Returns the path that a name states in a folder.

    Raises:
        ValueError: If it leads out of the folder: ``../x``, an absolute path, a NUL, a link.
    """
    path = folder / safe_name(name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"expected a path that stays in {str(folder)!r}, got {name!r}, which is a link out of it")
    return path
