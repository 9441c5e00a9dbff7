"""Put the strategy named by `strategy` at constant paths: metrics/report.json, plots/report/.

Select on the validation figures (val_*); quote the test figures once. report.md is only looked
at, beside data/parameters: what it was made of may be older.
"""

import logging

from mammo import paths
from mammo.cohort.classes import CLASSES, ClassSet
from mammo.evaluation.predictions import read_predictions
from mammo.evaluation.reported import reported_metrics
from mammo.figures.tables import marked, strategy_tables
from mammo.params import load_leaf
from mammo.stage import run_stage
from mammo.storage.files import read_json, read_table, whole_folder, write_json, write_table

logger = logging.getLogger("report")


def main() -> None:
    """Run the stage."""
    name = load_leaf("strategy", str)
    classes = list(CLASSES[load_leaf("dataset.classes", ClassSet)])
    predictions = read_predictions(paths.EVALUATION_PLOTS / name / "predictions.csv")
    history = read_table(paths.TRAINING_PLOTS / name / "history.csv")
    metrics = read_json(paths.EVALUATION_PLOTS / name / "metrics.json")
    warn_of_other_parameters()
    write_json(reported_metrics(name, metrics, predictions, classes), paths.REPORT_METRICS)
    with whole_folder(paths.REPORT_PLOTS) as folder:
        for table, content in strategy_tables(history, predictions).items():
            write_table(marked(content, metrics["parameters"]), folder / table)


def warn_of_other_parameters() -> None:
    """Say which rows of report.md and of the comparison's charts are of other parameters."""
    if not paths.COMPARE_METRICS.exists():
        return  # never made here
    compared = read_json(paths.COMPARE_METRICS)["strategies"]
    present = {p.stem: read_json(p)["parameters"] for p in sorted(paths.PARAMETERS.glob("*.json"))}
    stale = [
        f"{name}: {parameters}, there {compared.get(name, {}).get('parameters', 'none')}"
        for name, parameters in present.items()
        if compared.get(name, {}).get("parameters") != parameters
    ]
    if stale:
        logger.warning(
            "report.md is of other parameters (%s), and so are the charts of all strategies; "
            "`dvc repro` brings them up to date", "; ".join(stale),
        )  # fmt: skip


if __name__ == "__main__":
    run_stage(main)
