"""Prediction sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.predict.conformal import (
    coverage_by_class,
    fewest_patients,
    prediction_sets,
    scores_of,
    set_names,
    thresholds_of,
)

CLASSES = ["A", "B"]


def one_each(scores):
    """A patient an image."""
    return [[score] for score in scores]


def test_the_threshold_is_the_split_conformal_quantile_where_a_patient_has_one_image():
    # 19 patients at 0.9: the ceil(0.9 * 20) = 18th smallest score
    scores = {"A": one_each(np.arange(1, 20) / 100), "B": one_each(np.arange(1, 20) / 50)}
    thresholds = thresholds_of(scores, 0.9)
    assert thresholds.by_class == {"A": pytest.approx(0.18), "B": pytest.approx(0.36)}
    assert thresholds.pooled == []


def test_a_class_of_fewer_than_nine_patients_uses_the_pooled_threshold_at_nine_tenths():
    assert fewest_patients(0.9) == 9 and fewest_patients(0.95) == 19 and fewest_patients(0.8) == 4
    scores = {"A": one_each([0.9] * 8), "B": one_each([0.2] * 92)}
    thresholds = thresholds_of(scores, 0.9)
    assert thresholds.pooled == ["A"]
    assert thresholds.by_class["A"] == 0.2  # 92 of 101 are at least 0.9
    nine = thresholds_of({**scores, "A": one_each([0.9] * 9)}, 0.9)
    assert nine.pooled == [] and nine.by_class["A"] == 0.9


def test_a_patient_with_many_images_counts_once():
    scores = {"A": [[0.1], *[[0.2]] * 9, [0.9] * 500], "B": one_each([0.5] * 20)}
    assert thresholds_of(scores, 0.75).by_class["A"] == 0.2


def test_too_few_patients_altogether_let_every_class_in():
    thresholds = thresholds_of({"A": one_each([0.1]), "B": []}, 0.9)
    inside = prediction_sets(np.array([[1.0, 0.0]]), thresholds, CLASSES)
    assert inside.all()


def test_scores_name_no_patient_and_group_by_patient():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    scores = scores_of(probabilities, np.array([0, 0, 1]), np.array(["p", "p", "q"]), CLASSES)
    assert scores == {"A": [[0.1, 0.4]], "B": [[0.2]]}


def test_no_set_is_empty_and_sets_are_written_in_the_order_of_the_classes():
    thresholds = thresholds_of({"A": one_each([0.0] * 50), "B": one_each([0.0] * 50)}, 0.9)
    inside = prediction_sets(np.array([[0.4, 0.6], [0.5, 0.5]]), thresholds, CLASSES)
    assert inside.any(axis=1).all()
    assert set_names(np.array([[True, True], [False, True]]), CLASSES) == ["A B", "B"]


@given(st.integers(0, 10**6), st.sampled_from([0.7, 0.8, 0.9]))
def test_a_larger_coverage_never_takes_a_class_out(seed, coverage):
    random = np.random.default_rng(seed)
    scores = {
        name: [list(random.random(random.integers(1, 4))) for _ in range(30)] for name in CLASSES
    }
    probabilities = random.dirichlet([1, 1], 20)
    small, large = (
        prediction_sets(probabilities, thresholds_of(scores, c), CLASSES)
        for c in (coverage, coverage + 0.05)
    )
    assert not (small & ~large).any()


def test_new_patients_are_covered_as_promised_in_every_class():
    """A fifth of 2,000 simulated patients calibrates; images of a patient err alike."""
    random = np.random.default_rng(0)
    labels = np.repeat(random.integers(0, 2, 2000), 4)
    patients = np.repeat(np.arange(2000), 4)
    habit = np.repeat(random.normal(size=2000), 4)
    logit = np.where(labels == 0, 1.0, -1.5) + habit + 0.5 * random.normal(size=8000)
    first = 1 / (1 + np.exp(-logit))
    probabilities = np.stack([first, 1 - first], axis=1)
    seen = patients < 400
    scores = scores_of(probabilities[seen], labels[seen], patients[seen], CLASSES)
    inside = prediction_sets(probabilities[~seen], thresholds_of(scores, 0.9), CLASSES)
    covered = coverage_by_class(inside, labels[~seen], CLASSES)
    # 200 patients a class: the standard error of the threshold's coverage is 0.02
    assert all(0.86 < covered[name] < 0.96 for name in CLASSES)
    assert inside.sum(axis=1).mean() < 1.7  # and not by naming everything
