"""The features that a head reads: grey ones first, then the pooled ones of each block, stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mammo import paths
from mammo.embedding.grey import GREY_NAMES, Grey, no_grey, read_grey
from mammo.storage.files import read_json
from mammo.storage.tensors import Tensors


@dataclass(frozen=True)
class Features:
    """Of all images of a store, F an image and view.

    Attributes:
        pooled: Pooled features of all blocks, (views, P) an image; entry 0 is the clean view.
        columns: Those of the blocks that the head reads, in order.
        widths: How many features each kind has: the grey ones, where they are read, and each
            block's. Their sum is F.
        grey: Grey features of images.
    """

    pooled: Tensors
    columns: np.ndarray
    widths: tuple[int, ...]
    grey: Grey = no_grey

    def at(self, positions: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Gather one view of each image: (n,), (n,) -> (n, F)."""
        pooled = self.pooled.gather(positions, views)[:, self.columns]
        return np.concatenate([self.grey(positions), pooled], axis=1)

    def clean(self, positions: np.ndarray) -> np.ndarray:
        """Gather the clean views: (n,) -> (n, F)."""
        return self.at(positions, np.zeros(len(positions), dtype=np.int64))

    def views(self, positions: np.ndarray) -> np.ndarray:
        """Gather every view: (n,) -> (n, V, F)."""
        pooled = self.pooled.gather(positions)[:, :, self.columns]
        grey = self.grey(positions)[:, None].repeat(pooled.shape[1], axis=1)
        return np.concatenate([grey, pooled], axis=2)


def open_features(embeddings: Path, reads: Sequence[str], grey: bool) -> Features:
    """Open what a head reads in a strategy's folder of embeddings.

    Args:
        embeddings: The folder that stage `embed` wrote.
        reads: Names of the blocks.
        grey: Whether it reads grey features too.

    Raises:
        UserError: Features are missing, or aren't as they were written.
    """
    widths: dict[str, int] = read_json(embeddings / paths.PLAN)["blocks"]
    return Features(
        Tensors(embeddings / paths.POOLED),
        feature_columns(widths, reads),
        (len(GREY_NAMES),) * grey + tuple(widths[name] for name in reads),
        read_grey(embeddings) if grey else no_grey,
    )


def feature_columns(widths: dict[str, int], reads: Sequence[str]) -> np.ndarray:
    """Find the columns of some blocks among the pooled features of all: (F,) int64."""
    ends = np.cumsum([0, *widths.values()])
    start = dict(zip(widths, ends[:-1], strict=True))
    parts = [np.arange(start[name], start[name] + widths[name]) for name in reads]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])
