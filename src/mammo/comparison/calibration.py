"""How far stated confidence is from the share that is right, and the temperature that mends it.

Source:
    Guo, Pleiss, Sun & Weinberger 2017, On Calibration of Modern Neural Networks,
    arXiv:1706.04599 (expected calibration error, reliability diagram, temperature scaling).
"""

import math

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

SMALLEST_PROBABILITY = 1e-12  # a stored 0 has lost its logit; this bounds what it may cost
TEMPERATURES = (0.05, 20.0)  # beyond these all probabilities are practically 0, 1 or equal


def confidence_bins(
    labels: np.ndarray, probabilities: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort predictions by confidence into bins of equal width on [0, 1].

    Args:
        labels: (n,) integers.
        probabilities: (n, K) floats.
        bins: How many; a confidence of exactly 1 falls into the last.

    Returns:
        For each prediction its bin, its confidence (the largest probability) and whether it is
        right: (n,) each.
    """
    confidence = probabilities.max(axis=1)
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return index, confidence, probabilities.argmax(axis=1) == labels


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int) -> pd.DataFrame:
    """Tabulate the reliability diagram: low, high, n, confidence, accuracy; filled bins only."""
    index, confidence, right = confidence_bins(labels, probabilities, bins)
    rows = [
        (b / bins, (b + 1) / bins, int((index == b).sum()), *_means(index == b, confidence, right))
        for b in np.unique(index)
    ]
    return pd.DataFrame(rows, columns=["low", "high", "n", "confidence", "accuracy"])


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Find the temperature with the smallest negative log-likelihood.

    Fit it on validation data: fitted on test, it would make the test look calibrated. A result at
    an end of `TEMPERATURES` says that no temperature suits these predictions.

    Args:
        labels: (n,) integers.
        probabilities: (n, K) floats.

    Raises:
        ValueError: There is no prediction to fit on.
    """
    if len(labels) == 0:
        raise ValueError("a temperature needs at least one prediction to fit on")
    logits = _logits(probabilities)
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / math.exp(log_temperature), axis=1)
        return -float(scaled[rows, labels].mean())

    low, high = TEMPERATURES
    found = minimize_scalar(
        loss, bounds=(math.log(low), math.log(high)), method="bounded", options={"xatol": 1e-8}
    )
    return math.exp(float(found.x))


def at_bound(temperature: float) -> bool:
    """Say whether a fitted temperature ran into an end of the range searched."""
    low, high = TEMPERATURES
    return not low * 1.001 < temperature < high / 1.001


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits by the temperature: (n, K) to (n, K). The order of classes stays."""
    calibrated: np.ndarray = np.exp(log_softmax(_logits(probabilities) / temperature, axis=1))
    return calibrated


def _logits(probabilities: np.ndarray) -> np.ndarray:
    logits: np.ndarray = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
    return logits


def _means(where: np.ndarray, *columns: np.ndarray) -> tuple[float, ...]:
    return tuple(float(column[where].mean()) for column in columns)
