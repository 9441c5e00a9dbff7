"""What metrics/report.json holds: the figures of one arm, few enough to compare in one table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mammo.evaluation.levels import level_metrics
from mammo.evaluation.predictions import table_metrics

SETTLED = ("status", "parameters", "decision", "prior", "patient")
VALIDATED = ("kappa", "kappa_quadratic", "bal_acc_adj", "kappa_patient", "kappa_quadratic_patient")
TESTED = (
    "accuracy", "kappa", "kappa_linear", "kappa_quadratic", "bal_acc", "bal_acc_adj", "auc_macro",
    "macro_f1", "kappa_breast", "kappa_quadratic_breast", "accuracy_patient", "kappa_patient",
    "kappa_quadratic_patient", "bal_acc_adj_patient", "kappa_dense", "auc_dense",
)  # fmt: skip
TRAINED = ("best_epoch", "trainable_parameters", "trainable_percent")


def reported_metrics(
    name: str, metrics: Mapping[str, Any], predictions: pd.DataFrame, classes: Sequence[str]
) -> dict[str, Any]:
    """Choose the figures of one arm; what an arm doesn't have (two classes, no epoch) is left out.

    Args:
        name: The arm's.
        metrics: From metrics/evaluate/S.json, of the test split.
        predictions: Its table, whose val rows give the figures to choose by.
        classes: The K class names.
    """
    rule = metrics["decision"]
    val = predictions[predictions["split"] == "val"]
    validation = {
        **table_metrics(predictions, "val", classes, rule),
        **level_metrics(val, classes, metrics["patient"], rule),
    }
    by_class = [f"{what}_{label}" for what in ("recall", "predicted_share") for label in classes]
    tested = [*TESTED, *by_class, "pred_unique", "collapsed", *TRAINED]
    if len(classes) == 2:  # where dense or not is all that is asked
        tested.remove("auc_dense")
    by_prior = metrics.get("by_prior", {})
    return {
        "strategy": name,
        **{key: metrics[key] for key in SETTLED if key in metrics},
        **{f"val_{key}": validation[key] for key in VALIDATED},
        **{key: metrics[key] for key in tested if key in metrics},
        **{f"kappa_quadratic_{p}_prior": of_p["kappa_quadratic"] for p, of_p in by_prior.items()},
    }
