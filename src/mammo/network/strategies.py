"""A strategy is a cut through the backbone: a frozen prefix before it, a trained suffix after.

Source: the four strategies are those of transfer learning practice (Yosinski 2014); where each
cuts is an ordered list of blocks, never a name pattern, so that no parameter is forgotten.
"""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.modules.batchnorm import _BatchNorm

from mammo.network.architecture import Blocks
from mammo.network.backbones import GlobalPool
from mammo.network.inputs import Normalisation
from mammo.network.params import BatchNormMode, Scope


class Crossing(NamedTuple):
    """What crosses a cut.

    Attributes:
        activations: (B, C, h, w) where blocks follow, else None. Uncut: the images, (B, 3, H, W).
        side: (B, S) float32, what the head reads besides what follows: grey features, and pooled
            features of frozen blocks. S may be 0.
    """

    activations: Tensor | None
    side: Tensor


class Prefix(nn.Module):
    """The frozen blocks before the cut, for good in eval mode: no BatchNorm statistic moves.

    Attributes:
        reads: Positions of the blocks whose pooled features the head reads.
        ends: Whether nothing but the head follows, so that no activations cross.
        normalisation: What its input must have gone through.
    """

    def __init__(
        self, blocks: Blocks, reads: Sequence[int], ends: bool, normalisation: Normalisation
    ):
        super().__init__()
        self.normalisation = normalisation
        self.blocks = nn.Sequential(blocks)
        self.reads = frozenset(reads)
        self.ends = ends
        self.pool = GlobalPool()
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever is asked: frozen includes BatchNorm's statistics."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Crossing:
        """Compute what crosses the cut: (B, 3, H, W) -> activations and side features."""
        pooled = [x.new_zeros(len(x), 0, dtype=torch.float32)]
        for position, block in enumerate(self.blocks):
            x = block(x)
            if position in self.reads:
                pooled.append(self.pool(x).float())
        return Crossing(None if self.ends else x, torch.cat(pooled, dim=1))


class Suffix(nn.Module):
    """The trained blocks after the cut, the pool and the head.

    In the warm-up only the head trains; the blocks stay in eval mode and without gradients.

    With scope `batchnorm` only the affine parameters of the blocks' BatchNorm train after it, and
    the head; the statistics follow the data. With scope `head` the blocks are never released.

    Source: Frankle 2021, arXiv:2003.00152 (training BatchNorm and only BatchNorm).
    """

    def __init__(
        self,
        blocks: Blocks,
        head: nn.Module,
        reads: Sequence[str],
        scope: Scope = "all",
        batchnorm: BatchNormMode = "train",
    ):
        super().__init__()
        self.blocks = nn.ModuleDict(blocks)
        self.reads = frozenset(reads)
        self.pool = GlobalPool()
        self.head = head
        self.scope = scope
        self.batchnorm = batchnorm
        self.release()

    def warm_up(self) -> None:
        """Hold the blocks: from now on only the head trains."""
        self.released = False
        self.blocks.requires_grad_(False)

    def release(self) -> None:
        """End the warm-up: from now on all that is in scope trains."""
        self.released = self.scope != "head"
        self.blocks.requires_grad_(self.scope == "all")
        if self.scope == "batchnorm":
            for module in self.blocks.modules():
                if isinstance(module, _BatchNorm):
                    module.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """Switch to train or eval mode; blocks not yet released stay in eval mode.

        So does BatchNorm where `batchnorm` is `eval`: it keeps ImageNet's statistics.
        """
        super().train(mode)
        if not self.released:
            self.blocks.train(False)
        elif self.batchnorm == "eval":
            for module in self.blocks.modules():
                if isinstance(module, _BatchNorm):
                    module.train(False)
        return self

    def forward(self, activations: Tensor | None, side: Tensor) -> Tensor:
        """Compute logits from what crosses the cut: (B, C, h, w) and (B, S) -> (B, K)."""
        parts, x = [side], activations
        for name, block in self.blocks.items():
            x = block(x)
            if name in self.reads:
                parts.append(self.pool(x).float())
        features = torch.cat(parts, dim=1)  # (B, F)
        with torch.autocast(features.device.type, enabled=False):  # logits deserve all their bits
            logits: Tensor = self.head(features)
        return logits


def cut(
    blocks: Blocks,
    head: nn.Module,
    at: int,
    reads: Sequence[str],
    normalisation: Normalisation,
    scope: Scope = "all",
    batchnorm: BatchNormMode = "train",
) -> tuple[Prefix, Suffix]:
    """Cut a backbone before its block number `at` (0: everything is suffix).

    Args:
        blocks: All of them, in order.
        head: Reads the side features and those of the blocks in `reads`, in the network's order.
        at: The number of frozen blocks.
        reads: Names of the blocks whose pooled features the head reads.
        normalisation: What the network's input must have gone through.
        scope: What of the suffix trains.
        batchnorm: Whether BatchNorm of released blocks follows the data.
    """
    items = list(blocks.items())
    frozen = [n for n, (name, _) in enumerate(items[:at]) if name in reads]
    prefix = Prefix(OrderedDict(items[:at]), frozen, at == len(items), normalisation)
    return prefix, Suffix(OrderedDict(items[at:]), head, reads, scope, batchnorm)


def fold_batchnorm(prefix: Prefix, dtype: torch.dtype) -> Prefix:
    """Make a prefix fast: BatchNorm folded into the convolutions, channels last, in `dtype`.

    The input may stay in float32; the output is in `dtype`. The prefix itself isn't changed.

    Source: Jacob 2018, arXiv:1712.05877, section 3.2 (folding, there for integer arithmetic).
    """
    folded = OrderedDict((name, _folded(block)) for name, block in prefix.blocks.named_children())
    running = Prefix(folded, sorted(prefix.reads), prefix.ends, prefix.normalisation)
    running.blocks.to(dtype).to(memory_format=torch.channels_last)
    return running


def _folded(block: nn.Module) -> nn.Module:
    """Copy a block, its BatchNorm folded; a transformer's has none, and isn't traced."""
    has_any = any(isinstance(module, nn.BatchNorm2d) for module in block.modules())
    return fuse(block) if has_any else copy.deepcopy(block)
