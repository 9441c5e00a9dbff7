"""Store what crosses a strategy's cut: data/{tensors,weights} -> data/embeddings/S/.

Every image is embedded, whatever its split or label: pooled features of all blocks, and the
activations at the cut where training from them pays (plan.json says which, and why).
"""

import sys

from mammo import paths
from mammo.embedding.params import AugmentParams, EmbedParams
from mammo.embedding.store import EmbeddingParams, store_embeddings
from mammo.network.params import BackboneParams, ComputeParams, CutParams
from mammo.params import load_params
from mammo.stage import run_stage


def main() -> None:
    """Run the stage for the strategy named on the command line."""
    name = sys.argv[1]
    params = EmbeddingParams(
        backbone=load_params("backbone", BackboneParams),
        strategy=load_params(f"strategies.{name}", CutParams),
        augment=load_params("augment", AugmentParams),
        embed=load_params("embed", EmbedParams),
        compute=load_params("compute", ComputeParams),
    )
    folder, scratch = paths.EMBEDDINGS / name, paths.SCRATCH / "pooled"
    store_embeddings(name, params, paths.BACKBONE, paths.TENSORS, folder, scratch)


if __name__ == "__main__":
    run_stage(main)
