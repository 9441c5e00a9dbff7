"""Architectures by name: a backbone is an ordered list of blocks, followed by a pool and a head.

To add a packaged one, add an entry to `LITE`, and its blocks to `BLOCK_WIDTHS`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mammo.network.architecture import Architecture, feature_blocks
from mammo.network.inputs import TENSORFLOW
from mammo.network.lite import efficientnet_lite0, efficientnet_lite1, efficientnet_lite2
from mammo.network.params import BackboneParams


def _lite(build: Callable[[], nn.Module]) -> Architecture:
    return Architecture(build, feature_blocks, "classifier.", normalisation=TENSORFLOW)


LITE = {
    "efficientnet_lite0": _lite(efficientnet_lite0),
    "efficientnet_lite1": _lite(efficientnet_lite1),
    "efficientnet_lite2": _lite(efficientnet_lite2),
}


def find_architecture(name: str) -> Architecture:
    """Find an architecture by its name, one of `BLOCK_NAMES`."""
    if name in LITE:
        return LITE[name]
    from mammo.network.torchvision_backbones import ARCHITECTURES  # an import of seconds

    return ARCHITECTURES[name]


def architecture_of(backbone: BackboneParams) -> Architecture:
    """Find the architecture of `backbone.arch`."""
    return find_architecture(backbone.arch)


class GlobalPool(nn.Module):
    """Average over the picture, in float32; what is pooled already passes through."""

    def forward(self, features: Tensor) -> Tensor:
        """Pool (B, C, H, W) -> (B, C)."""
        if features.ndim == 2:
            return features
        return features.mean(dim=(2, 3), dtype=torch.float32)


def count_parameters(module: nn.Module, trainable_only: bool = False) -> int:
    """Count parameters; buffers such as BatchNorm's running statistics aren't parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)
