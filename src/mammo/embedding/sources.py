"""Where training data at the cut come from: stored activations, or pixels through the prefix."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mammo.embedding.augment import Augmentation
from mammo.embedding.params import AugmentParams
from mammo.network.compute import compute_dtype
from mammo.network.inputs import Normalisation, network_input, to_device, unit_range
from mammo.network.network import Network
from mammo.network.params import ComputeParams
from mammo.network.strategies import fold_batchnorm
from mammo.storage.files import read_json
from mammo.storage.tensors import Tensors

PLAN = "plan.json"  # in a strategy's folder of embeddings: stored or not, and why


class CleanSource(Protocol):
    """Batches of clean images; reading and computing are apart, so that they can overlap."""

    def clean_batch(self, positions: np.ndarray) -> np.ndarray:
        """Read the images without augmentation."""

    def to_cut(self, batch: np.ndarray, device: torch.device) -> Tensor:
        """Bring what was read to the device and to the cut."""


class Source(CleanSource, Protocol):
    """Batches for training too."""

    def train_batch(self, positions: np.ndarray, epoch: int) -> np.ndarray:
        """Read one view of each image; the view depends on the epoch."""


class StoredViews:
    """Stored activations: no pixel is touched, no prefix runs."""

    def __init__(self, embeddings: Tensors, seed: int):
        self.embeddings = embeddings
        self.seed = seed
        self._drawn: tuple[int, np.ndarray] | None = None  # an epoch, and every image's view in it

    def train_batch(self, positions: np.ndarray, epoch: int) -> np.ndarray:
        """Gather one of the stored views of each image, drawn by (seed, epoch): (B, ...)."""
        if self._drawn is None or self._drawn[0] != epoch:  # not for every batch: all are drawn
            draw = np.random.default_rng([self.seed, epoch, 1])
            drawn = draw.integers(self.embeddings.shape[0], size=len(self.embeddings))
            self._drawn = epoch, drawn
        return self.embeddings.gather(positions, self._drawn[1][positions])

    def clean_batch(self, positions: np.ndarray) -> np.ndarray:
        """Gather the clean views: (B, ...)."""
        return self.embeddings.gather(positions, np.zeros(len(positions), dtype=np.int64))

    def to_cut(self, batch: np.ndarray, device: torch.device) -> Tensor:
        """Bring half precision to float32: (B, C, h, w) channels-last, or (B, C)."""
        crossing = to_device(batch, device).float()
        if crossing.ndim == 4:
            crossing = crossing.contiguous(memory_format=torch.channels_last)
        return crossing


class Pixels:
    """Images through the prefix: the path of deployment."""

    def __init__(
        self,
        tensors: Tensors,
        prefix: nn.Module,
        dtype: torch.dtype,
        normalisation: Normalisation,
    ):
        self.tensors = tensors
        self.prefix = prefix
        self.dtype = dtype
        self.normalisation = normalisation

    def clean_batch(self, positions: np.ndarray) -> np.ndarray:
        """Read the images as they are: (B, H, W) float32 in [0, 1]."""
        return unit_range(self.tensors.gather(positions))

    def to_cut(self, batch: np.ndarray, device: torch.device) -> Tensor:
        """Run the frozen prefix: (B, H, W) -> (B, C, h, w), (B, C), or (B, 3, H, W) uncut."""
        with torch.no_grad():
            pictures = network_input(batch, device, self.dtype, self.normalisation)
            return self.prefix(pictures).float()


class FlippedPixels(Pixels):
    """Images upside down, as augmentation flips them, through the prefix."""

    def clean_batch(self, positions: np.ndarray) -> np.ndarray:
        """Read the images with their rows in reverse: (B, H, W) float32 in [0, 1]."""
        return np.ascontiguousarray(super().clean_batch(positions)[:, ::-1])


class FreshViews(Pixels):
    """Images through augmentation and prefix: a new view in every epoch."""

    def __init__(
        self,
        tensors: Tensors,
        prefix: nn.Module,
        dtype: torch.dtype,
        normalisation: Normalisation,
        augmentation: Augmentation,
    ):
        super().__init__(tensors, prefix, dtype, normalisation)
        self.augmentation = augmentation

    def train_batch(self, positions: np.ndarray, epoch: int) -> np.ndarray:
        """Make the view that belongs to an epoch: (B, H, W) float32 in [0, 1]."""
        keys = [self.tensors.keys[position] for position in positions]
        return self.augmentation.views(self.clean_batch(positions), keys, epoch)


def open_source(
    embeddings: Path,
    tensors: Path,
    network: Network,
    augment: AugmentParams,
    compute: ComputeParams,
    device: torch.device,
) -> tuple[list[str], Source]:
    """Open a strategy's stored activations, or the pixels where its plan says not stored.

    Args:
        embeddings: The folder that stage `embed` wrote for the strategy.
        tensors: The folder of the images.
        network: Its prefix leads to the cut.
        augment: The augmentation of fresh views.
        compute: The precision of the prefix.
        device: Where the prefix runs.

    Returns:
        The image keys in the order of positions, and the source.
    """
    if read_json(embeddings / PLAN)["stored"]:
        stored = Tensors(embeddings)
        return stored.keys, StoredViews(stored, augment.seed)
    images, dtype = Tensors(tensors), compute_dtype(compute)
    running = fold_batchnorm(network.prefix, dtype).to(device)
    augmentation = Augmentation(augment)
    return images.keys, FreshViews(images, running, dtype, network.normalisation, augmentation)
