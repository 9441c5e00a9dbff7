"""Metrics of resampled patients, all draws at once, and the intervals that follow.

Images of one patient resemble each other, so whole patients are drawn with replacement, never
images. A draw is a row of patient weights; whatever follows from counts (confusion matrices,
calibration bins) is then one matrix product, and the AUCs are weighted rank sums. Row 0 holds
ones: the sample itself goes through the same code as its draws.

Source:
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13 (percentile intervals);
    Field & Welsh 2007, J R Stat Soc B 69:369 (bootstrapping clusters).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from mammo.comparison.calibration import confidence_bins
from mammo.evaluation.levels import Units
from mammo.evaluation.metrics import Draws, RankedScores, confusion_draws, dense_draws

NARROWEST = 1e-9  # an interval of less is a point that rounding has widened
POWER = 0.8
DRAWS_PER_CHUNK = 100  # bounds the memory: 10,000 images x 100 draws of float64 are 8 MB


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap interval.

    Attributes:
        value: The metric of the sample itself.
        low: Lower end; None where fewer than half of the draws define the metric, or all say the
            same: what never varies in a sample says nothing of other patients.
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

    The keys are those of `mammo.evaluation.metrics.confusion_draws` and, with more than two
    classes, of `dense_draws`; `auc_macro` and `auc_dense`.

    Args:
        units: What is judged.
        weights: (1 + draws, P), from `resample_patients`.
        dense: Positions of the classes that count as dense in `auc_dense`.
    """
    k = len(units.classes)
    present = np.unique(units.labels)
    confusions = _confusions(units, weights)  # (1 + draws, K, K)
    draws = confusion_draws(confusions, units.classes, present)
    if k > 2:
        draws |= dense_draws(confusions, dense)
    dense_score = units.probabilities[:, list(dense)].sum(axis=1)
    one_vs_rest = [(units.labels == c, units.probabilities[:, c]) for c in range(k)]
    questions = [one_vs_rest[c] for c in present]
    questions.append((np.isin(units.labels, list(dense)), dense_score))
    aucs = auc_draws(questions, weights, units.patients)  # (questions, 1 + draws)
    draws["auc_macro"] = aucs[:-1].mean(axis=0)
    draws["auc_dense"] = aucs[-1]
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
    errors: np.ndarray = np.abs(drawn @ gaps).sum(axis=1) / (drawn @ sizes)
    return errors


def auc_draws(
    questions: Sequence[tuple[np.ndarray, np.ndarray]], weights: np.ndarray, patients: np.ndarray
) -> np.ndarray:
    """Compute AUCs of every draw: (questions, 1 + draws), NaN where a side is empty.

    Args:
        questions: For each, which units are positive, (n,) bool, and the scores, (n,).
        weights: (1 + draws, P).
        patients: (n,) positions of the units' patients.
    """
    ranked = [RankedScores(positive, score) for positive, score in questions]
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
    if high - low < NARROWEST:
        return Interval(float(draws[0]), None, None, undefined)
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


def patients_needed(differences: np.ndarray, n_patients: int, confidence: float) -> int | None:
    """Estimate how many patients would show a difference of this size, four times in five.

    The standard error shrinks with the root of the number of patients. None where the difference
    is 0 or its draws say nothing of its spread.

    Args:
        differences: (1 + draws,) first minus second; the first is the sample's own.
        n_patients: Of the sample.
        confidence: Of the interval that is to leave out 0.

    Source:
        The power of a two-sided z test: n = (z_confidence + z_power)^2 * variance / difference^2.
    """
    spread = float(np.nanstd(differences[1:]))
    difference = float(differences[0])
    if not math.isfinite(spread) or spread < NARROWEST or abs(difference) < NARROWEST:
        return None
    wanted = float(norm.ppf(1 - (1 - confidence) / 2) + norm.ppf(POWER))
    return math.ceil(n_patients * (wanted * spread / difference) ** 2)


def _confusions(units: Units, weights: np.ndarray) -> np.ndarray:
    """Count each patient's cells once and weight them: (1 + draws, K, K), rows true."""
    k = len(units.classes)
    counts = np.zeros((weights.shape[1], k * k))
    np.add.at(counts, (units.patients, units.labels * k + units.predictions), 1)
    return (weights.astype(np.float64) @ counts).reshape(-1, k, k)
