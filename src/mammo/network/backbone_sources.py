"""Get a backbone's parameters from where `backbone.weights` says, and store them."""

from pathlib import Path

from mammo import paths
from mammo.network.backbones import architecture_of
from mammo.network.packaged import packaged_state
from mammo.network.params import BackboneParams
from mammo.network.weights import (
    State,
    adopt,
    body,
    fit_to,
    imagenet_file,
    provenance,
    random_network,
    read_weights_file,
    save_backbone,
)
from mammo.storage.files import whole_folder, write_json


def backbone_state(params: BackboneParams) -> State:
    """Get the parameters: from a package, drawn, downloaded or read from a file.

    Raises:
        UserError: A package or file is missing, unreadable or doesn't fit the architecture.
    """
    architecture = architecture_of(params)
    if params.weights == "packaged":
        return fit_to(architecture, packaged_state(params.arch), params.arch)
    if params.weights == "random":
        return body(random_network(params).state_dict(), architecture)
    if params.file:
        return adopt(architecture, read_weights_file(params.file), str(params.file))
    file = imagenet_file(architecture)
    return fit_to(architecture, read_weights_file(file), str(file))


def store_backbone(params: BackboneParams, folder: Path) -> None:
    """Write the parameters and their provenance into a folder of their own."""
    state = backbone_state(params)
    with whole_folder(folder, manifest=True) as partial:
        sha256 = save_backbone(state, partial / paths.BACKBONE.name)
        write_json(provenance(params, sha256), partial / paths.PROVENANCE.name)
