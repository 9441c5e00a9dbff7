"""From histories and predictions to the tables behind every chart; nothing here draws."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mammo.errors import UserError
from mammo.figures.curves import average_precision, precision_recall_curve, roc_area, roc_curve

logger = logging.getLogger(__name__)

CURVE_POINTS = 200
COMPARED = [
    "status",
    "trainable_parameters",
    "trainable_percent",
    "kappa",
    "kappa_quadratic",
    "kappa_breast",
    "kappa_quadratic_breast",
    "kappa_patient",
    "kappa_quadratic_patient",
    "bal_acc",
    "bal_acc_adj",
    "accuracy",
    "auc_macro",
    "macro_f1",
    "pred_unique",
    "collapsed",
    "best_epoch",
]


@dataclass(frozen=True)
class Result:
    """What one strategy left behind, as read by `read_table` and `read_json`.

    Attributes:
        history: plots/training/S/history.csv, one row per epoch and split.
        predictions: plots/evaluation/S/predictions.csv, one row per val or test image.
        metrics: plots/evaluation/S/metrics.json, measured on the test split.
    """

    history: pd.DataFrame
    predictions: pd.DataFrame
    metrics: Mapping[str, Any]


def comparison_tables(results: Mapping[str, Result]) -> dict[str, pd.DataFrame]:
    """Make the tables that hold all strategies, by file name, in the order of `results`.

    Raises:
        UserError: A table lacks a column, a metrics file a key, or the class sets differ.
    """
    classes = {name: class_names(result.predictions) for name, result in results.items()}
    first = next(iter(classes))
    for name in classes:
        if classes[name] != classes[first]:
            raise UserError(
                f"plots/evaluation/{name}/predictions.csv: classes must be those of {first} "
                f"({', '.join(classes[first])}), got {', '.join(classes[name])}; run `dvc repro`"
            )
    each = [
        {
            name: marked(table, result.metrics.get("parameters", ""))
            for name, table in strategy_tables(result.history, result.predictions).items()
        }
        for result in results.values()
    ]
    joined = {
        name: pd.concat([tables[name] for tables in each], ignore_index=True) for name in each[0]
    }
    metrics = {name: result.metrics for name, result in results.items()}
    return {
        "curves.csv": joined.pop("history.csv"),
        **joined,
        "strategies.csv": compare_metrics(metrics),
    }


def strategy_tables(history: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Make the tables of one strategy, by file name: what plots/report holds.

    The confusion matrix and the ROC and PR curves are those of the test split.

    Raises:
        UserError: A column is missing, a label unknown, or a split without any image.
    """
    classes = class_names(predictions)
    test = split_rows(predictions, "test")
    asked = classes if len(classes) > 2 else classes[-1:]  # of two, one mirrors the other
    curves = {
        "confusion.csv": confusion_cells(test["label"], test["prediction"], classes),
        "roc.csv": curve_points(test, asked, roc_points),
        "pr.csv": curve_points(test, asked, pr_points),
    }
    for table in curves.values():
        table.insert(0, "strategy", _strategy(predictions))
    return {
        "history.csv": history,
        "shares.csv": share_history(history, predictions),
        **curves,
    }


def marked(table: pd.DataFrame, parameters: str) -> pd.DataFrame:
    """Add the digest of the parameters that a table was made with, so that charts can show it."""
    return table.assign(parameters=parameters)


def class_names(predictions: pd.DataFrame) -> list[str]:
    """Name the classes in their order, that of the columns `probability_<class>`."""
    prefix = "probability_"
    names = [name.removeprefix(prefix) for name in predictions.columns if name.startswith(prefix)]
    if len(names) < 2:
        raise UserError(
            "predictions.csv: two or more columns probability_<class> are needed, "
            f"got {', '.join(predictions.columns)}; run `dvc repro` for the stage evaluate"
        )
    if predictions.empty:
        raise UserError("predictions.csv: no rows; run `dvc repro` for the stage evaluate")
    return names


def split_rows(predictions: pd.DataFrame, split: str) -> pd.DataFrame:
    """Select the rows of one split; every label must be one of the classes."""
    rows = predictions[predictions["split"] == split]
    if rows.empty:
        raise UserError(f"{_source(predictions)}: no row of split {split}; run `dvc repro split`")
    unknown = sorted(set(rows["label"]) - set(class_names(predictions)))
    if unknown:
        raise UserError(
            f"{_source(predictions)}: label must be one of "
            f"{', '.join(class_names(predictions))}, got {', '.join(unknown)}"
        )
    return rows


def confusion_cells(labels: pd.Series, predictions: pd.Series, classes: list[str]) -> pd.DataFrame:
    """Count every pair of classes, zeros too: actual, predicted, n, recall.

    Returns:
        K * K rows. `recall` is n as a share of the actual class, so the recall on the diagonal;
        it is blank for a class that the labels don't hold.
    """
    counts = pd.crosstab(labels.to_numpy(), predictions.to_numpy())
    counts = counts.reindex(index=classes, columns=classes, fill_value=0)  # (K, K), rows true
    n = counts.to_numpy()
    support = n.sum(axis=1, keepdims=True)
    recall = np.divide(n, support, out=np.full(n.shape, np.nan), where=support > 0)
    return pd.DataFrame(
        {
            "actual": np.repeat(classes, len(classes)),
            "predicted": np.tile(classes, len(classes)),
            "n": n.ravel(),
            "recall": recall.ravel(),
        }
    )


