"""Classification metrics, defined once: of one set of answers, or of thousands of draws at once.

All that follows from counts is computed from confusion matrices (D, K, K), rows true; a single
set of answers is the case D = 1. The AUC is a weighted rank sum, likewise for one or many weights.
"""

from collections.abc import Sequence

import numpy as np

from mammo.evaluation.decision import Rule, decide

Metrics = dict[str, float | int | bool | None]
Draws = dict[str, np.ndarray]


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
    confusion = confusion_matrix(labels, decide(probabilities, rule), len(classes))
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


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, k: int) -> np.ndarray:
    """Count pairs of classes: (n,) positions each, to (K, K) integers, rows true."""
    return np.bincount(labels * k + predictions, minlength=k * k).reshape(k, k)


def confusion_metrics(confusion: np.ndarray, classes: Sequence[str]) -> Metrics:
    """Compute everything that follows from one confusion matrix: (K, K), rows true.

    Returns:
        The keys of `classification_metrics` but `auc_macro`.
    """
    support, answered = confusion.sum(axis=1), confusion.sum(axis=0)
    present = np.flatnonzero(support)
    draws = confusion_draws(confusion[None].astype(np.float64), classes, present)
    metrics: Metrics = {key: float(values[0]) for key, values in draws.items()}
    metrics["pred_unique"] = int(np.count_nonzero(answered))
    metrics["classes_present"] = len(present)
    for position, label in enumerate(classes):
        metrics.setdefault(f"recall_{label}", None)
        metrics[f"predicted_n_{label}"] = int(answered[position])
        metrics[f"n_{label}"] = int(support[position])
    return metrics


def confusion_draws(confusions: np.ndarray, classes: Sequence[str], present: np.ndarray) -> Draws:
    """Compute what follows from confusion matrices: (D, K, K), rows true, to (D,) each.

    A class that is `present` and that a draw lacks leaves that class's recall undefined, and with
    it every mean over classes: averaging over the classes that happen to be left would measure
    something else in each draw. A draw without any image leaves all undefined.

    Args:
        confusions: Weighted counts.
        classes: The K class names in order.
        present: Positions of the classes that the sample holds, which means are taken over.
    """
    k = len(classes)
    truth, predicted = confusions.sum(axis=2), confusions.sum(axis=1)  # (D, K) each
    right = np.diagonal(confusions, axis1=1, axis2=2)
    with np.errstate(invalid="ignore"):  # a class absent from a draw: 0 / 0, undefined
        total = np.where(confusions.any(axis=(1, 2)), confusions.sum(axis=(1, 2)), np.nan)
        recall = right / truth
        f1 = np.where(truth > 0, 2 * right / (truth + predicted), np.nan)
    bal_acc = recall[:, present].mean(axis=1)
    apart = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))  # (K, K) classes between
    draws = {
        "accuracy": right.sum(axis=1) / total,
        "kappa": _kappas(confusions, apart > 0),
        "kappa_linear": _kappas(confusions, apart),
        "kappa_quadratic": _kappas(confusions, apart**2),
        "bal_acc": bal_acc,
        "bal_acc_adj": _adjust_for_chance(bal_acc, len(present)),
        "macro_f1": f1[:, present].mean(axis=1),
        "mae_classes": (confusions * apart).sum(axis=(1, 2)) / total,
        "far_error_share": (confusions * (apart > 1)).sum(axis=(1, 2)) / total,
        "max_predicted_share": predicted.max(axis=1) / total,
    }
    draws |= {f"recall_{classes[c]}": recall[:, c] for c in present}
    draws |= {f"predicted_share_{classes[c]}": predicted[:, c] / total for c in range(k)}
    return draws


def dense_draws(confusions: np.ndarray, dense: Sequence[int]) -> Draws:
    """Read "dense or not" off the answers of more classes: (D, K, K), rows true, to (D,) each.

    Args:
        confusions: Weighted counts.
        dense: Positions of the classes that count as dense, some and not all.

    Returns:
        The keys end in `_dense`; `sensitivity_dense` is the share of dense images answered with a
        dense class, `specificity_dense` that of the others answered with another.
    """
    is_dense = np.isin(np.arange(confusions.shape[1]), list(dense))
    side = np.stack([~is_dense, is_dense]).astype(np.float64)  # (2, K)
    folded = np.einsum("at,dtp,bp->dab", side, confusions, side)  # (D, 2, 2)
    present = np.flatnonzero(folded[0].sum(axis=1))
    found = confusion_draws(folded, ("specificity", "sensitivity"), present)
    kept = ("accuracy", "kappa", "bal_acc_adj", "macro_f1")
    draws = {f"{name}_dense": found[name] for name in kept}
    for name in ("sensitivity", "specificity"):
        if f"recall_{name}" in found:
            draws[f"{name}_dense"] = found[f"recall_{name}"]
    return draws


def macro_auc(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Average the one-vs-rest AUC over the classes that the labels hold; None if only one is."""
    present = np.unique(labels)
    if len(present) < 2:
        return None
    return float(np.mean([auc(labels == k, probabilities[:, k]) for k in present]))


def auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Compute the area under the ROC curve, ties as half; NaN where one side is empty.

    Args:
        positive: (n,) bool.
        scores: (n,) floats, higher for positive.
    """
    return float(RankedScores(positive, scores).auc(np.ones((len(scores), 1)))[0])


class RankedScores:
    """Scores in an order that makes the AUC of any weights a sum; it is found once."""

    def __init__(self, positive: np.ndarray, scores: np.ndarray):
        negatives = np.flatnonzero(~positive)
        self.positives = np.flatnonzero(positive)
        self.negatives = negatives[np.argsort(scores[negatives], kind="stable")]
        beaten = scores[self.negatives]
        self.below = np.searchsorted(beaten, scores[self.positives], side="left")
        self.not_above = np.searchsorted(beaten, scores[self.positives], side="right")

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """Compute the weighted AUC of each column, ties as half: (n, D) to (D,)."""
        won = np.zeros((len(self.negatives) + 1, weights.shape[1]))
        np.cumsum(weights[self.negatives], axis=0, out=won[1:])
        positive = weights[self.positives]
        pairs_won = np.einsum("ud,ud->d", positive, won[self.below])
        pairs_won += np.einsum("ud,ud->d", positive, won[self.not_above])
        with np.errstate(invalid="ignore"):  # no positive or no negative: 0 / 0, undefined
            auc: np.ndarray = pairs_won / 2 / (positive.sum(axis=0) * won[-1])
        return auc


def _kappas(confusions: np.ndarray, disagreement: np.ndarray) -> np.ndarray:
    """Compute weighted kappas: (D, K, K) to (D,); 0 where all is one class (0 / 0).

    Source:
        Cohen 1968, Psychol Bull 70:213.
    """
    truth, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    by_chance = np.einsum("dt,tp,dp->d", truth, disagreement.astype(float), predicted)
    observed = (confusions * disagreement).sum(axis=(1, 2)) * confusions.sum(axis=(1, 2))
    kappas = np.where(by_chance > 0, 1 - observed / np.where(by_chance > 0, by_chance, 1), 0.0)
    return np.where(confusions.any(axis=(1, 2)), kappas, np.nan)


def _adjust_for_chance(bal_acc: np.ndarray, n_present: int) -> np.ndarray:
    """Rescale balanced accuracy so that chance is 0; 0 where only one class is present."""
    if n_present < 2:
        return np.zeros_like(bal_acc)
    return (bal_acc - 1 / n_present) / (1 - 1 / n_present)
