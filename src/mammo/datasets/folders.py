"""List the files of a dataset's folder, and find the one that a table names."""

import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mammo.errors import UserError

# The forms that mammograms are passed on in, whatever their publisher's.
IMAGE_SUFFIXES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".pgm")

DICOM_SUFFIXES = (".dcm", ".dicom")

_SPECIAL = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass
class Survey:
    """What lies below a folder, as sorted posix paths relative to it; hidden names left out.

    Attributes:
        files: Regular files, also behind links.
        unreadable: Folders that can't be listed, and why.
        special: FIFOs, sockets and devices, and which: to open one may wait for ever.
        not_utf8: Files whose names aren't UTF-8, with the odd bytes as surrogates.
    """

    files: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    special: dict[str, str] = field(default_factory=dict)
    not_utf8: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Folder:
    """A folder to look at, its path below the root, and the identities of those above it."""

    place: Path
    below: PurePosixPath
    above: tuple[tuple[int, int], ...]


def survey(root: Path) -> Survey:
    """Look at everything below a folder; links are followed, but never round in a circle."""
    found, waiting = Survey(), [_Folder(root, PurePosixPath(), ())]
    while waiting:  # folders may lie deeper than functions may call each other
        waiting += reversed(_look(waiting.pop(), found))
    found.files.sort()
    found.not_utf8.sort()
    return found


def _look(folder: _Folder, found: Survey) -> list[_Folder]:
    """Note what lies in a folder; return the folders in it."""
    try:
        status = folder.place.stat()
        with os.scandir(folder.place) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        found.unreadable[folder.below.as_posix()] = error.strerror or str(error)
        return []
    identity = (status.st_dev, status.st_ino)
    if identity in folder.above:
        return []
    seen = [entry for entry in entries if not entry.name.startswith(".")]
    return [
        _Folder(Path(entry.path), folder.below / entry.name, (*folder.above, identity))
        for entry in seen
        if _is_folder(entry, (folder.below / entry.name).as_posix(), found)
    ]


def _is_folder(entry: os.DirEntry[str], path: str, found: Survey) -> bool:
    """Tell a folder; note anything else."""
    try:
        kind = stat.S_IFMT(entry.stat().st_mode)
    except PermissionError:  # the folder lists its entries and doesn't let them be seen
        found.files.append(path)
        return False
    except OSError:  # a link to nothing, or to itself
        return False
    if kind == stat.S_IFDIR:
        return True
    if kind in _SPECIAL:
        found.special[path] = _SPECIAL[kind]
    elif is_utf8(path):
        found.files.append(path)
    else:
        found.not_utf8.append(path)
    return False


def is_utf8(path: str) -> bool:
    """Tell whether a path's bytes are UTF-8; Python keeps others as surrogates."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(path: str) -> str:
    r"""Write a path so that it can be printed: bytes that aren't UTF-8 as \xf3."""
    return os.fsencode(path).decode(errors="backslashreplace")


def list_files(root: Path) -> list[str]:
    """List the files below `root` as sorted posix paths relative to it, hidden ones left out."""
    return survey(root).files


def require_folder(root: Path) -> None:
    """Refuse a folder that is missing or empty.

    Raises:
        UserError: Names what is there instead.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder (dataset.root); {listing(root.parent)}")
    try:
        first = next(root.iterdir(), None)
    except OSError as error:
        raise UserError(f"{root}: can't be read (dataset.root): {error.strerror}") from None
    if first is None:
        raise UserError(f"{root}: the folder is empty (dataset.root); put the images there")


def listing(folder: Path, limit: int = 8) -> str:
    """Say what lies in a folder, for error messages."""
    while not folder.is_dir():
        folder = folder.parent
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    first = ", ".join(map(shown, names[:limit])) + (", …" if len(names) > limit else "")
    return f"{folder} holds {first or 'nothing'}"


# ---- finding the file that a table means


def composed(text: str) -> str:
    """Bring a name to one Unicode form: macOS stores accents decomposed, tables rarely do."""
    return unicodedata.normalize("NFC", text)


_ANYWHERE = "/"  # no folder below the root has this name


class Finder:
    """Finds published images in the form that people have them in.

    A data set published as DICOM is mostly passed on as JPEG or PNG, in folders of patients or
    with the patient before the image's name.
    """

    def __init__(self, files: Iterable[str]):
        self._exact: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._padded: dict[str, str] = {}
        self._alike: dict[str, str] = {}
        self._first_in: dict[str, str] = {}
        for path in files:
            name = composed(path)
            alike = _stem(name).casefold()
            for key in (alike, alike.rpartition("/")[2]):
                self._alike.setdefault(key, path)
            for folder in (name.rpartition("/")[0], _ANYWHERE):
                self._first_in.setdefault(folder, path)
            self._exact[name].append(path)
            self._by_stem[_stem(name)].append(path)
            if without_end_blanks(name) != name:
                self._padded[without_end_blanks(name)] = path

    def exact(self, path: str) -> list[str]:
        """Find a path, whatever its Unicode form."""
        return self._exact.get(composed(path), [])

    def padded(self, path: str) -> str | None:
        """Find the file that only blanks at the ends of names tell from a path."""
        return self._padded.get(without_end_blanks(composed(path)))

    def nearest(self, path: str) -> str | None:
        """Name a file for a missing one: one like it but for case, suffix and folder, or any."""
        alike, folder = _stem(composed(path)).casefold(), composed(path).rpartition("/")[0]
        return (
            self._alike.get(alike)
            or self._alike.get(alike.rpartition("/")[2])
            or self._first_in.get(folder)
            or self._first_in.get(_ANYWHERE)
        )

    def published(self, path: str) -> list[str]:
        """Find a published path, or its stem with another extension, `a/b` also as `a_b`."""
        found = self.exact(path)
        if found:
            return found
        stem = _stem(composed(path))
        folder, _, name = stem.rpartition("/")
        joined = f"{folder}_{name}" if folder else ""
        return [*self._by_stem.get(stem, []), *self._by_stem.get(joined, [])]


def without_end_blanks(path: str) -> str:
    """Strip each name of a path, as a table's cells are stripped."""
    return "/".join(name.strip() for name in path.split("/"))


def _stem(path: str) -> str:
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else path


def is_image(path: str) -> bool:
    """Tell by the suffix."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def originals(paths: list[str], suffixes: tuple[str, ...]) -> list[str]:
    """Keep the files in the form that they were published in, if any are; others are copies."""
    return [path for path in paths if path.lower().endswith(suffixes)] or paths
