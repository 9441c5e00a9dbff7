"""Architectures: a backbone is an ordered list of blocks, followed by a pool and a head.

To add an architecture, add one entry to `ARCHITECTURES`, and its blocks' names to `BLOCK_NAMES`.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torchvision import models

from mammo.network.inputs import IMAGENET, TENSORFLOW, Normalisation
from mammo.network.lite import efficientnet_lite0, efficientnet_lite1, efficientnet_lite2
from mammo.network.params import BackboneParams

Blocks = OrderedDict[str, nn.Module]


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        build: Makes the network with fresh parameters; its classifier isn't used.
        blocks: Lists the network's blocks in order; between two of them it can be cut.
        features: Channels that leave the last block.
        classifier: Prefix of the parameters that belong to the classifier, which we replace.
        imagenet: Torchvision's enum member of the ImageNet parameters, where it has some.
        normalisation: What the pretrained parameters expect of their input.
    """

    build: Callable[[], nn.Module]
    blocks: Callable[[nn.Module], Blocks]
    features: int
    classifier: str
    imagenet: models.WeightsEnum | None = None
    normalisation: Normalisation = IMAGENET


def _resnet_blocks(network: nn.Module) -> Blocks:
    parts = dict(network.named_children())
    stem = nn.Sequential(OrderedDict((k, parts[k]) for k in ("conv1", "bn1", "relu", "maxpool")))
    layers = [(name, parts[name]) for name in ("layer1", "layer2", "layer3", "layer4")]
    return OrderedDict([("stem", stem), *layers])


def _feature_blocks(network: nn.Module) -> Blocks:
    features = dict(network.named_children())["features"]
    return OrderedDict((f"features{name}", block) for name, block in features.named_children())


def _lite(build: Callable[[], nn.Module]) -> Architecture:
    return Architecture(build, _feature_blocks, 1280, "classifier.", normalisation=TENSORFLOW)


ARCHITECTURES = {
    "efficientnet_lite0": _lite(efficientnet_lite0),
    "efficientnet_lite1": _lite(efficientnet_lite1),
    "efficientnet_lite2": _lite(efficientnet_lite2),
    "resnet50": Architecture(
        models.resnet50, _resnet_blocks, 2048, "fc.", models.ResNet50_Weights.IMAGENET1K_V2
    ),
    "efficientnet_b0": Architecture(
        models.efficientnet_b0,
        _feature_blocks,
        1280,
        "classifier.",
        models.EfficientNet_B0_Weights.IMAGENET1K_V1,
    ),
    "mobilenet_v2": Architecture(
        models.mobilenet_v2,
        _feature_blocks,
        1280,
        "classifier.",
        models.MobileNet_V2_Weights.IMAGENET1K_V2,
    ),
}


def architecture_of(backbone: BackboneParams) -> Architecture:
    """Find the entry of `backbone.arch`."""
    return ARCHITECTURES[backbone.arch]


@cache
def pooled_widths(arch: str) -> tuple[int, ...]:
    """Say how many features each block gives once it is pooled, in the order of the blocks."""
    widths, pool = [], GlobalPool()
    with torch.device("meta"), torch.no_grad():  # shapes, no arithmetic
        x = torch.empty(1, 3, 224, 224)
        for block in ARCHITECTURES[arch].blocks(ARCHITECTURES[arch].build().eval()).values():
            x = block(x)
            widths.append(pool(x).shape[1])
    return tuple(widths)


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
