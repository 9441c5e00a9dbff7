"""Put a network together: stored backbone parameters, cut by a strategy, with a fresh head."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mammo.network.backbones import architecture_of, count_parameters, make_head
from mammo.network.compute import seed_everything
from mammo.network.inputs import Normalisation
from mammo.network.params import BackboneParams, Scope
from mammo.network.strategies import Prefix, Suffix, cut
from mammo.network.weights import load_backbone
from mammo.storage.digests import file_sha256


@dataclass(frozen=True)
class Network:
    """A cut backbone.

    Attributes:
        prefix: The frozen blocks.
        suffix: The blocks that train, and the head.
        cut: The number of blocks before the cut.
        blocks: The number of all blocks.
        backbone_sha256: Of the file that the backbone's parameters came from.
        normalisation: What its input must go through.
    """

    prefix: Prefix
    suffix: Suffix
    cut: int
    blocks: int
    backbone_sha256: str
    normalisation: Normalisation

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


def build_network(
    weights: Path,
    backbone: BackboneParams,
    at: int,
    classes: Sequence[str],
    dropout: float,
    seed: int,
    ordinal: bool = False,
    scope: Scope = "all",
) -> Network:
    """Load the backbone, cut it before block number `at`, and put a head on it.

    Args:
        weights: The file that stage `weights` wrote.
        backbone: The architecture.
        at: As `cut_position` counts it.
        classes: The class names.
        dropout: Before the head's linear layer.
        seed: Of the head's initial parameters.
        ordinal: Whether the head is CORN's.
        scope: What of the suffix trains.

    Raises:
        UserError: The file doesn't fit the architecture.
    """
    architecture = architecture_of(backbone)
    blocks = architecture.blocks(load_backbone(weights, architecture))
    seed_everything(seed)
    head = make_head(architecture.features, len(classes), dropout, ordinal)
    prefix, suffix = cut(blocks, head, at, scope)
    return Network(
        prefix, suffix, at, len(blocks), file_sha256(weights), architecture.normalisation
    )
