"""Architectures: a backbone is an ordered list of blocks, followed by a pool and a head.

To add an architecture, add one entry to `ARCHITECTURES`, and its blocks' names to `BLOCK_NAMES`.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from torchvision import models

from mammo.network.inputs import IMAGENET, TENSORFLOW, Normalisation
from mammo.network.lite import efficientnet_lite0, efficientnet_lite1, efficientnet_lite2
from mammo.network.params import BackboneParams
from mammo.network.transformers import swin_blocks, vit_blocks

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

    def without_values(self) -> nn.Module:
        """Make the network on the meta device: names and shapes, in no time."""
        with torch.device("meta"):
            return self.build().to("meta")


def _children(network: nn.Module) -> dict[str, nn.Module]:
    return dict(network.named_children())


def _resnet_blocks(network: nn.Module) -> Blocks:
    parts = _children(network)
    stem = nn.Sequential(OrderedDict((k, parts[k]) for k in ("conv1", "bn1", "relu", "maxpool")))
    layers = [(name, parts[name]) for name in ("layer1", "layer2", "layer3", "layer4")]
    return OrderedDict([("stem", stem), *layers])


def _feature_blocks(network: nn.Module) -> Blocks:
    features = _children(_children(network)["features"])
    return OrderedDict((f"features{name}", block) for name, block in features.items())


def _densenet_blocks(network: nn.Module) -> Blocks:
    """List the dense blocks, each with the transition that leads to it."""
    parts = _children(_children(network)["features"])
    stem = nn.Sequential(*(parts[k] for k in ("conv0", "norm0", "relu0", "pool0")))
    return OrderedDict(
        stem=stem,
        denseblock1=parts["denseblock1"],
        denseblock2=nn.Sequential(parts["transition1"], parts["denseblock2"]),
        denseblock3=nn.Sequential(parts["transition2"], parts["denseblock3"]),
        denseblock4=nn.Sequential(
            parts["transition3"], parts["denseblock4"], parts["norm5"], nn.ReLU()
        ),
    )


def _regnet_blocks(network: nn.Module) -> Blocks:
    parts = _children(network)
    return OrderedDict(stem=parts["stem"], **_children(parts["trunk_output"]))


def _regnet_y_400mf() -> nn.Module:
    with torch.device("cpu"):  # it computes its widths with tensors, which need values
        network: nn.Module = models.regnet_y_400mf()
    return network


def _convnext_blocks(network: nn.Module) -> Blocks:
    """List the stages, each with the downsampling that leads to it.

    The norm that torchvision counts to the classifier is pretrained and follows the pool: both
    belong to the last block here.
    """
    parts = list(_children(_children(network)["features"]).values())
    norm = _children(_children(network)["classifier"])["0"]
    return OrderedDict(
        stem=parts[0],
        stage1=parts[1],
        stage2=nn.Sequential(*parts[2:4]),
        stage3=nn.Sequential(*parts[4:6]),
        stage4=nn.Sequential(*parts[6:8], nn.AdaptiveAvgPool2d(1), norm),
    )


def _lite(build: Callable[[], nn.Module]) -> Architecture:
    return Architecture(build, _feature_blocks, 1280, "classifier.", normalisation=TENSORFLOW)


def _torchvision(
    name: str, blocks: Callable[..., Blocks], features: int, classifier: str
) -> Architecture:
    build = _regnet_y_400mf if name == "regnet_y_400mf" else partial(models.get_model, name)
    weights = models.get_model_weights(name)
    return Architecture(build, blocks, features, classifier, weights.DEFAULT)


ARCHITECTURES = {
    "efficientnet_lite0": _lite(efficientnet_lite0),
    "efficientnet_lite1": _lite(efficientnet_lite1),
    "efficientnet_lite2": _lite(efficientnet_lite2),
    **{
        name: _torchvision(name, blocks, features, classifier)
        for name, blocks, features, classifier in (
            ("resnet18", _resnet_blocks, 512, "fc."),
            ("resnet34", _resnet_blocks, 512, "fc."),
            ("resnet50", _resnet_blocks, 2048, "fc."),
            ("densenet121", _densenet_blocks, 1024, "classifier."),
            ("efficientnet_b0", _feature_blocks, 1280, "classifier."),
            ("efficientnet_b1", _feature_blocks, 1280, "classifier."),
            ("efficientnet_b2", _feature_blocks, 1408, "classifier."),
            ("efficientnet_b3", _feature_blocks, 1536, "classifier."),
            ("efficientnet_v2_s", _feature_blocks, 1280, "classifier."),
            ("mobilenet_v2", _feature_blocks, 1280, "classifier."),
            ("mobilenet_v3_large", _feature_blocks, 960, "classifier."),
            ("convnext_tiny", _convnext_blocks, 768, "classifier.2."),
            ("regnet_y_400mf", _regnet_blocks, 440, "fc."),
            ("swin_t", swin_blocks, 768, "head."),
            ("vit_b_16", vit_blocks, 768, "heads."),
        )
    },
}


def architecture_of(backbone: BackboneParams) -> Architecture:
    """Find the entry of `backbone.arch`."""
    return ARCHITECTURES[backbone.arch]


@cache
def pooled_widths(arch: str) -> tuple[int, ...]:
    """Say how many features each block gives once it is pooled, in the order of the blocks."""
    widths, pool = [], GlobalPool()
    architecture = ARCHITECTURES[arch]
    x = torch.empty(1, 3, 224, 224, device="meta")
    with torch.no_grad():
        for block in architecture.blocks(architecture.without_values().eval()).values():
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
