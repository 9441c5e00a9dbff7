"""Get the backbone's parameters: params.yaml (backbone) -> data/weights/ with their provenance."""

from mammo import paths
from mammo.compute import ComputeParams, start
from mammo.files import whole_folder, write_json
from mammo.params import load_params
from mammo.precision import settle
from mammo.stage import run_stage
from mammo.textures import pretrain
from mammo.weights import (
    BackboneParams,
    body,
    fit_to,
    imagenet_file,
    provenance,
    random_network,
    read_weights_file,
    save_backbone,
)


def main() -> None:
    """Run the stage."""
    params = load_params("backbone", BackboneParams)
    architecture = params.architecture
    if params.weights == "procedural":
        compute = settle(load_params("compute", ComputeParams), params)
        state = pretrain(params, start(compute))
    elif params.weights == "random":
        state = body(random_network(params).state_dict(), architecture)
    else:
        file = params.file or imagenet_file(architecture)
        state = fit_to(architecture, read_weights_file(file), str(file))
    with whole_folder(paths.WEIGHTS) as folder:
        sha256 = save_backbone(state, folder / paths.BACKBONE.name)
        write_json(provenance(params, sha256), folder / paths.PROVENANCE.name)


if __name__ == "__main__":
    run_stage(main)
