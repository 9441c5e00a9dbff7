"""Compare the strategies with each other and with baselines that need no network.

Reads data/{images,labels,splits,groups,files,phantom_truth}.csv, data/tensors, plots/evaluation,
plots/training and metrics/train; writes metrics/compare.json, plots/compare and report.md.
"""

from typing import Any

import pandas as pd

from mammo import paths
from mammo.cohort.cases import read_cases
from mammo.cohort.classes import ClassSet, class_of
from mammo.comparison.compare import compare
from mammo.comparison.inputs import predict_baselines, read_arms, read_trainings
from mammo.comparison.page import Evidence, report
from mammo.comparison.params import CompareParams
from mammo.comparison.tables import calibration_table, comparison_table
from mammo.evaluation.ensemble import ENSEMBLE
from mammo.evaluation.levels import PatientRule, class_names
from mammo.figures.evidence import forest_plot, reliability_diagram
from mammo.figures.style import write_png
from mammo.heads.params import HeadParams
from mammo.params import load_leaf, load_params
from mammo.stage import run_stage
from mammo.storage.files import read_table, whole_folder, write_json, write_table, write_text
from mammo.training.params import BalancingParams, LossParams
from mammo.training.problem import Solving


def main() -> None:
    """Run the stage."""
    params = load_params("compare", CompareParams)
    strategies = list(load_leaf("strategies", dict[str, Any]))
    members = load_leaf("ensemble.strategies", list[str])
    names = [*strategies, ENSEMBLE] if members else strategies
    synthetic = paths.is_phantom(load_leaf("dataset.root", str))
    cases = read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS)
    arms = read_arms(names, paths.EVALUATION_PLOTS)
    judged = arms[names[0]].predictions
    head = load_params("head", HeadParams)
    solving = Solving(
        list(class_names(judged)),
        head,
        load_params("balancing", BalancingParams),
        load_params("loss", LossParams),
    ).plain()
    baselines = predict_baselines(
        judged, cases, paths.TENSORS, params.histogram.bins, solving.path, head.refit
    )
    result = compare(
        arms,
        baselines.arms,
        params,
        load_leaf("evaluate.patient", PatientRule),
        truth=read_truth() if synthetic else None,
        groups=read_table(paths.GROUPS),
    )
    evidence = Evidence(
        dataset=load_leaf("dataset.name", str),
        synthetic=synthetic,
        arch=load_leaf("backbone.arch", str),
        cases=cases,
        training=read_trainings(strategies, paths.TRAIN_METRICS, paths.TRAINING_PLOTS),
        result=result,
    )
    intervals, calibration = comparison_table(result), calibration_table(result)
    write_json(result.as_values(), paths.COMPARE_METRICS)
    with whole_folder(paths.COMPARE_PLOTS) as folder:
        write_table(intervals, folder / "intervals.csv")
        write_table(calibration, folder / "calibration.csv")
        write_png(forest_plot(intervals), folder / "forest.png")
        write_png(reliability_diagram(calibration), folder / "reliability.png")
    write_text(report(evidence), paths.COMPARE_PAGE)


def read_truth() -> pd.DataFrame:
    """Read the phantom's true classes, in the classes that are told apart: key, true_class."""
    classes = load_leaf("dataset.classes", ClassSet)
    truth = read_table(paths.PHANTOM_TRUTH).rename(columns={"image_path": "path"})
    truth = truth.merge(read_table(paths.FILES)[["key", "path"]], on="path")
    truth["true_class"] = [class_of(classes, label) for label in truth["true_class"]]
    return truth[["key", "true_class"]]


if __name__ == "__main__":
    run_stage(main)
