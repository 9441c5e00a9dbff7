"""Evaluate a trained suffix on the deployed path: tensors -> whole network -> probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mammo.evaluation.collapse import assess
from mammo.evaluation.decision import RULES, Rule, change_prior, decide, prior_shares
from mammo.evaluation.metrics import Metrics, classification_metrics
from mammo.evaluation.params import CollapseParams


def mean_probabilities(logits: Sequence[Tensor]) -> np.ndarray:
    """Average the probabilities of several views of the same images: each (n, K) -> (n, K).

    Source: Simonyan & Zisserman 2015, arXiv:1409.1556, section 3.2 (the image and its flip).
    """
    return torch.stack([view.softmax(dim=1) for view in logits]).mean(dim=0).numpy()


@dataclass(frozen=True)
class Answering:
    """How a network's probabilities become answers.

    Attributes:
        decision: The rule.
        prior: The class shares that the probabilities assume.
        trained: Those of the training, (K,).
        counts: Training images of each class, (K,).
    """

    decision: Literal["argmax", "median", "auto"]
    prior: Literal["uniform", "train", "as_trained"]
    trained: Sequence[float]
    counts: Sequence[int]

    def assume(self, probabilities: np.ndarray, prior: str | None = None) -> np.ndarray:
        """Move a network's probabilities to the prior asked for: (n, K) -> (n, K)."""
        prior = prior or self.prior
        if prior == "as_trained":
            return probabilities
        return change_prior(probabilities, self.trained, prior_shares(prior, self.counts))


def choose_rule(
    labels: np.ndarray, probabilities: np.ndarray, decision: str
) -> Literal["argmax", "median"]:
    """Settle `auto`: the rule of higher quadratic kappa on these images; argmax where equal.

    Args:
        labels: (n,) positions.
        probabilities: (n, K).
        decision: argmax, median or auto.
    """
    if decision != "auto":
        return "median" if decision == "median" else "argmax"
    names = [str(k) for k in range(probabilities.shape[1])]

    def kappa(rule: Rule) -> float:
        found = classification_metrics(labels, probabilities, names, rule)
        return float(found["kappa_quadratic"] or 0)

    return max(RULES, key=kappa)


def prediction_table(
    strategy: str,
    images: pd.DataFrame,
    probabilities: np.ndarray,
    classes: Sequence[str],
    rule: Rule = "argmax",
) -> pd.DataFrame:
    """Write predictions out, one row an image.

    Args:
        strategy: The strategy's name.
        images: Columns key, patient, laterality, view, split, label; n rows.
        probabilities: (n, K).
        classes: The K class names.
        rule: How the prediction follows from the probabilities.
    """
    table = images[["key", "patient", "laterality", "view", "split", "label"]].copy()
    table.insert(0, "strategy", strategy)
    table["prediction"] = [classes[k] for k in decide(probabilities, rule)]
    for k, label in enumerate(classes):
        table[f"probability_{label}"] = probabilities[:, k]
    return table


def labels_and_probabilities(
    predictions: pd.DataFrame, split: str, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Take one split out of a prediction table: labels (n,) as positions, probabilities (n, K)."""
    part = predictions[predictions["split"] == split]
    labels = part["label"].map({c: k for k, c in enumerate(classes)}).to_numpy(dtype=np.int64)
    return labels, part[[f"probability_{c}" for c in classes]].to_numpy(dtype=np.float64)


def table_metrics(
    predictions: pd.DataFrame, split: str, classes: Sequence[str], rule: Rule = "argmax"
) -> Metrics:
    """Measure one split of a prediction table."""
    labels, probabilities = labels_and_probabilities(predictions, split, classes)
    return classification_metrics(labels, probabilities, classes, rule)


def test_metrics(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    collapse: CollapseParams,
    answering: Answering,
    rule: Rule,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Assemble metrics/evaluate/S.json: the test split's metrics, and what was trained.

    Args:
        predictions: As `prediction_table` returns them.
        classes: The class names.
        collapse: The thresholds by which `status` is set.
        answering: The prior that the predictions assume; both others are reported too.
        rule: The decision rule that was settled.
        facts: best_epoch, trainable_parameters, trainable_percent.
    """
    labels, probabilities = labels_and_probabilities(predictions, "test", classes)
    metrics = classification_metrics(labels, probabilities, classes, rule)
    status = assess(metrics, classes, collapse, at_end=True).status
    names = ("best_epoch", "trainable_parameters", "trainable_percent")
    return {
        **metrics,
        "status": status,
        "collapsed": status == "collapsed",
        "decision": rule,
        "prior": answering.prior,
        **{name: facts[name] for name in names},
    }


def metrics_by_prior(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    answering: Answering,
    rule: Rule,
) -> dict[str, dict[str, Any]]:
    """Measure the same answers at a uniform prior and at that of the training images.

    Args:
        labels: (n,) positions.
        probabilities: (n, K) as trained.
        classes: The class names.
        answering: The prior of the training.
        rule: The decision rule.
    """
    keys = ("accuracy", "kappa", "kappa_quadratic", "bal_acc_adj", "max_predicted_share")
    found = {}
    for prior in ("uniform", "train"):
        moved = answering.assume(probabilities, prior)
        metrics = classification_metrics(labels, moved, classes, rule)
        found[prior] = {key: metrics[key] for key in keys}
    return found
