"""The scratch store: arrays kept under a key that says everything they depend on.

It lies in `.cache/` of the main checkout, outside Git and DVC, and may be deleted at any time.
"""

import io
from pathlib import Path

import numpy as np

from mammo.storage.files import write_bytes


class Store:
    """A folder of `.npy` files named by their keys; a broken or missing one is a miss."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, key: str) -> Path:
        """Name the file of a key; two levels, so that no folder holds a million entries."""
        return self.folder / key[:2] / f"{key}.npy"

    def get(self, key: str) -> np.ndarray | None:
        """Read an array, or None where there is none."""
        try:
            return np.load(self.path(key), allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):
            return None

    def put(self, key: str, array: np.ndarray) -> None:
        """Keep an array; a reader sees all of it or nothing."""
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_bytes(buffer.getvalue(), self.path(key))
