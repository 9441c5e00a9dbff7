"""What an architecture is: how to build it, its blocks, and what its parameters expect."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from mammo.network.inputs import IMAGENET, Normalisation

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

Blocks = OrderedDict[str, nn.Module]


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        build: Makes the network with fresh parameters; its classifier isn't used.
        blocks: Lists the network's blocks in order; between two of them it can be cut.
        classifier: Prefix of the parameters that belong to the classifier, which we replace.
        imagenet: Torchvision's enum member of the ImageNet parameters, where it has some.
        normalisation: What the pretrained parameters expect of their input.
    """

    build: Callable[[], nn.Module]
    blocks: Callable[[nn.Module], Blocks]
    classifier: str
    imagenet: "WeightsEnum | None" = None
    normalisation: Normalisation = IMAGENET

    def without_values(self) -> nn.Module:
        """Make the network on the meta device: names and shapes, in no time."""
        with torch.device("meta"):
            return self.build().to("meta")


def children(network: nn.Module) -> dict[str, nn.Module]:
    """List the parts of a network by name."""
    return dict(network.named_children())


def feature_blocks(network: nn.Module) -> Blocks:
    """List the children of `features`, which families of mobile networks have."""
    features = children(children(network)["features"])
    return OrderedDict((f"features{name}", block) for name, block in features.items())
