"""Store what crosses a strategy's cut: data/{tensors,weights} -> data/embeddings/S/.

Every image is embedded, whatever its split or label. Where storing doesn't pay, plan.json says so
and training computes the prefix itself.
"""

import logging
import sys
from dataclasses import asdict

from mammo import paths
from mammo.augment import Augmentation, AugmentParams
from mammo.compute import ComputeParams, compute_dtype, start
from mammo.embedding import EmbedParams, embed, plan
from mammo.files import whole_folder, write_json
from mammo.networks import build_network, strategy_cut
from mammo.params import load_params
from mammo.precision import settle
from mammo.sources import PLAN
from mammo.stage import run_stage
from mammo.strategies import CutParams, fold_batchnorm
from mammo.tensors import Tensors, write_shards
from mammo.weights import BackboneParams

logger = logging.getLogger("embed")


def main() -> None:
    """Run the stage for the strategy named on the command line."""
    name = sys.argv[1]
    backbone = load_params("backbone", BackboneParams)
    params = load_params("embed", EmbedParams)
    compute = settle(load_params("compute", ComputeParams), backbone)
    at = strategy_cut(backbone, load_params(f"strategies.{name}", CutParams), name)
    network = build_network(paths.BACKBONE, backbone, at, classes=["any"], dropout=0, seed=0)
    tensors = Tensors(paths.TENSORS)
    decision = plan(network.prefix, network.suffix, tensors.shape[-1], len(tensors), params)
    logger.info("%s: %s (%s)", name, "stored" if decision.stored else "not stored", decision.reason)
    with whole_folder(paths.EMBEDDINGS / name) as folder:
        if decision.stored:
            fabric, dtype = start(compute), compute_dtype(compute)
            prefix = fold_batchnorm(network.prefix, dtype).to(fabric.device)
            augmentation = Augmentation(load_params("augment", AugmentParams))
            items = embed(tensors, prefix, augmentation, params, fabric.device, dtype)
            write_shards(items, tensors.keys, folder, params.shard_mb * 2**20)
        write_json(asdict(decision), folder / PLAN)


if __name__ == "__main__":
    run_stage(main)
