"""Draw and embed the study's pictures by the pipeline's own stages: -> data/pictures/.

All of it lies beside this file. The phantoms are small and their classes far apart, so that few
images teach something; no augmented view is stored, since most rows train on the plain images.
"""

from pathlib import Path

from mammo import paths
from mammo.params import load_leaf, read_params
from mammo.stage import run_stage
from mammo.storage.files import whole_folder
from studies.cells.arms import overridden
from studies.cells.workspace import keep, run_stages, workspace
from studies.collapse.ladder.names import EMBEDDED

STUDY = Path("studies/collapse")
KEPT = (paths.IMAGES, paths.LABELS, paths.TENSORS, paths.WEIGHTS, paths.EMBEDDINGS)


def main() -> None:
    """Run the stage."""
    own = STUDY / "params.yaml"
    values = overridden(read_params(), load_leaf("pictures", list[str], own), f"{own}: pictures")
    stages = ["phantom", "ingest", "preprocess", f"embed {EMBEDDED}"]
    with (
        workspace(values, {paths.WEIGHTS: paths.WEIGHTS}) as made,
        whole_folder(STUDY / "data" / "pictures") as folder,
    ):
        run_stages(made, stages)
        keep(made, KEPT, folder)


if __name__ == "__main__":
    run_stage(main)
