"""Store what crosses the cut of strategy S in architecture A, as stage `embed` does.

Reads data/tensors and A's weights, writes data/studies/architectures/A/embeddings/S/.
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
    """Run the stage for the architecture and the strategy named on the command line."""
    arch, name = sys.argv[1:]
    home = paths.STUDY_DATA / "architectures" / arch
    params = EmbeddingParams(
        backbone=load_params("backbone", BackboneParams).model_copy(update={"arch": arch}),
        strategy=load_params(f"strategies.{name}", CutParams),
        augment=load_params("augment", AugmentParams),
        embed=load_params("embed", EmbedParams),
        compute=load_params("compute", ComputeParams),
    )
    weights = home / "weights" / paths.BACKBONE.name
    store_embeddings(name, params, weights, Tensors(paths.TENSORS), home / "embeddings" / name)


if __name__ == "__main__":
    run_stage(main)
