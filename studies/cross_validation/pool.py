"""Pool the folds: studies/cross_validation/folds -> results.{json,md}, forest.png beside them.

The baselines are fitted anew in every fold, on that fold's own train and val.
"""

from mammo import paths
from mammo.classes import CLASSES, ClassSet
from mammo.comparison import CompareParams, compare, comparison_table
from mammo.comparison_inputs import predict_baselines, read_predictions
from mammo.evidence_figures import forest_plot
from mammo.figure_style import write_png
from mammo.files import write_json, write_text
from mammo.params import load_leaf, load_params
from mammo.splits import SplitParams
from mammo.stage import run_stage
from mammo.studies.pages import cross_validation_page, subject_of
from mammo.studies.params import (
    CrossValidationParams,
    fold_cases,
    split_images,
    study_params,
)
from mammo.studies.pooling import pool_folds, read_cells
from mammo.tensors import Tensors

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
