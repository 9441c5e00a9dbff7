"""List the files of a dataset's folder."""

import os
from pathlib import Path

from mammo.errors import UserError


def require_folder(root: Path) -> None:
    """Refuse a folder that is missing or empty.

    Raises:
        UserError: Names what is there instead.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder (dataset.root); {listing(root.parent)}")
    if next(root.iterdir(), None) is None:
        raise UserError(f"{root}: the folder is empty (dataset.root); put the images there")


def list_files(root: Path) -> list[str]:
    """List the files below `root` as sorted posix paths relative to it, hidden ones left out."""
    found: list[str] = []
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        below = Path(folder).relative_to(root)
        found += [(below / file).as_posix() for file in files if not file.startswith(".")]
    return sorted(found)


def listing(folder: Path, limit: int = 8) -> str:
    """Say what lies in a folder, for error messages."""
    while not folder.is_dir():
        folder = folder.parent
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    shown = ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
    return f"{folder} holds {shown or 'nothing'}"
