"""The sharded store: arrays of one shape in a few `.npy` files, opened as read-only memmaps.

A folder holds `shard-00000.npy`, … of shape (images, *shape) and `index.csv` (key, shard, row),
sorted by key, and `manifest.json` with the digest of each. `data/tensors/` and those in
`data/embeddings/S/` are such folders, and so is `data/tensors/outline/`, which holds each breast's
outline, a bit a pixel of its tensor.
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.lib.format import dtype_to_descr, write_array_header_1_0

from mammo.errors import UserError
from mammo.storage.files import read_table, table_text
from mammo.storage.keys import require_unique
from mammo.storage.manifest import MANIFEST, Facts, check_folder, manifest_text


def write_shards(
    items: Iterable[np.ndarray], keys: Sequence[str], folder: Path, shard_bytes: int
) -> None:
    """Write one array a key, in the order of `keys`, into shards of about `shard_bytes`.

    Args:
        items: Arrays of one shape and dtype, as many as keys; at most one is held at a time.
        keys: Image keys, sorted and unique.
        folder: An existing folder.
        shard_bytes: The size of a shard; a shard holds at least one array.

    Raises:
        ValueError: The keys aren't sorted and unique, the numbers of both differ, or so do the
            arrays' shapes or dtypes.
    """
    writer = ShardWriter(keys, folder, shard_bytes)
    try:
        for _, item in zip(keys, items, strict=True):
            writer.write(item)
    finally:
        writer.abandon()
    writer.close()


class ShardWriter:
    """Writes shards item by item, where several stores are filled side by side.

    Attributes:
        keys: Image keys, sorted and unique, in the order of the items.
        folder: An existing folder.
        shard_bytes: The size of a shard; a shard holds at least one array.
    """

    def __init__(self, keys: Sequence[str], folder: Path, shard_bytes: int):
        if list(keys) != sorted(set(keys)):
            raise ValueError("keys must be sorted and unique")
        self.keys, self.folder, self.shard_bytes = keys, folder, shard_bytes
        self._rows: list[tuple[str, int, int]] = []
        self._known: dict[str, Facts] = {}
        self._kind: tuple[tuple[int, ...], np.dtype] | None = None  # shape and dtype of an item
        self._open: _Hashed | None = None
        self._row = self._length = 0  # of the open shard

    def write(self, item: np.ndarray) -> None:
        """Write the array of the next key; it isn't kept.

        Raises:
            ValueError: Its shape or dtype isn't that of the first.
        """
        key = self.keys[len(self._rows)]
        self._kind = self._kind or (item.shape, item.dtype)
        if (item.shape, item.dtype) != self._kind:
            raise ValueError(f"{key}: {item.shape} {item.dtype} among {self._kind}")
        shard = self._open or self._begin(item)
        shard.write(np.ascontiguousarray(item).data)
        self._rows.append((key, len(self._known), self._row))
        self._row += 1
        if self._row == self._length:
            self._end(shard)

    def close(self) -> None:
        """Write index and manifest.

        Raises:
            ValueError: There were fewer items than keys.
        """
        if len(self._rows) != len(self.keys):
            raise ValueError(f"{len(self._rows)} items for {len(self.keys)} keys")
        index = table_text(pd.DataFrame(self._rows, columns=["key", "shard", "row"]))
        (self.folder / "index.csv").write_text(index, encoding="utf-8")
        facts = manifest_text(self.folder, self._known, rows=len(self._rows))
        (self.folder / MANIFEST).write_text(facts, encoding="utf-8")

    def abandon(self) -> None:
        """Close the open shard; what was written is of no use."""
        if self._open:
            self._open.file.close()

    def _begin(self, item: np.ndarray) -> "_Hashed":
        fits = max(1, self.shard_bytes // max(1, item.nbytes))
        self._row, self._length = 0, min(fits, len(self.keys) - len(self._rows))
        shard = self._open = _Hashed(self._file().open("wb"))
        # Not through a memmap: filling a new file that way costs a page fault every 4 KB.
        header = {"descr": dtype_to_descr(item.dtype), "fortran_order": False}
        write_array_header_1_0(shard, {**header, "shape": (self._length, *item.shape)})
        return shard

    def _end(self, shard: "_Hashed") -> None:
        shard.file.close()
        self._known[self._file().name] = shard.facts()
        self._open = None

    def _file(self) -> Path:
        return self.folder / f"shard-{len(self._known):05d}.npy"


class _Hashed:
    """A file whose digest is taken as it is written."""

    def __init__(self, file: io.BufferedWriter):
        self.file, self._sha256, self._bytes = file, hashlib.sha256(), 0

    def write(self, content: bytes | memoryview) -> int:
        """Write all of it."""
        self._sha256.update(content)
        self._bytes += memoryview(content).nbytes
        return self.file.write(content)

    def facts(self) -> Facts:
        return {"bytes": self._bytes, "sha256": self._sha256.hexdigest()}


class Tensors:
    """Read-only view of a sharded store; indexing by position gathers from the memmaps."""

    def __init__(self, folder: Path):
        """Open a store, after comparing every byte with its manifest.

        Raises:
            UserError: The store is empty, or not as it was written.
        """
        manifest = check_folder(folder)
        index = read_table(folder / "index.csv", shard=int, row=int)
        if index.empty:
            raise UserError(f"{folder}: holds no image; see data/quarantine.csv for the reasons")
        self.keys: list[str] = list(index["key"])
        require_unique(folder / "index.csv", self.keys)
        self._position = {key: position for position, key in enumerate(self.keys)}
        self._shard = index["shard"].to_numpy()
        self._row = index["row"].to_numpy()
        self._shards: list[np.ndarray] = [
            np.load(folder / f"shard-{number:05d}.npy", mmap_mode="r", allow_pickle=False)
            for number in range(int(self._shard.max()) + 1)
        ]
        lengths = {manifest.get("rows"), len(index), sum(len(shard) for shard in self._shards)}
        if len(lengths) > 1:
            raise UserError(f"{folder}: index, shards and manifest must be of one length")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item."""
        return self._shards[0].shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the items."""
        return self._shards[0].dtype

    def positions(self, keys: Iterable[str]) -> np.ndarray:
        """Find the positions of keys: (n,) int64.

        Raises:
            KeyError: A key isn't in the store.
        """
        return np.array([self._position[key] for key in keys], dtype=np.int64)

    def gather(self, positions: np.ndarray, view: np.ndarray | None = None) -> np.ndarray:
        """Copy the items at `positions` out of the shards: (n, *shape).

        With `view`, one number a position, only that entry of each item's first axis is read:
        (n, *shape[1:]).
        """
        shape = self.shape if view is None else self.shape[1:]
        out = np.empty((len(positions), *shape), dtype=self.dtype)
        shards = self._shard[positions]
        for number in np.unique(shards):
            where = np.flatnonzero(shards == number)
            rows = self._row[positions[where]]
            shard = self._shards[number]
            out[where] = shard[rows] if view is None else shard[rows, view[where]]
        return out


def unit_range(images: np.ndarray) -> np.ndarray:
    """Scale uint8 or uint16 grey levels to float32 in [0, 1], any shape."""
    return images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max)


OUTLINES = "outline"  # the folder beside the tensors' shards


def packed(outline: np.ndarray) -> np.ndarray:
    """Pack a mask into bits, each row of it into whole bytes: (…, n) -> (…, ceil(n / 8))."""
    return np.packbits(outline, axis=-1)


def gather_outlines(outlines: Tensors, positions: np.ndarray) -> np.ndarray:
    """Copy the breasts' outlines at `positions` out of their shards: (n, size_px, size_px) bool.

    Args:
        outlines: `Tensors(folder / OUTLINES)` of a folder of tensors, whose keys it shares.
        positions: As of `Tensors.positions`.
    """
    size_px = outlines.shape[0]
    return np.unpackbits(outlines.gather(positions), axis=-1, count=size_px).astype(bool)
