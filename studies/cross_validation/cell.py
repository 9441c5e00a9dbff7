"""Train strategy S with fold K held out: -> studies/cross_validation/folds/S-K/.

Fold K is test and the next one val. Tensors, weights and embeddings are those of the pipeline.
"""

import sys

from mammo import paths
from mammo.cohort.params import SplitParams
from mammo.evaluation.params import EvaluateParams
from mammo.network.compute import start
from mammo.params import load_params
from mammo.stage import run_stage
from mammo.training.settings import load_settings
from mammo.training.trial import Stored
from studies.cells.cells import run_cell, write_cell
from studies.cells.params import fold_cases, split_images


def main() -> None:
    """Run the stage for the strategy and the fold named on the command line."""
    name, fold = sys.argv[1], int(sys.argv[2])
    settings = load_settings(name)
    split = load_params("split", SplitParams)
    cases = fold_cases(split_images(), split, fold, settings.classes)
    fabric = start(settings.compute)
    stored = Stored(paths.BACKBONE, paths.EMBEDDINGS / name, paths.TENSORS)
    cell = run_cell(settings, stored, cases, load_params("evaluate", EvaluateParams), fabric)
    if fabric.is_global_zero:  # one process writes for all
        write_cell(cell, paths.STUDIES / "cross_validation" / "folds" / f"{name}-{fold}")


if __name__ == "__main__":
    run_stage(main)
