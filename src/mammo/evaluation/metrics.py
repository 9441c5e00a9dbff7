"""Classification metrics as one flat mapping, the same keys everywhere."""

import math
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score, roc_auc_score

from mammo.evaluation.decision import Rule, decide

Metrics = dict[str, float | int | bool | None]


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], rule: Rule = "argmax"
) -> Metrics:
    """Measure predictions against labels.

    Balanced accuracy, its adjusted form, macro F1 and macro AUC are means over the classes that
    the labels hold: `classes_present` of them. The recall of an absent class is None.

    Args:
        labels: (n,) integers, positions in `classes`.
        probabilities: (n, K) floats.
        classes: The K class names, in order (the weighted kappas use that order).
        rule: How the prediction follows from the probabilities.

    Raises:
        ValueError: There is no image, the shapes disagree or a probability isn't finite.

    Source:
        Cohen 1960 (kappa, unweighted), Cohen 1968 (weighted); Brodersen 2010 (balanced
        accuracy); scikit-learn's `balanced_accuracy_score(adjusted=True)`.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0 or probabilities.shape != (len(labels), len(classes)):
        raise ValueError(
            f"labels (n,) and probabilities (n, {len(classes)}) with n > 0 are needed, "
            f"got {labels.shape} and {probabilities.shape}"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities must be finite")
    predictions = decide(probabilities, rule)
    confusion = confusion_matrix(labels, predictions, labels=range(len(classes)))
    metrics = confusion_metrics(confusion, classes)
    metrics["auc_macro"] = macro_auc(labels, probabilities)
    return {key: metrics[key] for key in metric_keys(classes)}


def metric_keys(classes: Sequence[str]) -> list[str]:
    """List the keys of `classification_metrics` in the order in which they are written."""
    overall = ["accuracy", "kappa", "kappa_linear", "kappa_quadratic", "bal_acc", "bal_acc_adj"]
    overall += ["auc_macro", "macro_f1"]
    by_class = ["recall", "predicted_share", "predicted_n", "n"]
    each = [f"{name}_{label}" for name in by_class for label in classes]
    return [*overall, *each, "pred_unique", "max_predicted_share", "classes_present"]


def confusion_metrics(confusion: np.ndarray, classes: Sequence[str]) -> Metrics:
    """Compute everything that follows from a confusion matrix: (K, K), rows true.

    Returns:
        The keys of `classification_metrics` but `auc_macro`.
    """
    truth, predicted = _expand(confusion)
    n = int(confusion.sum())
    support, answered = confusion.sum(axis=1), confusion.sum(axis=0)
    present = np.flatnonzero(support)
    recall = confusion.diagonal()[present] / support[present]
    bal_acc, chance = float(recall.mean()), 1 / len(present)
    metrics: Metrics = {
        "accuracy": float(confusion.trace() / n),
        "kappa": _kappa(truth, predicted, None),
        "kappa_linear": _kappa(truth, predicted, "linear"),
        "kappa_quadratic": _kappa(truth, predicted, "quadratic"),
        "bal_acc": bal_acc,
        "bal_acc_adj": (bal_acc - chance) / (1 - chance) if len(present) > 1 else 0.0,
        "macro_f1": float(
            f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
        ),
        "pred_unique": int(np.count_nonzero(answered)),
        "max_predicted_share": float(answered.max() / n),
        "classes_present": len(present),
    }
    recalls = dict(zip(present, recall, strict=True))
    for position, label in enumerate(classes):
        metrics[f"recall_{label}"] = float(recalls[position]) if position in recalls else None
        metrics[f"predicted_share_{label}"] = float(answered[position] / n)
        metrics[f"predicted_n_{label}"] = int(answered[position])
        metrics[f"n_{label}"] = int(support[position])
    return metrics


def macro_auc(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Average the one-vs-rest AUC over the classes that the labels hold; None if only one is."""
    present = np.unique(labels)
    if len(present) < 2:
        return None
    return float(np.mean([roc_auc_score(labels == k, probabilities[:, k]) for k in present]))


def _expand(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write a confusion matrix out as labels and predictions: (n,) each."""
    rows, columns = np.indices(confusion.shape)
    counts = confusion.ravel()
    return rows.ravel().repeat(counts), columns.ravel().repeat(counts)


def _kappa(truth: np.ndarray, predicted: np.ndarray, weights: str | None) -> float:
    """Cohen's kappa; 0, its value for chance, where everything is one class (0 / 0)."""
    if len(np.unique(np.concatenate([truth, predicted]))) == 1:
        return 0.0
    k = int(max(truth.max(), predicted.max())) + 1
    kappa = float(cohen_kappa_score(truth, predicted, labels=range(k), weights=weights))
    return 0.0 if math.isnan(kappa) else kappa
