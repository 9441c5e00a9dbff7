"""Torchvision's architectures and their blocks.

To add one, add an entry to `ARCHITECTURES`, and its blocks to `BLOCK_WIDTHS`. Torchvision
takes long to import: `backbones` does so for these architectures alone.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torchvision import models

from mammo.network.architecture import Architecture, Blocks, children, feature_blocks
from mammo.network.transformers import swin_blocks, vit_blocks


def _resnet_blocks(network: nn.Module) -> Blocks:
    parts = children(network)
    stem = nn.Sequential(OrderedDict((k, parts[k]) for k in ("conv1", "bn1", "relu", "maxpool")))
    layers = [(name, parts[name]) for name in ("layer1", "layer2", "layer3", "layer4")]
    return OrderedDict([("stem", stem), *layers])


def _densenet_blocks(network: nn.Module) -> Blocks:
    """List the dense blocks, each with the transition that leads to it."""
    parts = children(children(network)["features"])
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
    parts = children(network)
    return OrderedDict(stem=parts["stem"], **children(parts["trunk_output"]))


def _regnet_y_400mf() -> nn.Module:
    with torch.device("cpu"):  # it computes its widths with tensors, which need values
        network: nn.Module = models.regnet_y_400mf()
    return network


def _convnext_blocks(network: nn.Module) -> Blocks:
    """List the stages, each with the downsampling that leads to it.

    The norm that torchvision counts to the classifier is pretrained and follows the pool: both
    belong to the last block here.
    """
    parts = list(children(children(network)["features"]).values())
    norm = children(children(network)["classifier"])["0"]
    return OrderedDict(
        stem=parts[0],
        stage1=parts[1],
        stage2=nn.Sequential(*parts[2:4]),
        stage3=nn.Sequential(*parts[4:6]),
        stage4=nn.Sequential(*parts[6:8], nn.AdaptiveAvgPool2d(1), norm),
    )


def _torchvision(name: str, blocks: Callable[..., Blocks], classifier: str) -> Architecture:
    build = _regnet_y_400mf if name == "regnet_y_400mf" else partial(models.get_model, name)
    weights = models.get_model_weights(name)
    return Architecture(build, blocks, classifier, weights.DEFAULT)


ARCHITECTURES = {
    name: _torchvision(name, blocks, classifier)
    for name, blocks, classifier in (
        ("resnet18", _resnet_blocks, "fc."),
        ("resnet34", _resnet_blocks, "fc."),
        ("resnet50", _resnet_blocks, "fc."),
        ("densenet121", _densenet_blocks, "classifier."),
        ("efficientnet_b0", feature_blocks, "classifier."),
        ("efficientnet_b1", feature_blocks, "classifier."),
        ("efficientnet_b2", feature_blocks, "classifier."),
        ("efficientnet_b3", feature_blocks, "classifier."),
        ("efficientnet_v2_s", feature_blocks, "classifier."),
        ("mobilenet_v2", feature_blocks, "classifier."),
        ("mobilenet_v3_large", feature_blocks, "classifier."),
        ("convnext_tiny", _convnext_blocks, "classifier.2."),
        ("regnet_y_400mf", _regnet_blocks, "fc."),
        ("swin_t", swin_blocks, "head."),
        ("vit_b_16", vit_blocks, "heads."),
    )
}
