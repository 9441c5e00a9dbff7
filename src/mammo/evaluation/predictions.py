"""Evaluate a trained suffix on the deployed path: tensors -> whole network -> probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mammo.evaluation.collapse import assess
from mammo.evaluation.metrics import Metrics, classification_metrics
from mammo.evaluation.params import CollapseParams


def mean_probabilities(logits: Sequence[Tensor]) -> np.ndarray:
    """Average the probabilities of several views of the same images: each (n, K) -> (n, K).

    Source: Simonyan & Zisserman 2015, arXiv:1409.1556, section 3.2 (the image and its flip).
    """
    return torch.stack([view.softmax(dim=1) for view in logits]).mean(dim=0).numpy()


def prediction_table(
    strategy: str, images: pd.DataFrame, probabilities: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Write predictions out, one row an image.

    Args:
        strategy: The strategy's name.
        images: Columns key, patient, laterality, view, split, label; n rows.
        probabilities: (n, K).
        classes: The K class names.
    """
    table = images[["key", "patient", "laterality", "view", "split", "label"]].copy()
    table.insert(0, "strategy", strategy)
    table["prediction"] = [classes[k] for k in probabilities.argmax(axis=1)]
    for k, label in enumerate(classes):
        table[f"probability_{label}"] = probabilities[:, k]
    return table


def table_metrics(predictions: pd.DataFrame, split: str, classes: Sequence[str]) -> Metrics:
    """Measure one split of a prediction table."""
    part = predictions[predictions["split"] == split]
    labels = part["label"].map({c: k for k, c in enumerate(classes)}).to_numpy(dtype=np.int64)
    probabilities = part[[f"probability_{c}" for c in classes]].to_numpy(dtype=np.float64)
    return classification_metrics(labels, probabilities, classes)


def test_metrics(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    collapse: CollapseParams,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Assemble metrics/evaluate/S.json: the test split's metrics, and what was trained.

    Args:
        predictions: As `prediction_table` returns them.
        classes: The class names.
        collapse: The thresholds by which `collapsed` is set.
        facts: best_epoch, trainable_parameters, trainable_percent.
    """
    metrics = table_metrics(predictions, "test", classes)
    status = assess(metrics, classes, collapse, at_end=True).status
    names = ("best_epoch", "trainable_parameters", "trainable_percent")
    return {**metrics, "collapsed": status == "collapsed", **{n: facts[n] for n in names}}
