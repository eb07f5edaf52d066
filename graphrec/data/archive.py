"""Archives from the network, unpacked so that nothing in them can leave its folder or fill the disk."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

DRIVE = re.compile(r"^[A-Za-z]:")


def safe_name(name: str) -> PurePosixPath:
    r"""Returns the relative path that a name states, if it stays inside the folder that it is laid in.

    >>> str(safe_name("images/1.jpg"))
    'images/1.jpg'

    Raises:
        ValueError: If it is empty or absolute, has a ``..``, a backslash, a drive or a control character.
    """
    path = PurePosixPath(name)
    leaves = path.is_absolute() or ".." in path.parts or "\\" in name or DRIVE.match(name)
    if leaves or not path.parts or any(ord(character) < 32 for character in name):
        raise ValueError(f"expected a name that stays inside its folder, got {name!r}; it is not used")
    return path
