"""Where training data at the cut come from: stored, or pixels through the prefix.

A batch as it is read is a pair: activations or images, and side features, both arrays. Reading
and computing are apart, so that they can overlap.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from mammo import paths
from mammo.embedding.features import Features, open_features
from mammo.embedding.grey import Grey, no_grey, read_grey
from mammo.network.inputs import network_input, to_device
from mammo.network.strategies import Crossing, Prefix
from mammo.storage.files import read_json
from mammo.storage.tensors import Tensors, unit_range

if TYPE_CHECKING:
    from mammo.embedding.augment import Augmentation

Batch = tuple[np.ndarray | None, np.ndarray]


class CleanSource(Protocol):
    """Batches of clean images."""

    def clean_batch(self, positions: np.ndarray) -> Batch:
        """Read the images without augmentation."""

    def to_cut(self, batch: Batch, device: torch.device) -> Crossing:
        """Bring what was read to the device and to the cut."""


class Source(CleanSource, Protocol):
    """Batches for training too."""

    def train_batch(self, positions: np.ndarray, draws: np.ndarray) -> Batch:
        """Read one view of each image drawn; `draws` are random numbers that choose it: (n,)."""


class StoredViews:
    """Stored features, and activations where blocks follow: no pixel is touched.

    Args:
        features: Those of the frozen blocks that the head reads.
        activations: What crosses the cut, (views, C, h, w) an image; None with no block after it.
    """

    def __init__(self, features: Features, activations: Tensors | None = None):
        self.features, self.activations = features, activations

    def train_batch(self, positions: np.ndarray, draws: np.ndarray) -> Batch:
        """Gather the stored views that are drawn."""
        return self._views(positions, draws % self.features.pooled.shape[0])

    def clean_batch(self, positions: np.ndarray) -> Batch:
        """Gather the clean views."""
        return self._views(positions, np.zeros(len(positions), dtype=np.int64))

    def _views(self, positions: np.ndarray, views: np.ndarray) -> Batch:
        side = self.features.at(positions, views)
        return (self.activations.gather(positions, views) if self.activations else None), side

    def to_cut(self, batch: Batch, device: torch.device) -> Crossing:
        """Bring half precision to float32: activations channels-last."""
        crossing, side = batch
        if crossing is None:
            return Crossing(None, to_device(side, device))
        activations = to_device(crossing, device).float()
        if activations.ndim == 4:
            activations = activations.contiguous(memory_format=torch.channels_last)
        return Crossing(activations, to_device(side, device))


class Pixels:
    """Images through the prefix: the path of deployment."""

    def __init__(self, tensors: Tensors, prefix: Prefix, dtype: torch.dtype, grey: Grey = no_grey):
        self.tensors, self.prefix = tensors, prefix
        self.dtype, self.grey = dtype, grey

    def clean_batch(self, positions: np.ndarray) -> Batch:
        """Read the images as they are: (B, H, W) float32 in [0, 1]."""
        return unit_range(self.tensors.gather(positions)), self.grey(positions)

    def to_cut(self, batch: Batch, device: torch.device) -> Crossing:
        """Run the frozen prefix."""
        images, grey = batch
        assert images is not None
        with torch.no_grad():
            pictures = network_input(images, device, self.dtype, self.prefix.normalisation)
            crossing = self.prefix(pictures)
            side = torch.cat([to_device(grey, device), crossing.side], dim=1)
            return Crossing(_float(crossing.activations), side)


class FlippedPixels(Pixels):
    """Images upside down, as augmentation flips them, through the prefix."""

    def clean_batch(self, positions: np.ndarray) -> Batch:
        """Read the images with their rows in reverse: (B, H, W) float32 in [0, 1]."""
        return unit_range(self.tensors.gather(positions)[:, ::-1]), self.grey(positions)


class FreshViews(Pixels):
    """Images through augmentation and prefix: a new view for every draw."""

    def __init__(
        self,
        tensors: Tensors,
        prefix: Prefix,
        dtype: torch.dtype,
        augmentation: "Augmentation",
        grey: Grey = no_grey,
    ):
        super().__init__(tensors, prefix, dtype, grey)
        self.augmentation = augmentation

    def train_batch(self, positions: np.ndarray, draws: np.ndarray) -> Batch:
        """Make the view that each draw asks for: (B, H, W) float32 in [0, 1]."""
        images, grey = self.clean_batch(positions)
        assert images is not None
        keys = [self.tensors.keys[position] for position in positions]
        return self.augmentation.views(images, keys, 1 + draws), grey


def _float(activations: Tensor | None) -> Tensor | None:
    return None if activations is None else activations.float()


def open_source(
    embeddings: Path,
    images: Tensors,
    prefix: Prefix,
    dtype: torch.dtype,
    augmentation: "Augmentation",
    device: torch.device,
    reads: tuple[str, ...],
    grey: bool,
) -> Source:
    """Open a strategy's stored activations, or the pixels where its plan says not stored.

    Args:
        embeddings: The folder that stage `embed` wrote for the strategy.
        images: The images, in the same order.
        prefix: The frozen blocks, BatchNorm folded.
        dtype: Of the prefix's arithmetic.
        augmentation: Makes fresh views.
        device: Where the prefix runs.
        reads: Names of the blocks that the head reads.
        grey: Whether it reads grey features too.
    """
    if not read_json(embeddings / paths.PLAN)["stored"]:
        given = read_grey(embeddings) if grey else no_grey
        return FreshViews(images, prefix.to(device), dtype, augmentation, given)
    frozen = [name for name, _ in prefix.blocks.named_children()]
    features = open_features(embeddings, [name for name in reads if name in frozen], grey)
    return StoredViews(features, None if prefix.ends else Tensors(embeddings / paths.CUT))
