"""Tests of two strategies on the same patients, and the correction for asking many questions.

Both tests take one entry a patient. They treat entries as independent, so on several images of
one patient their p values would be too small.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, false_discovery_control, norm, rankdata


@dataclass(frozen=True)
class McNemar:
    """Patients on whom exactly one of two is right, and the exact two-sided p value."""

    only_first_right: int
    only_second_right: int
    p: float


@dataclass(frozen=True)
class DeLong:
    """Two AUCs on the same patients.

    Attributes:
        aucs: Of the first and of the second.
        standard_error: Of the difference first minus second.
        z: The difference over its standard error; None where that is 0.
        p: Two-sided; 1 for equal rankings, None for unequal AUCs without any variance.
    """

    aucs: tuple[float, float]
    standard_error: float
    z: float | None
    p: float | None


def mcnemar_test(first_right: np.ndarray, second_right: np.ndarray) -> McNemar:
    """Test whether two are right equally often: (patients,) bool each, one decision a patient.

    Source:
        McNemar 1947, Psychometrika 12:153, in the exact binomial form.
    """
    only_first = int(np.count_nonzero(first_right & ~second_right))
    only_second = int(np.count_nonzero(~first_right & second_right))
    differing = only_first + only_second
    p = binomtest(only_first, differing).pvalue if differing else 1.0
    return McNemar(only_first, only_second, float(p))


def delong_test(positive: np.ndarray, first: np.ndarray, second: np.ndarray) -> DeLong:
    """Test whether two scores rank the same patients equally well.

    Invalid on clustered data: give it one score a patient, never one an image.

    Args:
        positive: (patients,) bool.
        first: (patients,) scores of the first, higher for positive.
        second: (patients,) scores of the second.

    Raises:
        ValueError: Fewer than two patients are positive, or fewer than two are negative.

    Source:
        DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837; computed by mid-ranks as in
        Sun & Xu 2014, IEEE Signal Process Lett 21:1389.
    """
    m, n = np.count_nonzero(positive), np.count_nonzero(~positive)
    if m < 2 or n < 2:
        raise ValueError(f"DeLong needs 2 positive and 2 negative patients, got {m} and {n}")
    scores = np.stack([first, second])
    in_all = rankdata(scores, axis=1)  # mid-ranks, (2, patients)
    # The share of the other side that each patient beats, ties as half: (2, m) and (2, n).
    of_positives = (in_all[:, positive] - rankdata(scores[:, positive], axis=1)) / n
    of_negatives = 1 - (in_all[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / m
    difference = np.array([1.0, -1.0])
    covariance = np.cov(of_positives) / m + np.cov(of_negatives) / n  # (2, 2)
    # Equal rankings leave a variance of 0 plus rounding, which may be below 0.
    standard_error = math.sqrt(max(0.0, float(difference @ covariance @ difference)))
    aucs = of_positives.mean(axis=1)
    gap = float(difference @ aucs)
    pair = (float(aucs[0]), float(aucs[1]))
    if standard_error < 1e-12:
        return DeLong(pair, 0.0, None, 1.0 if abs(gap) < 1e-12 else None)
    z = gap / standard_error
    return DeLong(pair, standard_error, z, float(2 * norm.sf(abs(z))))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjust the p values of one family, so that p <= q keeps the false discovery rate at q.

    Source:
        Benjamini & Hochberg 1995, J R Stat Soc B 57:289.
    """
    if not p_values:
        return []
    return [float(p) for p in false_discovery_control(p_values)]
