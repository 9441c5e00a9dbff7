"""From images to breasts and patients."""

import numpy as np
import pandas as pd
import pytest

from mammo.evaluation.levels import (
    aggregate,
    dense_metrics,
    labels_exams,
    level_metrics,
    settle_patient_rule,
)
from support.made_up import predictions

CLASSES = ("AB", "CD")
TABLE = pd.DataFrame(
    [
        ("p2", "k1", "L", "CC", "AB", 0.9, 0.1),
        ("p1", "k2", "L", "CC", "AB", 0.8, 0.2),
        ("p1", "k3", "L", "MLO", "AB", 0.4, 0.6),
        ("p1", "k4", "R", "CC", "CD", 0.0, 1.0),
    ],
    columns=["patient", "key", "laterality", "view", "label", "probability_AB", "probability_CD"],
)


def test_probabilities_are_averaged_over_the_views_of_a_breast_and_of_a_patient():
    breasts = aggregate(TABLE, "breast", CLASSES, ["p1", "p2"])
    np.testing.assert_allclose(breasts.probabilities[:, 1], [0.4, 1.0, 0.1])
    assert breasts.patients.tolist() == [0, 0, 1]
    assert breasts.labels.tolist() == [0, 1, 0]
    patients = aggregate(TABLE, "patient", CLASSES, ["p1", "p2"], "mean")
    np.testing.assert_allclose(patients.probabilities[:, 1], [0.6, 0.1])
    assert patients.labels.tolist() == [1, 0]  # the denser breast counts
    images = aggregate(TABLE, "image", CLASSES, ["p1", "p2"])
    assert images.patients.tolist() == [0, 0, 0, 1]


def test_a_patient_gets_the_probabilities_of_the_breast_that_looks_denser():
    patients = aggregate(TABLE, "patient", CLASSES, ["p1", "p2"], "denser")
    np.testing.assert_allclose(patients.probabilities[:, 1], [1.0, 0.1])
    assert patients.labels.tolist() == [1, 0]


def test_denser_is_by_expected_class_and_not_by_the_likeliest():
    columns = [f"probability_{c}" for c in "ABCD"]
    table = pd.DataFrame([[0.4, 0, 0.3, 0.3], [0, 0.9, 0.1, 0]], columns=columns)  # 1.5 and 1.1
    table = table.assign(patient="p", key=["k1", "k2"], laterality=["L", "R"], label="B")
    units = aggregate(table, "patient", tuple("ABCD"), ["p"], "denser")
    np.testing.assert_allclose(units.probabilities, [[0.4, 0, 0.3, 0.3]])


def test_a_patient_with_one_breast_is_that_breast_by_either_rule():
    one = TABLE[TABLE["patient"] == "p2"]
    rules = [aggregate(one, "patient", CLASSES, ["p2"], rule) for rule in ("mean", "denser")]
    np.testing.assert_array_equal(rules[0].probabilities, rules[1].probabilities)


def test_exams_are_labelled_where_no_patient_has_two_labels():
    assert not labels_exams(TABLE)
    assert settle_patient_rule(TABLE, "denser") == "denser"
    assert settle_patient_rule(TABLE, "mean") == "mean"
    exams = TABLE.assign(label="AB")
    assert labels_exams(exams)
    assert settle_patient_rule(exams, "denser") == "mean"


def test_levels_are_measured_with_their_own_units():
    table = predictions("s", 1.0)
    test = table[table["split"] == "test"]
    found = level_metrics(test, tuple("ABCD"), "mean", "argmax")
    patients = test.groupby("patient")
    mean = patients[[f"probability_{c}" for c in "ABCD"]].mean().to_numpy()
    labels = patients["label"].first().map({c: n for n, c in enumerate("ABCD")}).to_numpy()
    assert found["accuracy_patient"] == pytest.approx((mean.argmax(axis=1) == labels).mean())
    assert 0 < found["kappa_breast"] < found["kappa_patient"]  # errors average out
    assert {"kappa_dense", "sensitivity_dense", "auc_dense", "auc_dense_patient"} <= set(found)


def test_two_classes_say_nothing_twice():
    found = dense_metrics(aggregate(TABLE, "image", CLASSES, ["p1", "p2"]))
    assert list(found) == ["auc_dense"]
    assert found["auc_dense"] == 1
