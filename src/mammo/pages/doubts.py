"""Labels worth a second look, by confident learning on probabilities that never saw the label."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd


def doubtful_labels(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Judge every label by cross-fitted probabilities.

    Args:
        labels: (n,) integers, positions in `classes`; -1 where there is none.
        probabilities: (n, K), each row from a model that hasn't seen this patient.
        classes: The K class names.

    Returns:
        Columns suggested (the likelier class where the label is doubtful, else '') and quality
        (0 to 1, the probability of the label itself; 1 where there is none), n rows.

    Source: Northcutt 2021, arXiv:1911.00068 (confident learning), by `cleanlab`.
    """
    suggested, quality = np.full(len(labels), "", dtype=object), np.ones(len(labels))
    known = np.flatnonzero(labels >= 0)
    present = np.unique(labels[known])
    if len(present) < 2:
        return pd.DataFrame({"suggested": suggested, "quality": quality})
    shares = probabilities[np.ix_(known, present)].clip(1e-12)
    shares = shares / shares.sum(axis=1, keepdims=True)  # cleanlab wants every class to be there
    given = np.searchsorted(present, labels[known])
    doubtful, quality[known] = _judge(given, shares)
    for place in np.flatnonzero(doubtful & (shares.argmax(axis=1) != given)):
        suggested[known[place]] = classes[present[shares[place].argmax()]]
    return pd.DataFrame({"suggested": suggested, "quality": quality})


def _judge(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from cleanlab.filter import find_label_issues  # an import of a second
    from cleanlab.rank import get_label_quality_scores

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes too rare to be judged: nothing is suggested
        doubtful = find_label_issues(labels, probabilities, n_jobs=1)
    return np.asarray(doubtful), np.asarray(get_label_quality_scores(labels, probabilities))
