"""What crosses the cut, computed once: every image clean and in several augmented views.

A frozen prefix gives the same answer in every epoch, so its activations are stored and training
starts from there. Whether that pays is decided by arithmetic alone, never by a measurement, so
that the same parameters give the same files everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from mammo.embedding.augment import Augmentation
from mammo.embedding.params import EmbedParams
from mammo.network.inputs import Normalisation, network_input, read_ahead, unit_range
from mammo.network.strategies import Prefix, Suffix
from mammo.storage.tensors import Tensors

# A training step costs about three forward passes: one forward, two backward.
STEP_FORWARDS = 3


@dataclass(frozen=True)
class Plan:
    """Whether a cut's activations are stored, and the arithmetic behind it."""

    stored: bool
    reason: str
    bytes_per_view: int
    total_bytes: int
    gain: float


def plan(prefix: Prefix, suffix: Suffix, size_px: int, images: int, params: EmbedParams) -> Plan:
    """Decide whether to store what crosses the cut.

    Args:
        prefix: The frozen blocks.
        suffix: The trained ones.
        size_px: Side of the square images.
        images: How many there are.
        params: The budget, the least gain, and what is asked for.

    Returns:
        The plan; `gain` is the time of an epoch with the prefix divided by that without, in
        FLOPs: (P + 3 S) / 3 S.
    """
    suffix.eval()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():  # shapes, no arithmetic
        with FlopCounterMode(display=False) as before:
            crossing = prefix(torch.empty(1, 3, size_px, size_px))
        with FlopCounterMode(display=False) as after:
            suffix(crossing)
    left = STEP_FORWARDS * max(1, after.get_total_flops())
    gain = (before.get_total_flops() + left) / left
    bytes_per_view = 2 * crossing.numel()  # half precision
    total = bytes_per_view * (1 + params.views) * images
    stored, reason = _decide(len(prefix.blocks), gain, total, params)
    return Plan(stored, reason, bytes_per_view, total, round(gain, 2))


def _decide(frozen: int, gain: float, total: int, params: EmbedParams) -> tuple[bool, str]:
    size = f"{total / 1e9:.3g} GB for {1 + params.views} views of every image"
    if frozen == 0:
        return False, "nothing is frozen, so nothing can be stored"
    if params.views == 0:
        return False, "embed.views is 0: fresh views, the prefix runs in every epoch"
    if params.store == "never":
        return False, "embed.store is never: the prefix runs in every epoch"
    if params.store == "always":
        return True, f"embed.store is always: {size}"
    if gain < params.min_gain:
        return False, f"an epoch would gain only {gain:.2f} times (embed.min_gain)"
    if total > params.budget_gb * 1e9:
        return False, f"{size} exceed embed.budget_gb"
    return True, f"{size}; an epoch gains {gain:.2f} times"


def embed(
    tensors: Tensors,
    prefix: nn.Module,
    augmentation: Augmentation,
    params: EmbedParams,
    device: torch.device,
    dtype: torch.dtype,
    normalisation: Normalisation,
) -> Iterator[np.ndarray]:
    """Yield each image's activations at the cut, in the store's order.

    Yields:
        (1 + views, C, h, w) or (1 + views, C) float16; entry 0 is the clean view.

    Raises:
        FloatingPointError: An activation doesn't fit half precision.
    """
    views = 1 + params.views
    images_per_batch = max(1, params.batch_size // views)
    batches = np.array_split(
        np.arange(len(tensors)), np.ceil(len(tensors) / images_per_batch).astype(int)
    )
    bar = tqdm(total=len(tensors), desc="embed", unit="image", mininterval=1)
    with bar, torch.inference_mode():
        for pictures in read_ahead(_views(tensors, augmentation, views, b) for b in batches):
            crossing = prefix(network_input(pictures, device, dtype, normalisation))
            # Contiguous, as it is stored; otherwise writing would pick out element by element.
            half = crossing.to(torch.float16, memory_format=torch.contiguous_format)
            if not half.abs().amax().isfinite():  # NaN and infinity both show in the maximum
                raise FloatingPointError("an activation at the cut exceeds half precision (65,504)")
            yield from half.cpu().numpy().reshape(-1, views, *half.shape[1:])
            bar.update(len(pictures) // views)


def _views(
    tensors: Tensors, augmentation: Augmentation, views: int, positions: np.ndarray
) -> np.ndarray:
    """Make all views of a few images: (b * views, H, W) float32."""
    images = unit_range(tensors.gather(positions))
    keys = [tensors.keys[position] for position in positions]
    return np.stack(
        [
            augmentation.view(image, key, view)
            for image, key in zip(images, keys, strict=True)
            for view in range(views)
        ]
    )