def curve_points(
    rows: pd.DataFrame,
    classes: list[str],
    points: Callable[[np.ndarray, np.ndarray], pd.DataFrame],
) -> pd.DataFrame:
    """Trace one curve per class, that class against the rest, with `roc_points` or `pr_points`.

    A class that the labels lack, or that is all they hold, has no curve: a warning names it.
    """
    curves = []
    for label in classes:
        positive = (rows["label"] == label).to_numpy()
        if positive.all() or not positive.any():
            held = "only" if positive.any() else "no"
            logger.warning("the test split holds %s images of class %s: no curve", held, label)
        curve = points(positive, rows[f"probability_{label}"].to_numpy(float))
        curve.insert(0, "class", label)
        curves.append(curve)
    return pd.concat(curves, ignore_index=True)


def roc_points(positive: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """Trace a receiver operating characteristic: fpr, tpr and the area of the whole curve.

    Args:
        positive: (n,) booleans.
        scores: (n,) probabilities of the positive class.

    Returns:
        At most `CURVE_POINTS` rows from (0, 0) to (1, 1); none where one of the two is absent.
    """
    if positive.all() or not positive.any():
        return pd.DataFrame({"fpr": [], "tpr": [], "auc": []}, dtype=float)
    fpr, tpr = roc_curve(positive, scores)
    kept = thin(fpr, tpr)
    return pd.DataFrame({"fpr": fpr[kept], "tpr": tpr[kept], "auc": roc_area(positive, scores)})


def pr_points(positive: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """Trace precision over recall, with average precision and prevalence (chance) on each row.

    The precision of a row holds from the recall of the row before it, so that the area under
    the steps is the average precision. At recall 0 stands the precision of the highest score;
    scikit-learn puts 1 there, which no threshold reaches.

    Args:
        positive: (n,) booleans.
        scores: (n,) probabilities of the positive class.

    Returns:
        At most `CURVE_POINTS` rows by rising recall; none where one of the two is absent.
    """
    columns = ["recall", "precision", "average_precision", "prevalence"]
    if positive.all() or not positive.any():
        return pd.DataFrame({column: [] for column in columns}, dtype=float)
    precision, recall = precision_recall_curve(positive, scores)
    precision, recall = precision[::-1].copy(), recall[::-1]
    precision[0] = precision[1]
    kept = thin(recall, precision)
    values = [recall[kept], precision[kept]]
    values += [average_precision(positive, scores), positive.mean()]
    return pd.DataFrame(dict(zip(columns, values, strict=True)))


def thin(x: np.ndarray, y: np.ndarray, limit: int = CURVE_POINTS) -> np.ndarray:
    """Choose at most `limit` points of a curve, evenly along its length, both ends included.

    By length and not by position: the steep start of a rare class's curve spans few points.

    Returns:
        Rising positions: (m,), m <= limit.
    """
    if len(x) <= limit:
        return np.arange(len(x))
    length = np.concatenate([[0.0], np.hypot(np.diff(x), np.diff(y)).cumsum()])
    kept = np.searchsorted(length, np.linspace(0, length[-1], limit))
    kept[-1] = len(x) - 1
    return np.unique(kept)


def share_history(history: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Follow the share of val images that each class is predicted for, epoch by epoch.

    Returns:
        strategy, epoch, class, share, true_share (of the val labels), status (that epoch's).
    """
    classes = class_names(predictions)
    columns = [f"predicted_share_{label}" for label in classes]
    missing = sorted({*columns, "status"} - set(history.columns))
    if missing:
        raise UserError(
            f"plots/training/{_strategy(predictions)}/history.csv: column {missing[0]} is missing; "
            "run `dvc repro` for the stage train"
        )
    true_shares = split_rows(predictions, "val")["label"].value_counts(normalize=True)
    val = history[history["split"] == "val"]
    return pd.DataFrame(
        {
            "strategy": val["strategy"].repeat(len(classes)),
            "epoch": val["epoch"].repeat(len(classes)),
            "class": np.tile(classes, len(val)),
            "share": numbers(pd.Series(val[columns].to_numpy().ravel())).to_numpy(),
            "true_share": np.tile([true_shares.get(label, 0.0) for label in classes], len(val)),
            "status": val["status"].repeat(len(classes)),
        }
    ).reset_index(drop=True)


def compare_metrics(metrics: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Set the strategies' test metrics and trainable parameters side by side, one row each."""
    rows = []
    for name, values in metrics.items():
        missing = [key for key in COMPARED if key not in values]
        if missing:
            raise UserError(
                f"plots/evaluation/{name}/metrics.json: key {missing[0]} is missing; "
                f"run `dvc repro evaluate@{name}`"
            )
        made_with = {"parameters": values.get("parameters", "")}
        rows.append({"strategy": name, **made_with, **{key: values[key] for key in COMPARED}})
    table = pd.DataFrame(rows)
    # JSON's words, so that a template needn't know Python's.
    table["collapsed"] = table["collapsed"].map({True: "true", False: "false"})
    return table


def numbers(column: pd.Series) -> pd.Series:
    """Read a text column as floats; a blank is NaN."""
    return column.replace("", "nan").astype(float)


def _strategy(table: pd.DataFrame) -> str:
    return str(table["strategy"].iloc[0])


def _source(predictions: pd.DataFrame) -> str:
    return f"plots/evaluation/{_strategy(predictions)}/predictions.csv"
