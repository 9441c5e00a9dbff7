"""Read what the comparison needs from the stages before it, each fault with file and rule."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo.comparison.arms import CASE, class_names
from mammo.comparison.baselines import (
    INTENSITY_HISTOGRAM,
    MAJORITY_CLASS,
    majority_class,
    predict_from_histograms,
)
from mammo.comparison.params import HistogramParams
from mammo.errors import UserError
from mammo.storage.files import read_json, read_table
from mammo.storage.keys import require_same, require_within
from mammo.storage.tensors import Tensors

logger = logging.getLogger(__name__)

TRAINING_FACTS = ("trainable_parameters", "trainable_percent", "best_epoch")


def read_cases(images: Path, labels: Path, splits: Path) -> pd.DataFrame:
    """Join the tables of the split images: `key, patient, label, split`, sorted by key."""
    cases, read, seen = read_table(splits), read_table(labels), read_table(images)
    require_same(images, seen["key"], labels, read["key"])
    require_within(splits, cases["key"], images, seen["key"])
    cases = cases[["key", "split"]].merge(read[["key", "label"]], on="key")
    cases = cases.merge(seen[["key", "patient"]], on="key")
    return cases[["key", "patient", "label", "split"]].sort_values("key", ignore_index=True)


def read_predictions(names: Sequence[str], folder: Path) -> dict[str, pd.DataFrame]:
    """Read `<strategy>/predictions.csv` of every strategy of params.yaml, in that order.

    Raises:
        UserError: A table is missing or lacks a column.
    """
    # A removed strategy's folder stays behind: DVC no longer knows it.
    for stranger in sorted({entry.name for entry in folder.glob("*/")} - set(names)):
        logger.warning("%s: not among the strategies of params.yaml; ignored", folder / stranger)
    return {name: _read_predictions(folder / name / "predictions.csv") for name in names}


def read_collapse(names: Sequence[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Sum up each strategy's `history.csv`."""
    return {
        name: collapse_history(
            read_table(folder / name / "history.csv", epoch=int, max_predicted_share=float)
        )
        for name in names
    }


def collapse_history(history: pd.DataFrame) -> dict[str, Any]:
    """Sum up one strategy's validation epochs.

    Args:
        history: `epoch, split, status, max_predicted_share`, one row an epoch and split.

    Returns:
        `epochs` (how many), `collapsed` and `warning` (which), `status` and
        `max_predicted_share` of the last one.

    Raises:
        UserError: No epoch was validated.
    """
    rows = history[history["split"] == "val"].sort_values("epoch")
    if rows.empty:
        raise UserError("plots/training: history.csv must hold validation epochs, got none")
    last = rows.iloc[-1]
    epochs_of = rows.groupby("status")["epoch"].apply(lambda epochs: [int(e) for e in epochs])
    return {
        "epochs": len(rows),
        "collapsed": epochs_of.get("collapsed", []),
        "warning": epochs_of.get("warning", []),
        "status": str(last["status"]),
        "max_predicted_share": float(f"{last['max_predicted_share']:.9g}"),
    }


def read_training(names: Sequence[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Read each strategy's trainable parameters and best epoch.

    Raises:
        UserError: A file is missing or lacks one of `TRAINING_FACTS`.
    """
    facts = {}
    for name in names:
        path = folder / f"{name}.json"
        metrics = read_json(path)
        absent = [key for key in TRAINING_FACTS if key not in metrics]
        if absent:
            raise UserError(f"{path}: must hold {', '.join(TRAINING_FACTS)}, got no {absent[0]}")
        facts[name] = {key: metrics[key] for key in TRAINING_FACTS}
    return facts


def predict_baselines(
    judged: pd.DataFrame, cases: pd.DataFrame, tensors: Tensors, params: HistogramParams
) -> dict[str, pd.DataFrame]:
    """Let the baselines judge the images that the strategies judged.

    Args:
        judged: One strategy's predictions; its val and test images and classes are taken.
        cases: From `read_cases`; its train images are what the baselines learn from.
        tensors: Images of (H, W).
        params: Of the histogram baseline.

    Returns:
        Tables like `judged`, by baseline.

    Raises:
        UserError: A label isn't among the classes that were predicted.
    """
    classes = class_names(judged)
    position = {label: number for number, label in enumerate(classes)}
    strangers = sorted(set(cases["label"]) - set(classes))
    if strangers:
        raise UserError(
            f"data/labels.csv: labels must be among {', '.join(classes)}, got {strangers[0]!r}; "
            "run `dvc repro` so that the predictions are of these labels"
        )
    tables = {"train": cases[cases["split"] == "train"]}
    tables |= {split: judged[judged["split"] == split] for split in ("val", "test")}
    labels = {s: np.array([position[x] for x in t["label"]], int) for s, t in tables.items()}
    keys = {split: list(table["key"]) for split, table in tables.items()}
    n_classes = len(classes)
    histogram = predict_from_histograms(tensors, keys, labels, n_classes, params)
    majority = {s: majority_class(labels["train"], len(k), n_classes) for s, k in keys.items()}
    by_name = {MAJORITY_CLASS: majority, INTENSITY_HISTOGRAM: histogram}
    return {
        name: pd.concat(
            [_predictions(name, tables[s], classes, by_split[s]) for s in ("val", "test")],
            ignore_index=True,
        )
        for name, by_split in by_name.items()
    }


def _predictions(
    name: str, table: pd.DataFrame, classes: Sequence[str], probabilities: np.ndarray
) -> pd.DataFrame:
    filled = table[CASE].assign(strategy=name)
    filled[[f"probability_{label}" for label in classes]] = probabilities
    return filled


def _read_predictions(path: Path) -> pd.DataFrame:
    columns = read_table(path).columns
    absent = [column for column in CASE if column not in columns]
    if absent:
        raise UserError(f"{path}: must hold the columns {', '.join(CASE)}, got no {absent[0]}")
    numbers = [column for column in columns if column.startswith("probability_")]
    return read_table(path, **dict.fromkeys(numbers, float))
