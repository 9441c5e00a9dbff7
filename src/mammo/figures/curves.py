"""ROC and precision-recall curves and the areas under them.

Stage `report` shall not wait a second for the import of scikit-learn; tests compare with it.
"""

import numpy as np


def roc_curve(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trace the true positive rate over the false positive rate from (0, 0) to (1, 1).

    Points in the midst of a straight piece are left out.

    Args:
        positive: (n,) bool, of both kinds.
        scores: (n,) floats; higher ones say positive.
    """
    false, true = _counts(positive, scores)
    if len(false) > 2:
        bends = (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)
        kept = np.flatnonzero(np.concatenate([[True], bends, [True]]))
        false, true = false[kept], true[kept]
    return np.append(0, false) / false[-1], np.append(0, true) / true[-1]


def roc_area(positive: np.ndarray, scores: np.ndarray) -> float:
    """Measure the area under the ROC curve."""
    false_rate, true_rate = roc_curve(positive, scores)
    return float(np.trapezoid(true_rate, false_rate))


def precision_recall_curve(
    positive: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Trace precision and recall by falling recall; the last point is precision 1 at recall 0."""
    false, true = _counts(positive, scores)
    precision, recall = true / (true + false), true / true[-1]
    return np.append(precision[::-1], 1), np.append(recall[::-1], 0)


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Measure the area under the steps of precision over recall."""
    precision, recall = precision_recall_curve(positive, scores)
    return float(max(0.0, -np.sum(np.diff(recall) * precision[:-1])))


def _counts(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count false and true positives at each distinct score, from the highest down."""
    order = np.argsort(scores, kind="stable")[::-1]
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true = np.cumsum(positive[order], dtype=np.float64)[last]
    return 1 + last - true, true
