"""Pretrain the study's backbone on textures: params.yaml -> data/studies/collapse/weights/."""

from pathlib import Path

from mammo.network.compute import start
from mammo.network.params import BackboneParams, ComputeParams
from mammo.network.textures import pretrain
from mammo.network.weights import save_backbone
from mammo.params import load_params
from mammo.stage import run_stage
from mammo.storage.files import whole_folder

OWN = Path("studies/collapse/params.yaml")
WEIGHTS = Path("data/studies/collapse/weights")


def main() -> None:
    """Run the stage."""
    backbone = load_params("backbone", BackboneParams, OWN)
    state = pretrain(backbone, start(load_params("compute", ComputeParams, OWN)))
    with whole_folder(WEIGHTS) as folder:
        save_backbone(state, folder / "backbone.safetensors")


if __name__ == "__main__":
    run_stage(main)
