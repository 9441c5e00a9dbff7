"""Train strategy S on architecture A: -> studies/architectures/{runs,timing}/A-S.

`own` in place of A is the architecture of params.yaml, with the pipeline's weights and embeddings.
"""

import sys

from mammo import paths
from mammo.evaluation.params import EvaluateParams
from mammo.network.compute import start
from mammo.params import load_params
from mammo.stage import run_stage
from mammo.storage.files import read_table, write_json
from mammo.training.settings import load_settings
from mammo.training.trial import Stored
from studies.cells.cells import of_architecture, run_cell, write_cell
from studies.cells.params import OWN, split_images

HERE = paths.STUDIES / "architectures"


def main() -> None:
    """Run the stage for the architecture and the strategy named on the command line."""
    arch, name = sys.argv[1:]
    settings = load_settings(name)
    if arch == OWN:
        stored = Stored(paths.BACKBONE, paths.EMBEDDINGS / name, paths.TENSORS)
    else:
        settings = of_architecture(settings, arch)
        home = paths.STUDY_DATA / "architectures" / arch
        weights = home / "weights" / paths.BACKBONE.name
        stored = Stored(weights, home / "embeddings" / name, paths.TENSORS)
    cases = split_images().merge(read_table(paths.SPLITS), on="key")
    fabric = start(settings.compute)
    cell = run_cell(settings, stored, cases, load_params("evaluate", EvaluateParams), fabric)
    if fabric.is_global_zero:  # one process writes for all
        write_cell(cell, HERE / "runs" / f"{arch}-{name}")
        epochs = cell.metrics["epochs"]
        timing = {"epochs": epochs, "seconds": round(cell.seconds, 1)}
        write_json(timing, HERE / "timing" / f"{arch}-{name}.json")


if __name__ == "__main__":
    run_stage(main)
