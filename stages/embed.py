"""Store what crosses a strategy's cut: data/{tensors,weights} -> data/embeddings/S/.

Every image is embedded, whatever its split or label. Where storing doesn't pay, plan.json says so
and training computes the prefix itself.
"""

import sys

from mammo import paths
from mammo.embedding.params import AugmentParams, EmbedParams
from mammo.embedding.store import EmbeddingParams, store_embeddings
from mammo.network.params import BackboneParams, ComputeParams, CutParams
from mammo.params import load_params
from mammo.stage import run_stage
from mammo.storage.tensors import Tensors


def main() -> None:
    """Run the stage for the strategy named on the command line."""
    name = sys.argv[1]
    backbone = load_params("backbone", BackboneParams)
    params = EmbeddingParams(
        backbone=backbone,
        strategy=load_params(f"strategies.{name}", CutParams),
        augment=load_params("augment", AugmentParams),
        embed=load_params("embed", EmbedParams),
        compute=load_params("compute", ComputeParams),
    )
    tensors = Tensors(paths.TENSORS)
    store_embeddings(name, params, paths.BACKBONE, tensors, paths.EMBEDDINGS / name)


if __name__ == "__main__":
    run_stage(main)
