"""Pool the folds: studies/cross_validation/folds -> results.{json,md}, forest.png beside them.

The baselines are fitted anew in every fold, on that fold's own train and val.
"""

from mammo import paths
from mammo.classes import CLASSES, ClassSet
from mammo.comparison import CompareParams, compare, comparison_table
from mammo.comparison_inputs import predict_baselines, read_predictions
from mammo.evidence_figures import forest_plot
from mammo.figure_style import write_png
from mammo.files import read_json, write_json, write_text
from mammo.params import load_leaf, load_params
from mammo.pooling import cell_facts, pool_folds
from mammo.splits import SplitParams
from mammo.stage import run_stage
from mammo.studies import (
    CrossValidationParams,
    fold_cases,
    split_images,
    study_params,
)
from mammo.study_pages import cross_validation_page, subject_of
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
    cells = {
        name: {
            fold: cell_facts(read_json(HERE / "folds" / f"{name}-{fold}" / "metrics.json"))
            for fold in study.folds
        }
        for name in study.strategies
    }
    synthetic = load_leaf("dataset.root", str) == str(paths.PHANTOM)
    subject = subject_of(load_leaf("dataset.name", str), synthetic)
    write_json({**result, "folds": cells}, HERE / "results.json")
    write_png(forest_plot(comparison_table(result)), HERE / "forest.png")
    write_text(cross_validation_page(subject, result, cells, images), HERE / "results.md")


if __name__ == "__main__":
    run_stage(main)
