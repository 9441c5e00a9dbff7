"""Compare the strategies with each other and with baselines that need no network.

Reads data/{images,labels,splits}.csv, data/tensors, plots/evaluation, plots/training and
metrics/train; writes metrics/compare.json, plots/compare and report.md.
"""

from mammo import paths
from mammo.comparison.compare import compare, comparison_table
from mammo.comparison.inputs import (
    predict_baselines,
    read_cases,
    read_collapse,
    read_predictions,
    read_training,
)
from mammo.comparison.page import Evidence, report
from mammo.comparison.params import CompareParams
from mammo.figures.evidence import forest_plot, reliability_diagram
from mammo.figures.style import write_png
from mammo.params import load_params, read_params
from mammo.stage import run_stage
from mammo.storage.files import whole_folder, write_json, write_table, write_text
from mammo.storage.tensors import Tensors


def main() -> None:
    """Run the stage."""
    params = load_params("compare", CompareParams)
    settings = read_params()
    names = list(settings["strategies"])
    cases = read_cases(paths.IMAGES, paths.LABELS, paths.SPLITS)
    predictions = read_predictions(names, paths.EVALUATION_PLOTS)
    baselines = predict_baselines(
        predictions[names[0]], cases, Tensors(paths.TENSORS), params.histogram
    )
    collapse = read_collapse(names, paths.TRAINING_PLOTS)
    result = compare(predictions, baselines, params)
    evidence = Evidence(
        dataset=settings["dataset"]["name"],
        synthetic=settings["dataset"]["root"] == str(paths.PHANTOM),
        cases=cases,
        training=read_training(names, paths.TRAIN_METRICS),
        collapse=collapse,
        result=result,
    )
    table = comparison_table(result)
    write_json({**result, "collapse": collapse}, paths.COMPARE_METRICS)
    with whole_folder(paths.COMPARE_PLOTS) as folder:
        write_table(table, folder / "intervals.csv")
        write_png(forest_plot(table), folder / "forest.png")
        write_png(reliability_diagram(result["calibration"]), folder / "reliability.png")
    write_text(report(evidence), paths.COMPARE_PAGE)


if __name__ == "__main__":
    run_stage(main)
