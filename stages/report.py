"""Put the strategy named by `strategy` at constant paths: metrics/report.json, plots/report/.

Select on the validation figures (val_*); quote the test figures once.
"""

from mammo import paths
from mammo.cohort.classes import CLASSES, ClassSet
from mammo.evaluation.predictions import table_metrics
from mammo.figures.tables import strategy_tables
from mammo.params import load_leaf
from mammo.stage import run_stage
from mammo.storage.files import read_json, read_table, whole_folder, write_json, write_table


def main() -> None:
    """Run the stage."""
    name = load_leaf("strategy", str)
    classes = list(CLASSES[load_leaf("dataset.classes", ClassSet)])
    types = {f"probability_{label}": float for label in classes}
    predictions = read_table(paths.EVALUATION_PLOTS / name / "predictions.csv", **types)
    history = read_table(paths.TRAINING_PLOTS / name / "history.csv")
    metrics = read_json(paths.EVALUATE_METRICS / f"{name}.json")
    validation = table_metrics(predictions, "val", classes)
    chosen = {f"val_{key}": validation[key] for key in ("kappa", "bal_acc_adj")}
    write_json({"strategy": name, **metrics, **chosen}, paths.REPORT_METRICS)
    with whole_folder(paths.REPORT_PLOTS) as folder:
        for table, content in strategy_tables(history, predictions).items():
            write_table(content, folder / table)


if __name__ == "__main__":
    run_stage(main)
