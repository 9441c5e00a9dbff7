"""Bring the real mammograms to where cells start: -> studies/real_mammograms/data/home/data/.

The pipeline's own stages ingest, preprocess and embed, with the study's data set; the backbone is
the root's.
"""

from mammo import paths
from mammo.params import read_params
from mammo.stage import run_stage
from mammo.storage.files import whole_folder
from studies.cells.arms import load_arms
from studies.cells.params import REAL_HOME, load_cross_validation, study_values
from studies.cells.workspace import keep, run_stages, workspace

KEPT = (paths.IMAGES, paths.LABELS, paths.TENSORS, paths.EMBEDDINGS, paths.WEIGHTS)


def main() -> None:
    """Run the stage."""
    study = load_cross_validation("real_mammograms")
    strategies = {arm.strategy for arm in load_arms().values()} | set(study.trained)
    stages = ["ingest", "preprocess", *(f"embed {name}" for name in sorted(strategies))]
    with (
        workspace(study_values(read_params(), study), {paths.WEIGHTS: paths.WEIGHTS}) as made,
        whole_folder(REAL_HOME) as folder,
    ):
        run_stages(made, stages)
        keep(made, KEPT, folder)


if __name__ == "__main__":
    run_stage(main)
