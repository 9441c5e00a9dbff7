"""Pool the folds: studies/cross_validation/folds -> results.{json,md}, forest.png beside them.

The baselines are fitted anew in every fold, on that fold's own train and val.
"""

from mammo import paths
from mammo.cohort.classes import CLASSES, ClassSet
from mammo.cohort.params import SplitParams
from mammo.comparison.compare import compare, comparison_table
from mammo.comparison.inputs import predict_baselines, read_predictions
from mammo.comparison.params import CompareParams
from mammo.figures.evidence import forest_plot
from mammo.figures.style import write_png
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.files import write_json, write_text
from mammo.storage.tensors import Tensors
from studies.cells.pages import cross_validation_page, subject_of
from studies.cells.params import (
    CrossValidationParams,
    fold_cases,
    split_images,
    study_params,
)
from studies.cells.pooling import pool_folds, read_cells

HERE = paths.STUDIES / "cross_validation"


def main() -> None:
    """Run the stage."""
    study = load_params("cross_validation", CrossValidationParams, study_params("cross_validation"))
    params = load_params("compare", CompareParams)
    split = load_params("split", SplitParams)
    classes = list(CLASSES[load_leaf("dataset.classes", ClassSet)])
    names = [f"{name}-{fold}" for name in study.strategies for fold in study.folds]
    tables = read_predictions(names, HERE / "folds")
    images, tensors = split_images(), Tensors(paths.TENSORS)
    by_fold = [
        predict_baselines(
            tables[f"{study.strategies[0]}-{fold}"],
            fold_cases(images, split, fold, classes),
            tensors,
            params.histogram,
        )
        for fold in study.folds
    ]
    result = compare(
        {
            name: pool_folds([tables[f"{name}-{fold}"] for fold in study.folds])
            for name in study.strategies
        },
        {name: pool_folds([found[name] for found in by_fold]) for name in by_fold[0]},
        params,
        tempered=False,
    )
    cells = read_cells(HERE / "folds", study.strategies, study.folds)
    subject = subject_of(load_leaf("dataset.name", str), load_leaf("dataset.root", str))
    write_json({**result, "folds": cells}, HERE / "results.json")
    write_png(forest_plot(comparison_table(result)), HERE / "forest.png")
    write_text(cross_validation_page(subject, result, cells, images), HERE / "results.md")


if __name__ == "__main__":
    run_stage(main)
