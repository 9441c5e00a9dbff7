"""The scratch store: arrays kept under a key that says everything they depend on.

It lies in `.cache/` of the main checkout, outside Git and DVC, and may be deleted at any time.
Nobody but the store looks after it, so every entry carries a digest of its key and content, and
what doesn't match is made anew.
"""

import io
import shutil
from pathlib import Path

import numpy as np
import xxhash

from mammo.storage.files import write_bytes

# The number counts the forms that entries have had: one of another form is a miss.
_FORM = b"mammo scratch 2 "
_DIGITS = 32


class Store:
    """A folder of files named by their keys; a broken or missing one is a miss.

    Attributes:
        damaged: Keys of the entries found broken.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.damaged: set[str] = set()

    def path(self, key: str) -> Path:
        """Name the file of a key; two levels, so that no folder holds a million entries."""
        return self.folder / key[:2] / f"{key}.kept"

    def get(self, key: str) -> np.ndarray | None:
        """Read an array whose digest matches, or None where there is none."""
        try:
            content = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError:  # a bad sector, say
            self.damaged.add(key)
            return None
        head = len(_FORM) + _DIGITS
        if content[:head] != _FORM + _digest(key, memoryview(content)[head:]):
            self.damaged.add(key)
            return None
        array: np.ndarray = np.load(io.BytesIO(memoryview(content)[head:]), allow_pickle=False)
        return array

    def put(self, key: str, array: np.ndarray) -> None:
        """Keep an array; a reader sees all of it or nothing.

        It isn't waited for until it is on the disk: what a loss of power cuts is a miss.
        """
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        content, path = buffer.getbuffer(), self.path(key)
        if path.is_dir():  # no file can take its place
            self.remove(key)
        write_bytes(b"".join([_FORM, _digest(key, content), content]), path, durable=False)

    def remove(self, key: str) -> None:
        """Remove an entry, whatever lies in its place."""
        path = self.path(key)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _digest(key: str, content: memoryview) -> bytes:
    """Hash a key and its content to 32 digits, at memory's speed: against damage, not malice."""
    hashed = xxhash.xxh3_128(key.encode())
    hashed.update(content)
    return hashed.hexdigest().encode()
