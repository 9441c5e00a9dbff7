"""From stored images to what a network takes: scaling, channels, and reading ahead."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Normalisation:
    """What parameters expect of their input: (x - mean) / std for each RGB channel in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


# Mean and standard deviation of ImageNet's channels, as torchvision's parameters expect them.
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# (x - 127) / 128 for x up to 255.
# Source: github.com/tensorflow/tpu, efficientnet/lite/efficientnet_lite_builder.py (MEAN_RGB).
TENSORFLOW = Normalisation((127 / 255,) * 3, (128 / 255,) * 3)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to a device; to a GPU without waiting for the copy to end.

    Only from pinned memory does such a copy run beside the program, so the array is pinned first.
    """
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def network_input(
    images: np.ndarray, device: torch.device, dtype: torch.dtype, normalisation: Normalisation
) -> Tensor:
    """Normalise grey images in [0, 1] and repeat them to RGB: (B, H, W) -> (B, 3, H, W).

    The result is channels-last. The normalisation is the architecture's (`Architecture`).
    """
    grey = to_device(images, device)  # (B, H, W)
    rgb = torch.empty(*grey.shape, 3, dtype=dtype, device=device)
    scratch = torch.empty_like(grey)  # without it, the three channels cost three times the memory
    channels = zip(normalisation.mean, normalisation.std, strict=True)
    for channel, (mean, std) in enumerate(channels):
        rgb[..., channel] = torch.sub(grey, mean, out=scratch).div_(std)
    return rgb.permute(0, 3, 1, 2)  # (B, H, W, 3) -> (B, 3, H, W)


def read_ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Compute the next items of a generator in a thread while the current one is used."""
    iterator = iter(items)
    missing = object()
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = [pool.submit(next, iterator, missing) for _ in range(depth)]
        while True:
            item = pending.pop(0).result()
            if item is missing:
                return
            pending.append(pool.submit(next, iterator, missing))
            yield item  # type: ignore[misc]
