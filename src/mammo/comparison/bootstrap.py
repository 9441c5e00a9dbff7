"""Metrics of resampled patients, all draws at once, and the intervals that follow.

Images of one patient resemble each other, so whole patients are drawn with replacement, never
images. A draw is a row of patient weights; whatever follows from counts (confusion matrices,
calibration bins) is then one matrix product, and the AUCs are weighted rank sums. Row 0 holds
ones: the sample itself goes through the same code as its draws.

Source:
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13 (percentile intervals);
    Field & Welsh 2007, J R Stat Soc B 69:369 (bootstrapping clusters).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mammo.comparison.calibration import confidence_bins

Draws = dict[str, np.ndarray]

DRAWS_PER_CHUNK = 100  # bounds the memory: 10,000 images x 100 draws of float64 are 8 MB


@dataclass(frozen=True)
class Units:
    """What is judged (images, breasts or patients), and the patient that each belongs to.

    Attributes:
        patients: (n,) integers, positions in the sorted list of the P patients.
        labels: (n,) integers, positions in `classes`.
        probabilities: (n, K) floats; the prediction is the largest of each row.
        classes: The K class names in order.
    """

    patients: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]

    @property
    def predictions(self) -> np.ndarray:
        """The predicted classes: (n,) positions in `classes`."""
        return self.probabilities.argmax(axis=1)


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap interval.

    Attributes:
        value: The metric of the sample itself.
        low: Lower end; None where fewer than half of the draws define the metric.
        high: Upper end, likewise.
        undefined_draws: Draws left out because the metric doesn't exist there.
    """

    value: float
    low: float | None
    high: float | None
    undefined_draws: int


def resample_patients(n_patients: int, draws: int, seed: int) -> np.ndarray:
    """Draw patients with replacement: (1 + draws, P) uint16 weights; row 0 is all ones.

    Raises:
        ValueError: There are fewer than two patients: nothing varies between draws.
    """
    if n_patients < 2:
        raise ValueError(f"a bootstrap of patients needs at least 2 patients, got {n_patients}")
    generator = np.random.default_rng(seed)
    weights = np.ones((1 + draws, n_patients), dtype=np.uint16)
    for row in weights[1:]:
        row[:] = np.bincount(generator.integers(n_patients, size=n_patients), minlength=n_patients)
    return weights


def metric_draws(units: Units, weights: np.ndarray, dense: Sequence[int]) -> Draws:
    """Compute every metric of every draw: (1 + draws,) each, NaN where it is undefined.

    The keys are those of `mammo.evaluation.metrics` that are shares or means, and `mae_classes`,
    `far_error_share` and `auc_dense`. A class that the sample holds and the draw lacks leaves
    that class's recall undefined, and with it every mean over classes: averaging over the
    classes that happen to be left would measure something else in each draw.

    Args:
        units: What is judged.
        weights: (1 + draws, P), from `resample_patients`.
        dense: Positions of the classes that count as dense in `auc_dense`.
    """
    k = len(units.classes)
    present = np.unique(units.labels)
    confusions = _confusions(units, weights)  # (1 + draws, K, K)
    draws = confusion_draws(confusions, units.classes, present)
    dense_score = units.probabilities[:, list(dense)].sum(axis=1)
    one_vs_rest = [(units.labels == c, units.probabilities[:, c]) for c in range(k)]
    questions = [one_vs_rest[c] for c in present]
    questions.append((np.isin(units.labels, list(dense)), dense_score))
    aucs = auc_draws(questions, weights, units.patients)  # (questions, 1 + draws)
    draws["auc_macro"] = aucs[:-1].mean(axis=0)
    draws["auc_dense"] = aucs[-1]
    return draws


def confusion_draws(confusions: np.ndarray, classes: Sequence[str], present: np.ndarray) -> Draws:
    """Compute what follows from confusion matrices: (draws, K, K), rows true, to (draws,) each.

    Args:
        confusions: Weighted counts.
        classes: The K class names in order.
        present: Positions of the classes that the sample holds, which means are taken over.
    """
    k = len(classes)
    total = confusions.sum(axis=(1, 2))
    truth, predicted = confusions.sum(axis=2), confusions.sum(axis=1)  # (draws, K) each
    right = np.diagonal(confusions, axis1=1, axis2=2)
    with np.errstate(invalid="ignore"):  # a class absent from a draw: 0 / 0, undefined
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


def calibration_draws(units: Units, weights: np.ndarray, bins: int) -> np.ndarray:
    """Compute the expected calibration error of every draw: (1 + draws,).

    Source:
        Guo 2017, arXiv:1706.04599, equation 3, with bins of equal width.
    """
    index, confidence, right = confidence_bins(units.labels, units.probabilities, bins)
    gaps = np.zeros((weights.shape[1], bins))  # by patient, so that a draw is one product
    np.add.at(gaps, (units.patients, index), confidence - right)
    sizes = np.bincount(units.patients, minlength=weights.shape[1])
    drawn = weights.astype(np.float64)
    return np.abs(drawn @ gaps).sum(axis=1) / (drawn @ sizes)


