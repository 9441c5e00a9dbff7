"""Run a frozen prefix over every view of every image, a few images at a time."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from mammo.embedding.augment import Augmentation
from mammo.embedding.params import AugmentParams, EmbedParams
from mammo.network.compute import compute_dtype
from mammo.network.devices import start
from mammo.network.inputs import network_input, read_ahead
from mammo.network.params import ComputeParams
from mammo.network.strategies import Crossing, Prefix, fold_batchnorm
from mammo.storage.tensors import Tensors, unit_range


@dataclass(frozen=True)
class Crossed:
    """What a few images give on their way through all blocks.

    Attributes:
        pooled: (b, 1 + views, F) float32; entry 0 of the second axis is the clean view.
        activations: By the number of blocks before a cut, (b, 1 + views, C, h, w) float16.
    """

    pooled: np.ndarray
    activations: dict[int, np.ndarray]


class Embedder:
    """Runs a prefix over all views of all images."""

    def __init__(
        self,
        prefix: Prefix,
        tensors: Tensors,
        augment: AugmentParams,
        params: EmbedParams,
        compute: ComputeParams,
        ends: bool,
    ):
        devices, self.dtype = start(compute), compute_dtype(compute)
        self.device = devices.device
        self.prefix = fold_batchnorm(prefix, self.dtype).to(self.device)
        self.prefix.ends = ends
        self.tensors, self.params = tensors, params
        self.augmentation = Augmentation(augment)
        self.shard_bytes = params.shard_mb * 2**20

    def crossings(self, cuts: Sequence[int]) -> Iterator[Crossed]:
        """Yield pooled features, and what crosses some cuts, of a few images at a time.

        Args:
            cuts: Numbers of blocks before a cut, below that of all blocks.

        Raises:
            FloatingPointError: A pooled feature isn't finite.
        """
        kept: dict[int, Tensor] = {}
        blocks = list(self.prefix.blocks)
        with contextlib.ExitStack() as stack:
            for at in cuts:

                def keep(block: nn.Module, given: object, out: Tensor, at: int = at) -> None:
                    kept[at] = _half(out)

                handle = blocks[at - 1].register_forward_hook(keep)
                stack.callback(handle.remove)
            for pictures, number in self._batches():
                side = self._cross(pictures).side
                if not side.isfinite().all():
                    raise FloatingPointError("a pooled feature isn't finite")
                yield Crossed(
                    side.float().cpu().numpy().reshape(number, -1, side.shape[1]),
                    {at: _by_image(half, number) for at, half in kept.items()},
                )

    def activations(self) -> Iterator[np.ndarray]:
        """Yield each image's activations at the cut: (1 + views, C, h, w) float16.

        Raises:
            FloatingPointError: An activation doesn't fit half precision.
        """
        for pictures, number in self._batches():
            half = _half(cast(Tensor, self._cross(pictures).activations))
            if not half.abs().amax().isfinite():  # NaN and infinity both show in the maximum
                raise FloatingPointError("an activation at the cut exceeds half precision (65,504)")
            yield from _by_image(half, number)

    def _cross(self, pictures: np.ndarray) -> Crossing:
        normalisation = self.prefix.normalisation
        crossing: Crossing = self.prefix(
            network_input(pictures, self.device, self.dtype, normalisation)
        )
        return crossing

    def _batches(self) -> Iterator[tuple[np.ndarray, int]]:
        """Yield all views of a few images, (b * views, H, W) float32, and b."""
        views = 1 + self.params.views
        count = max(1, self.params.batch_size // views)
        every = np.arange(len(self.tensors))
        batches = np.array_split(every, np.ceil(len(every) / count).astype(int))
        bar = tqdm(total=len(every), desc="embed", unit="image", mininterval=1, disable=None)
        with bar, torch.inference_mode():
            for pictures in read_ahead(self._views(batch) for batch in batches):
                yield pictures, len(pictures) // views
                bar.update(len(pictures) // views)

    def _views(self, positions: np.ndarray) -> np.ndarray:
        images = unit_range(self.tensors.gather(positions))
        keys = [self.tensors.keys[position] for position in positions]
        return np.stack(
            [
                self.augmentation.view(image, key, view)
                for image, key in zip(images, keys, strict=True)
                for view in range(1 + self.params.views)
            ]
        )


def _half(activations: Tensor) -> Tensor:
    """Round to half precision; contiguous, or writing would pick out element by element."""
    return activations.to(torch.float16, memory_format=torch.contiguous_format)


def _by_image(half: Tensor, number: int) -> np.ndarray:
    """Part the views of a batch by image: (b * views, …) -> (b, views, …)."""
    return half.cpu().numpy().reshape(number, -1, *half.shape[1:])
