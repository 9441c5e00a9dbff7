"""Put a network together: stored backbone parameters, cut by a strategy, with a fresh head."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mammo.network.backbones import architecture_of, count_parameters
from mammo.network.compute import seed_everything
from mammo.network.head import HeadKind, HeadShape, make_head
from mammo.network.params import BLOCK_WIDTHS, BackboneParams, BatchNormMode, Scope
from mammo.network.strategies import Prefix, Suffix, cut
from mammo.network.weights import load_backbone
from mammo.storage.digests import file_sha256


@dataclass(frozen=True)
class Design:
    """What a network is made of, but for its parameters.

    Attributes:
        at: The number of frozen blocks.
        reads: Names of the blocks whose pooled features the head reads.
        grey: The number of grey features that the head reads too.
        head: The head's shape.
        dropout: Before the head's linear layer.
        seed: Of the head's initial parameters.
        scope: What of the suffix trains.
        batchnorm: Whether BatchNorm of released blocks follows the data.
    """

    at: int
    reads: tuple[str, ...]
    grey: int
    head: HeadShape
    dropout: float = 0.0
    seed: int = 0
    scope: Scope = "all"
    batchnorm: BatchNormMode = "train"


@dataclass(frozen=True)
class Network:
    """A cut backbone.

    Attributes:
        prefix: The frozen blocks.
        suffix: The blocks that train, and the head.
        cut: The number of blocks before the cut.
        blocks: The number of all blocks.
        side: Numbers beside the activations that cross the cut: grey and pooled frozen features.
        backbone_sha256: Of the file that the backbone's parameters came from.
    """

    prefix: Prefix
    suffix: Suffix
    cut: int
    blocks: int
    side: int
    backbone_sha256: str

    def trainable_by_block(self) -> dict[str, int]:
        """Count the trainable parameters by block, the head last."""
        parts = {**self.suffix.blocks, "head": self.suffix.head}
        return {name: count_parameters(p, trainable_only=True) for name, p in parts.items()}

    def trainable(self) -> dict[str, float | int]:
        """Count the trainable parameters, blocks released, and their share of all."""
        trainable = count_parameters(self.suffix, trainable_only=True)
        total = count_parameters(self.suffix) + count_parameters(self.prefix)
        percent = round(100 * trainable / total, 4)
        return {"trainable_parameters": trainable, "trainable_percent": percent}


def block_widths(backbone: BackboneParams) -> dict[str, int]:
    """Tell the number of pooled features of each block, in the network's order."""
    return BLOCK_WIDTHS[backbone.arch]


def head_shape(
    backbone: BackboneParams,
    reads: Sequence[str],
    grey: int,
    kind: HeadKind,
    classes: int,
    kernel: int = 0,
    present: tuple[int, ...] | None = None,
) -> HeadShape:
    """Say what a head must be to read these blocks' pooled features, and `grey` more numbers."""
    widths = block_widths(backbone)
    features = grey + sum(widths[name] for name in reads)
    return HeadShape(kind, features, classes, kernel, present)


def build_network(weights: Path, backbone: BackboneParams, design: Design) -> Network:
    """Load the backbone, cut it and put a fresh head on it.

    Args:
        weights: The file that stage `weights` wrote.
        backbone: The architecture.
        design: The cut and the head.

    Raises:
        UserError: The file doesn't fit the architecture.
    """
    architecture = architecture_of(backbone)
    blocks = architecture.blocks(load_backbone(weights, architecture))
    seed_everything(design.seed)
    head = make_head(design.head, design.dropout)
    prefix, suffix = cut(
        blocks, head, design.at, design.reads, architecture.normalisation, design.scope,
        design.batchnorm,
    )  # fmt: skip
    frozen = [name for name in list(blocks)[: design.at] if name in design.reads]
    side = design.grey + sum(block_widths(backbone)[name] for name in frozen)
    return Network(prefix, suffix, design.at, len(blocks), side, file_sha256(weights))
