"""Train strategy S with seed N on the committed split: -> studies/seeds/runs/S-N/."""

import sys
from dataclasses import replace

from mammo import paths
from mammo.evaluation.params import EvaluateParams
from mammo.network.compute import start
from mammo.params import load_params
from mammo.stage import run_stage
from mammo.storage.files import read_table
from mammo.training.settings import load_settings
from mammo.training.trial import Stored
from studies.cells.cells import run_cell, write_cell
from studies.cells.params import split_images


def main() -> None:
    """Run the stage for the strategy and the seed named on the command line."""
    name, seed = sys.argv[1], int(sys.argv[2])
    settings = load_settings(name)
    settings = replace(settings, train=settings.train.model_copy(update={"seed": seed}))
    cases = split_images().merge(read_table(paths.SPLITS), on="key")
    fabric = start(settings.compute)
    stored = Stored(paths.BACKBONE, paths.EMBEDDINGS / name, paths.TENSORS)
    cell = run_cell(settings, stored, cases, load_params("evaluate", EvaluateParams), fabric)
    if fabric.is_global_zero:  # one process writes for all
        write_cell(cell, paths.STUDIES / "seeds" / "runs" / f"{name}-{seed}")


if __name__ == "__main__":
    run_stage(main)
