"""A strategy is a cut through the backbone: a frozen prefix before it, a trained suffix after.

Source: the four strategies are those of transfer learning practice (Yosinski 2014); where each
cuts is an ordered list of blocks, never a name pattern, so that no parameter is forgotten.
"""

from collections import OrderedDict
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.modules.batchnorm import _BatchNorm

from mammo.backbones import Blocks, GlobalPool
from mammo.errors import UserError
from mammo.params import Params

Scope = Literal["all", "batchnorm", "head"]  # what of a suffix trains once it is released


class CutParams(Params, extra="ignore"):
    """Where a strategy cuts: the part of its entry that an embedding depends on."""

    train_backbone: bool
    unfreeze_last_blocks: Annotated[int, Field(ge=0)]


class StrategyParams(CutParams, extra="forbid"):
    """One entry of `strategies`."""

    lr: Annotated[float, Field(gt=0)]
    epochs: Annotated[int, Field(ge=1)]
    warmup_epochs: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        trains_blocks = self.train_backbone or self.unfreeze_last_blocks > 0
        if trains_blocks and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be less than epochs ({self.epochs}), or the blocks after "
                f"the cut never train; got {self.warmup_epochs}"
            )
        return self


def cut_position(strategy: CutParams, blocks: int, name: str) -> int:
    """Count the blocks before the cut, from 0 (all are trained) to `blocks` (the head alone).

    Raises:
        UserError: More blocks are to be unfrozen than there are.
    """
    if strategy.train_backbone:
        return 0
    if strategy.unfreeze_last_blocks > blocks:
        raise UserError(
            f"params.yaml: strategies.{name}.unfreeze_last_blocks: must be at most {blocks}, the "
            f"blocks of this backbone, got {strategy.unfreeze_last_blocks}"
        )
    return blocks - strategy.unfreeze_last_blocks


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
    blocks = fuse(prefix.blocks) if len(prefix.blocks) else prefix.blocks
    blocks = blocks.to(dtype).to(memory_format=torch.channels_last)
    return nn.Sequential(blocks, prefix.pool).requires_grad_(False).eval()
