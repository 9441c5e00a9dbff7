"""Store what crosses a strategy's cut, with the plan that says whether storing pays."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from mammo.embedding.augment import Augmentation
from mammo.embedding.embedding import embed, plan
from mammo.embedding.params import AugmentParams, EmbedParams
from mammo.embedding.sources import PLAN
from mammo.network.compute import compute_dtype, start
from mammo.network.network import build_network
from mammo.network.params import BackboneParams, ComputeParams, CutParams, strategy_cut
from mammo.network.strategies import fold_batchnorm
from mammo.storage.files import whole_folder, write_json
from mammo.storage.tensors import Tensors, write_shards

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddingParams:
    """The sections that one strategy's activations depend on."""

    backbone: BackboneParams
    strategy: CutParams
    augment: AugmentParams
    embed: EmbedParams
    compute: ComputeParams


def store_embeddings(
    name: str, params: EmbeddingParams, weights: Path, tensors: Tensors, folder: Path
) -> None:
    """Embed every image, whatever its split or label, where the plan says that it pays.

    Args:
        name: The strategy's.
        params: What the activations depend on.
        weights: The file of the backbone's parameters.
        tensors: The images.
        folder: Where shards and plan go; it is replaced.
    """
    at = strategy_cut(params.backbone, params.strategy, name)
    network = build_network(weights, params.backbone, at, classes=["any"], dropout=0, seed=0)
    decision = plan(network.prefix, network.suffix, tensors.shape[-1], len(tensors), params.embed)
    logger.info("%s: %s (%s)", name, "stored" if decision.stored else "not stored", decision.reason)
    with whole_folder(folder) as partial:
        if decision.stored:
            fabric, dtype = start(params.compute), compute_dtype(params.compute)
            prefix = fold_batchnorm(network.prefix, dtype).to(fabric.device)
            augmentation = Augmentation(params.augment)
            items = embed(
                tensors, prefix, augmentation, params.embed, fabric.device, dtype,
                network.normalisation,
            )  # fmt: skip
            write_shards(items, tensors.keys, partial, params.embed.shard_mb * 2**20)
        write_json(asdict(decision), partial / PLAN)
