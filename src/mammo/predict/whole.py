"""A whole network in one module, with gradients and feature maps: for explanations and exports.

Answers come from `mammo.evaluation.inference`, never from here: this is the same arithmetic in
float32, without a cut.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mammo.evaluation.model import Model
from mammo.network.backbones import GlobalPool


class WholeNetwork(nn.Module):
    """All blocks and the head, from normalised pictures to logits.

    Attributes:
        blocks: In order.
        reads: Names of the blocks whose pooled features the head reads.
        head: The head.
        grey: The number of grey features that it reads before them.
    """

    def __init__(self, model: Model):
        super().__init__()
        network = model.network
        self.grey = int(model.facts["grey"])
        frozen = dict(network.prefix.blocks.named_children())
        names = list(frozen)
        self.blocks = nn.ModuleDict(OrderedDict({**frozen, **network.suffix.blocks}))
        read = {name for n, name in enumerate(names) if n in network.prefix.reads}
        self.reads = [name for name in self.blocks if name in read | network.suffix.reads]
        self.head = network.suffix.head
        self.pool = GlobalPool()
        self.train(False)

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """Compute the maps of the blocks that the head reads: (B, 3, H, W) -> (B, C, h, w) each."""
        found, x = [], pictures
        for name, block in self.blocks.items():
            x = block(x)
            if name in self.reads:
                found.append(x)
        return found

    def features(self, pictures: Tensor, grey: Tensor) -> Tensor:
        """Compute what the head reads, grey features first: (B, 3, H, W), (B, G) -> (B, F)."""
        return torch.cat([grey, *(self.pool(m).float() for m in self.maps(pictures))], dim=1)

    def forward(self, pictures: Tensor, grey: Tensor) -> Tensor:
        """Compute logits: (B, 3, H, W), (B, G) -> (B, K)."""
        logits: Tensor = self.head(self.features(pictures, grey))
        return logits


class PictureToAnswer(nn.Module):
    """From stored images to probabilities: scaling, normalisation, networks, softmax and prior.

    Args:
        members: The networks; their probabilities are averaged.
        scale: The largest grey level.
        mean, std: Of the input's normalisation, one a channel.
        ratios: For each member, what its probabilities are multiplied by to change the prior.
        flip: Average each member's probabilities over the image and its vertical flip.
    """

    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor
    ratios: Tensor  # (members, K)

    def __init__(
        self,
        members: Sequence[WholeNetwork],
        scale: int,
        mean: Sequence[float],
        std: Sequence[float],
        ratios: Sequence[Sequence[float]],
        flip: bool,
    ):
        super().__init__()
        self.flip = flip
        self.members = nn.ModuleList(members)
        self.scale = float(scale)
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None])
        self.register_buffer("std", torch.tensor(std)[None, :, None, None])
        self.register_buffer("ratios", torch.tensor(ratios, dtype=torch.float32))
        self.train(False)

    def forward(self, images: Tensor, grey: Tensor) -> Tensor:
        """Answer: (B, H, W) grey levels and (B, G) grey features -> (B, K) probabilities."""
        unit = images.float()[:, None] / self.scale  # (B, H, W) -> (B, 1, H, W)
        pictures = (unit - self.mean) / self.std  # -> (B, 3, H, W)
        answers = []
        for member, ratio in zip(self.members, self.ratios, strict=True):
            side = grey[:, : member.grey]  # all of them or none
            seen = member(pictures, side).softmax(dim=1)
            if self.flip:
                seen = (seen + member(pictures.flip(2), side).softmax(dim=1)) / 2
            moved = seen * ratio
            answers.append(moved / moved.sum(dim=1, keepdim=True))
        return torch.stack(answers).mean(dim=0)
