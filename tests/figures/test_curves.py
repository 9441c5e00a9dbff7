"""The curves and areas are scikit-learn's, to the last bit."""

import numpy as np
import pytest
import sklearn.metrics as sk

from mammo.figures import curves


@pytest.mark.parametrize("seed", range(40))
def test_curves_and_areas_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 60))
    positive = rng.random(n) < 0.4
    positive[:2] = True, False
    scores = np.round(rng.random(n), int(rng.integers(1, 6)))  # with ties
    fpr, tpr, _ = sk.roc_curve(positive, scores)
    ours = curves.roc_curve(positive, scores)
    assert np.array_equal(ours[0], fpr) and np.array_equal(ours[1], tpr)
    assert curves.roc_area(positive, scores) == pytest.approx(
        sk.roc_auc_score(positive, scores), abs=1e-15
    )
    precision, recall, _ = sk.precision_recall_curve(positive, scores)
    ours = curves.precision_recall_curve(positive, scores)
    assert np.array_equal(ours[0], precision) and np.array_equal(ours[1], recall)
    assert curves.average_precision(positive, scores) == pytest.approx(
        sk.average_precision_score(positive, scores), abs=1e-15
    )
