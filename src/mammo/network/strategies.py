"""A strategy is a cut through the backbone: a frozen prefix before it, a trained suffix after.

Source: the four strategies are those of transfer learning practice (Yosinski 2014); where each
cuts is an ordered list of blocks, never a name pattern, so that no parameter is forgotten.
"""

import copy
from collections import OrderedDict
from typing import Self

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.modules.batchnorm import _BatchNorm

from mammo.network.backbones import Blocks, GlobalPool
from mammo.network.params import Scope


class Prefix(nn.Module):
    """The frozen blocks before the cut, for good in eval mode: no BatchNorm statistic moves.

    With no block after the cut, the pool belongs here too: what crosses is (B, C), not a map.
    """

    def __init__(self, blocks: Blocks, pooled: bool):
        super().__init__()
        self.blocks = nn.Sequential(blocks)
        self.pool = GlobalPool() if pooled else nn.Identity()
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever is asked: frozen includes BatchNorm's statistics."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Compute what crosses the cut: (B, 3, H, W) -> (B, C, h, w), or (B, C) if pooled."""
        return self.pool(self.blocks(x))


class Suffix(nn.Module):
    """The trained blocks after the cut, the pool and the head.

    In the warm-up only the head trains; the blocks stay in eval mode and without gradients.

    With scope `batchnorm` only the affine parameters of the blocks' BatchNorm train after it, and
    the head; the statistics follow the data. With scope `head` the blocks are never released.

    Source: Frankle 2021, arXiv:2003.00152 (training BatchNorm and only BatchNorm).
    """

    def __init__(self, blocks: Blocks, head: nn.Module, scope: Scope = "all"):
        super().__init__()
        self.blocks = nn.ModuleDict(blocks)
        self.pool = GlobalPool()
        self.head = head
        self.scope = scope
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
        """Switch to train or eval mode; blocks not yet released stay in eval mode."""
        super().train(mode)
        if not self.released:
            self.blocks.train(False)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits from what crosses the cut: (B, C, h, w) or (B, C) -> (B, K)."""
        for block in self.blocks.values():
            x = block(x)
        features = self.pool(x).float()
        with torch.autocast(features.device.type, enabled=False):  # logits deserve all their bits
            return self.head(features)


def cut(blocks: Blocks, head: nn.Module, at: int, scope: Scope = "all") -> tuple[Prefix, Suffix]:
    """Cut a backbone before its block number `at` (0: everything is suffix)."""
    items = list(blocks.items())
    prefix = Prefix(OrderedDict(items[:at]), pooled=at == len(items))
    return prefix, Suffix(OrderedDict(items[at:]), head, scope)


def fold_batchnorm(prefix: Prefix, dtype: torch.dtype) -> nn.Module:
    """Make a prefix fast: BatchNorm folded into the convolutions, channels last, in `dtype`.

    The input may stay in float32; the output is in `dtype`. The prefix itself isn't changed.

    Source: Jacob 2018, arXiv:1712.05877, section 3.2 (folding, there for integer arithmetic).
    """
    has_any = any(isinstance(module, nn.BatchNorm2d) for module in prefix.modules())
    blocks = fuse(prefix.blocks) if has_any else copy.deepcopy(prefix.blocks)
    blocks = blocks.to(dtype).to(memory_format=torch.channels_last)
    return nn.Sequential(blocks, prefix.pool).requires_grad_(False).eval()
