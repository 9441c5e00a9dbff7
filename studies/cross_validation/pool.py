"""Pool the folds: studies/cross_validation/data/cells -> results.{json,md}, forest.png.

The baselines are fitted anew in every fold, on that fold's own train and val.
"""

from statistics import mean

from mammo import paths
from mammo.cohort.classes import CLASSES, ClassSet
from mammo.cohort.params import SplitParams
from mammo.comparison.arms import Arm
from mammo.comparison.compare import compare, comparison_table
from mammo.comparison.inputs import predict_baselines
from mammo.comparison.params import CompareParams
from mammo.evaluation.levels import PatientRule
from mammo.figures.evidence import forest_plot
from mammo.figures.style import write_png
from mammo.heads.params import HeadParams
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.files import write_json, write_text
from studies.cells.arms import load_arms
from studies.cells.cases import accepted_images, fold_cases
from studies.cells.params import STUDIES, CrossValidationParams, study_params
from studies.cells.pooling import pool_folds, read_cell
from studies.cells.wording import subject_of
from studies.cross_validation.page import cross_validation_page

HERE = STUDIES / "cross_validation"


def main() -> None:
    """Run the stage."""
    study = load_params("cross_validation", CrossValidationParams, study_params("cross_validation"))
    params = load_params("compare", CompareParams)
    split = load_params("split", SplitParams)
    classes = list(CLASSES[load_leaf("dataset.classes", ClassSet)])
    first, cells = study.splits[0], HERE / "data/cells"
    tables, facts = {}, {}
    for name in load_arms():
        tables[name], facts[name] = read_cell(cells / name)
    for name in study.trained:
        found = [read_cell(cells / f"{name}-{fold}") for fold in study.folds]
        tables[name] = {run: table for by_run, _ in found for run, table in by_run.items()}
        facts[name] = {run: fact for _, by_run in found for run, fact in by_run.items()}
    runs = [f"{first}-{fold}" for fold in study.folds]
    images, power = accepted_images(), load_leaf("balancing.power", float)
    head = load_params("head", HeadParams)
    by_fold = [
        predict_baselines(
            next(iter(tables.values()))[f"{first}-{fold}"],
            fold_cases(images, split, first, fold, classes),
            paths.TENSORS,
            params.histogram.bins,
            head,
            power,
        )
        for fold in study.folds
    ]
    # what train alone says, cross-fitted: no test image chooses the baseline that it is judged by
    kappas = {
        name: mean(found.cross_fitted[name] for found in by_fold)
        for name in by_fold[0].cross_fitted
    }
    result = compare(
        {name: Arm(pool_folds([by_run[run] for run in runs])) for name, by_run in tables.items()},
        {
            name: Arm(pool_folds([found.arms[name].predictions for found in by_fold]))
            for name in by_fold[0].arms
        },
        params,
        load_leaf("evaluate.patient", PatientRule),
        tempered=False,
        reference=max(kappas, key=lambda name: kappas[name]),
    )
    shown = {name: {run: by_run[run] for run in runs} for name, by_run in facts.items()}
    subject = subject_of(load_leaf("dataset.name", str), load_leaf("dataset.root", str))
    write_json({**result.as_values(), "runs": facts}, HERE / "results.json")
    write_png(forest_plot(comparison_table(result)), HERE / "forest.png")
    write_text(cross_validation_page(subject, result, shown, images), HERE / "results.md")


if __name__ == "__main__":
    run_stage(main)
