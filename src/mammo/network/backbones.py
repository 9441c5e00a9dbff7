"""Architectures: a backbone is an ordered list of blocks, followed by a pool and a head.

To add a torchvision architecture, add one entry to `ARCHITECTURES`.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision import models

from mammo.network.params import BackboneParams

Blocks = OrderedDict[str, nn.Module]


@dataclass(frozen=True)
class Architecture:
    """One torchvision architecture.

    Attributes:
        build: Makes the network with fresh parameters; its classifier isn't used.
        blocks: Lists the network's blocks in order; between two of them it can be cut.
        features: Channels that leave the last block.
        classifier: Prefix of the parameters that belong to the classifier, which we replace.
        imagenet: Torchvision's enum member of the ImageNet parameters.
    """

    build: Callable[[], nn.Module]
    blocks: Callable[[nn.Module], Blocks]
    features: int
    classifier: str
    imagenet: models.WeightsEnum


def _resnet_blocks(network: nn.Module) -> Blocks:
    parts = dict(network.named_children())
    stem = nn.Sequential(OrderedDict((k, parts[k]) for k in ("conv1", "bn1", "relu", "maxpool")))
    layers = [(name, parts[name]) for name in ("layer1", "layer2", "layer3", "layer4")]
    return OrderedDict([("stem", stem), *layers])


def _feature_blocks(network: nn.Module) -> Blocks:
    features = dict(network.named_children())["features"]
    return OrderedDict((f"features{name}", block) for name, block in features.named_children())


ARCHITECTURES = {
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
