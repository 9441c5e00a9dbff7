"""Get the backbone's parameters: params.yaml (backbone) -> data/weights/ with their provenance."""

from mammo import paths
from mammo.network.backbone_sources import store_backbone
from mammo.network.params import BackboneParams
from mammo.params import load_params
from mammo.stage import run_stage
from mammo.storage.outside import require_noted


def main() -> None:
    """Run the stage."""
    params = load_params("backbone", BackboneParams)
    if params.file is not None:
        require_noted("backbone.file", params.file)
    store_backbone(params, paths.WEIGHTS)


if __name__ == "__main__":
    run_stage(main)