def auc_draws(
    questions: Sequence[tuple[np.ndarray, np.ndarray]], weights: np.ndarray, patients: np.ndarray
) -> np.ndarray:
    """Compute AUCs of every draw: (questions, 1 + draws), NaN where a side is empty.

    Args:
        questions: For each, which units are positive, (n,) bool, and the scores, (n,).
        weights: (1 + draws, P).
        patients: (n,) positions of the units' patients.
    """
    ranked = [_RankedScores(positive, score) for positive, score in questions]
    aucs = np.empty((len(ranked), len(weights)))
    for start in range(0, len(weights), DRAWS_PER_CHUNK):
        chunk = slice(start, start + DRAWS_PER_CHUNK)
        by_unit = weights[chunk].T.astype(np.float64)[patients]  # (P, draws) -> (n, draws)
        for row, question in enumerate(ranked):
            aucs[row, chunk] = question.auc(by_unit)
    return aucs


def interval(draws: np.ndarray, confidence: float) -> Interval:
    """Read a metric's value (row 0) and its percentile interval off its draws: (1 + draws,).

    Undefined draws are left out and counted, so the interval is conditional on the metric being
    defined; with fewer than half of them left there is none.
    """
    defined = draws[1:][~np.isnan(draws[1:])]
    undefined = len(draws) - 1 - len(defined)
    if 2 * len(defined) < len(draws) - 1:
        return Interval(float(draws[0]), None, None, undefined)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    return Interval(float(draws[0]), float(low), float(high), undefined)


def bootstrap_p(differences: np.ndarray) -> float | None:
    """Test a paired difference against 0, two-sided: (1 + draws,) first minus second.

    The smallest level at which the percentile interval leaves out 0, with the sample counted as
    one more draw on each side, so that it is never 0. None where fewer than half of the draws
    define the difference.

    Source:
        Efron & Tibshirani 1993, section 15.4; Davison & Hinkley 1997, section 4.2 (the added 1).
    """
    defined = differences[1:][~np.isnan(differences[1:])]
    if 2 * len(defined) < len(differences) - 1:
        return None
    smaller = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    return min(1.0, 2 * (1 + smaller) / (1 + len(defined)))


class _RankedScores:
    """Scores in an order that makes the AUC of any weights a sum; it is found once."""

    def __init__(self, positive: np.ndarray, scores: np.ndarray):
        negatives = np.flatnonzero(~positive)
        self.positives = np.flatnonzero(positive)
        self.negatives = negatives[np.argsort(scores[negatives], kind="stable")]
        beaten = scores[self.negatives]
        self.below = np.searchsorted(beaten, scores[self.positives], side="left")
        self.not_above = np.searchsorted(beaten, scores[self.positives], side="right")

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """Compute the weighted AUC of each column, ties as half: (n, draws) to (draws,)."""
        won = np.zeros((len(self.negatives) + 1, weights.shape[1]))
        np.cumsum(weights[self.negatives], axis=0, out=won[1:])
        positive = weights[self.positives]
        pairs_won = np.einsum("ud,ud->d", positive, won[self.below])
        pairs_won += np.einsum("ud,ud->d", positive, won[self.not_above])
        with np.errstate(invalid="ignore"):  # no positive or no negative: 0 / 0, undefined
            return pairs_won / 2 / (positive.sum(axis=0) * won[-1])


def _confusions(units: Units, weights: np.ndarray) -> np.ndarray:
    """Count each patient's cells once and weight them: (1 + draws, K, K), rows true."""
    k = len(units.classes)
    counts = np.zeros((weights.shape[1], k * k))
    np.add.at(counts, (units.patients, units.labels * k + units.predictions), 1)
    return (weights.astype(np.float64) @ counts).reshape(-1, k, k)


def _kappas(confusions: np.ndarray, disagreement: np.ndarray) -> np.ndarray:
    """Compute weighted kappas: (draws, K, K) to (draws,); 0 where all is one class (0 / 0).

    Source:
        Cohen 1968, Psychol Bull 70:213.
    """
    truth, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    by_chance = np.einsum("dt,tp,dp->d", truth, disagreement.astype(float), predicted)
    observed = (confusions * disagreement).sum(axis=(1, 2)) * confusions.sum(axis=(1, 2))
    return np.where(by_chance > 0, 1 - observed / np.where(by_chance > 0, by_chance, 1), 0.0)


def _adjust_for_chance(bal_acc: np.ndarray, n_present: int) -> np.ndarray:
    """Rescale balanced accuracy so that chance is 0; 0 where only one class is present."""
    if n_present < 2:
        return np.zeros_like(bal_acc)
    return (bal_acc - 1 / n_present) / (1 - 1 / n_present)
