"""Whether storing what crosses a cut pays: decided by arithmetic alone, never by a measurement.

So the same parameters give the same files everywhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mammo.embedding.params import EmbedParams
from mammo.network.network import Network

# A training step costs about three forward passes: one forward, two backward.
STEP_FORWARDS = 3

FRESH = "embed.views is 0: fresh views, the prefix runs in every epoch"


@dataclass(frozen=True)
class Plan:
    """Whether a strategy trains from stored views, and the arithmetic behind it.

    Attributes:
        stored: Training reads stored views: activations at the cut where blocks follow it, pooled
            features alone where none does.
        reason: In words.
        bytes_per_view: Of an image's activations at the cut.
        total_bytes: Of all views of all images.
        gain: The time of an epoch with the prefix divided by that without, in FLOPs; None where
            there is no choice, since nothing is frozen or nothing but a head trains.
        views: Augmented views of every image.
        blocks: The number of pooled features by block.
    """

    stored: bool
    reason: str
    bytes_per_view: int
    total_bytes: int
    gain: float | None
    views: int
    blocks: dict[str, int]


def plan(
    network: Network, widths: dict[str, int], size_px: int, images: int, params: EmbedParams
) -> Plan:
    """Decide whether to store what crosses the cut.

    Args:
        network: The frozen blocks and the trained ones.
        widths: The number of pooled features of each block.
        size_px: Side of the square images.
        images: How many there are.
        params: The budget, the least gain, and what is asked for.

    Returns:
        The plan; `gain` is (P + 3 S) / 3 S with P and S the FLOPs of prefix and suffix.
    """
    if network.cut == 0:
        reason = "nothing is frozen, so no activations can be stored"
        return Plan(False, reason, 0, 0, None, params.views, widths)
    if network.cut == network.blocks:
        stored = params.views > 0
        reason = "nothing but the head trains: pooled features are all that it needs"
        return Plan(stored, reason if stored else FRESH, 0, 0, None, params.views, widths)
    network.suffix.eval()
    with _no_arithmetic(), FlopCounterMode(display=False) as before:
        crossing = network.prefix(torch.empty(1, 3, size_px, size_px))
    side = torch.empty(1, network.side)
    with _no_arithmetic(), FlopCounterMode(display=False) as after:
        network.suffix(torch.empty(crossing.activations.shape), side)
    left = STEP_FORWARDS * max(1, after.get_total_flops())
    gain = (before.get_total_flops() + left) / left
    bytes_per_view = 2 * crossing.activations.numel()
    total = bytes_per_view * (1 + params.views) * images
    stored, reason = _decide(gain, total, params)
    return Plan(stored, reason, bytes_per_view, total, round(gain, 2), params.views, widths)


@contextmanager
def _no_arithmetic() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        yield


def _decide(gain: float, total: int, params: EmbedParams) -> tuple[bool, str]:
    size = f"{total / 1e9:.3g} GB for {1 + params.views} views of every image"
    if params.views == 0:
        return False, FRESH
    if params.store == "never":
        return False, "embed.store is never: the prefix runs in every epoch"
    if params.store == "always":
        return True, f"embed.store is always: {size}"
    if gain < params.min_gain:
        return False, f"an epoch would gain only {gain:.2f} times (embed.min_gain)"
    if total > params.budget_gb * 1e9:
        return False, f"{size} exceed embed.budget_gb"
    return True, f"{size}; an epoch gains {gain:.2f} times"
