"""Train strategy S with fold K held out: -> studies/cross_validation/folds/S-K/.

Fold K is test and the next one val. Tensors, weights and embeddings are those of the pipeline.
"""

import sys

from mammo import paths
from mammo.compute import start
from mammo.evaluation import EvaluateParams
from mammo.experiment import load_settings
from mammo.params import load_params
from mammo.splits import SplitParams
from mammo.stage import run_stage
from mammo.studies.cells import run_cell, write_cell
from mammo.studies.params import fold_cases, split_images
from mammo.trials import Stored


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
