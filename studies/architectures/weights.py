"""Get the backbone parameters of architecture A: -> data/studies/architectures/A/weights/."""

import sys

from mammo import paths
from mammo.network.backbone_sources import store_backbone
from mammo.network.params import BackboneParams, ComputeParams
from mammo.params import load_params
from mammo.stage import run_stage


def main() -> None:
    """Run the stage for the architecture named on the command line."""
    arch = sys.argv[1]
    params = load_params("backbone", BackboneParams).model_copy(update={"arch": arch})
    compute = load_params("compute", ComputeParams)
    store_backbone(params, compute, paths.STUDY_DATA / "architectures" / arch / "weights")


if __name__ == "__main__":
    run_stage(main)
