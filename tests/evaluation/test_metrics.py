"""Metrics against the published confusion matrix and against their definitions."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from mammo.evaluation.metrics import (
    auc,
    classification_metrics,
    confusion_draws,
    confusion_matrix,
    confusion_metrics,
    dense_draws,
    macro_auc,
    metric_keys,
)

CLASSES = ["A", "B", "C", "D"]
# The published confusion matrix, rows true A-D, n = 318.
PUBLISHED = np.array([[2, 6, 0, 0], [4, 58, 11, 0], [0, 42, 98, 30], [0, 1, 9, 57]])


def one_hot(predictions, k=4):
    return np.eye(k)[predictions]


def test_the_published_confusion_matrix_gives_its_published_figures():
    metrics = confusion_metrics(PUBLISHED, CLASSES)
    expected = {
        "accuracy": 0.676101,  # (2 + 58 + 98 + 57) / 318
        "kappa": 0.513863,
        "kappa_linear": 0.611174,
        "kappa_quadratic": 0.725084,
        "bal_acc_adj": 0.490579,  # (mean recall - 1/4) / (3/4)
        "macro_f1": 0.587744,
        "recall_A": 2 / 8,
        "recall_B": 58 / 73,
        "recall_C": 98 / 170,
        "recall_D": 57 / 67,
        "predicted_share_A": 6 / 318,
        "predicted_share_B": 107 / 318,
        "predicted_share_C": 118 / 318,
        "predicted_share_D": 87 / 318,
    }
    for key, value in expected.items():
        assert metrics[key] == pytest.approx(value, abs=1e-6), key
    assert metrics["pred_unique"] == 4
    assert metrics["n_C"] == 170


def test_a_constant_predictor_has_kappa_and_adjusted_accuracy_zero():
    labels = np.repeat([0, 1, 2, 3], [40, 363, 849, 335])
    metrics = classification_metrics(labels, one_hot(np.full(len(labels), 2)), CLASSES)
    assert metrics["kappa"] == 0
    assert metrics["bal_acc_adj"] == pytest.approx(0)
    assert metrics["pred_unique"] == 1
    assert metrics["auc_macro"] == 0.5
    assert metrics["accuracy"] == pytest.approx(849 / 1587)


def test_a_class_absent_from_the_labels_is_left_out_and_said():
    labels = np.array([1, 1, 2, 2, 3, 3])
    metrics = classification_metrics(labels, one_hot(np.array([1, 1, 2, 2, 3, 0])), CLASSES)
    assert metrics["classes_present"] == 3
    assert metrics["recall_A"] is None
    assert metrics["bal_acc"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert metrics["bal_acc_adj"] == pytest.approx((2.5 / 3 - 1 / 3) / (2 / 3))
    assert metrics["auc_macro"] == pytest.approx((1 + 1 + 0.75) / 3)


def test_one_class_alone_has_no_auc_and_no_kappa_above_chance():
    metrics = classification_metrics(np.zeros(5, int), one_hot(np.zeros(5, int)), CLASSES)
    assert metrics["auc_macro"] is None
    assert metrics["kappa"] == 0
    assert metrics["bal_acc_adj"] == 0


def test_keys_come_in_one_order():
    labels = np.array([0, 1])
    metrics = classification_metrics(labels, one_hot(labels, 2), ["AB", "CD"])
    assert list(metrics) == metric_keys(["AB", "CD"])


def test_auc_counts_ties_as_half():
    # scores of class 1: positives .9, .5; negatives .5, .1: pairs won 3, tied 1 -> 3.5 / 4
    scores = np.array([0.9, 0.5, 0.5, 0.1])
    assert macro_auc(np.array([1, 1, 0, 0]), np.stack([1 - scores, scores], axis=1)) == 0.875


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        (np.array([], int), np.zeros((0, 4))),
        (np.array([0, 1]), np.zeros((2, 3))),
        (np.array([0]), np.full((1, 4), np.nan)),
    ],
)
def test_unusable_input_raises(labels, probabilities):
    with pytest.raises(ValueError, match=r"label|probabilit"):
        classification_metrics(labels, probabilities, CLASSES)


@pytest.mark.parametrize("seed", range(20))
def test_every_metric_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(5, 60)), int(rng.integers(2, 5))
    labels = rng.integers(k, size=n) if seed % 4 else rng.integers(k - 1, size=n)  # one is absent
    probabilities = np.round(rng.dirichlet(np.ones(k), size=n), 2)  # with ties
    names = "ABCD"[:k]
    found = classification_metrics(labels, probabilities, names)
    answers, present = probabilities.argmax(axis=1), np.unique(labels)
    every = list(range(k))
    expected = {
        "accuracy": oracle.accuracy_score(labels, answers),
        "macro_f1": oracle.f1_score(
            labels, answers, labels=present, average="macro", zero_division=0
        ),
        "bal_acc": oracle.recall_score(labels, answers, labels=present, average="macro"),
    }
    if len(np.unique([labels, answers])) > 1:
        for key, weights in (("kappa", None), ("kappa_linear", "linear")):
            expected[key] = oracle.cohen_kappa_score(labels, answers, labels=every, weights=weights)
        expected["kappa_quadratic"] = oracle.cohen_kappa_score(
            labels, answers, labels=every, weights="quadratic"
        )
    if len(present) > 1:
        expected["auc_macro"] = np.mean(
            [oracle.roc_auc_score(labels == c, probabilities[:, c]) for c in present]
        )
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-12), key
    matrix = oracle.confusion_matrix(labels, answers, labels=every)
    np.testing.assert_array_equal(confusion_matrix(labels, answers, k), matrix)


def test_many_draws_are_each_what_one_is():
    rng = np.random.default_rng(0)
    confusions = rng.integers(1, 30, size=(50, 4, 4))
    draws = confusion_draws(confusions.astype(float), CLASSES, np.arange(4))
    for row, confusion in enumerate(confusions):
        single = confusion_metrics(confusion, CLASSES)
        for key, values in draws.items():
            assert values[row] == pytest.approx(single[key]), key


def test_a_draw_without_an_image_leaves_all_undefined():
    draws = confusion_draws(
        np.stack([PUBLISHED, 0 * PUBLISHED]).astype(float), CLASSES, np.arange(4)
    )
    assert all(np.isfinite(values[0]) and np.isnan(values[1]) for values in draws.values())


def test_dense_or_not_is_read_off_the_published_matrix():
    # dense truth (C, D): 98 + 30 + 9 + 57 = 194 answered dense, 42 + 1 = 43 not;
    # others: 2 + 6 + 4 + 58 = 70 not, 11 dense
    found = {key: values[0] for key, values in dense_draws(PUBLISHED[None] * 1.0, [2, 3]).items()}
    labels, answers = (
        np.repeat([1, 1, 0, 0], [194, 43, 70, 11]),
        np.repeat([1, 0, 0, 1], [194, 43, 70, 11]),
    )
    assert found["accuracy_dense"] == pytest.approx(264 / 318)
    assert found["sensitivity_dense"] == pytest.approx(194 / 237)
    assert found["specificity_dense"] == pytest.approx(70 / 81)
    assert found["kappa_dense"] == pytest.approx(oracle.cohen_kappa_score(labels, answers))
    assert found["macro_f1_dense"] == pytest.approx(
        oracle.f1_score(labels, answers, average="macro")
    )
    assert found["bal_acc_adj_dense"] == pytest.approx(
        oracle.balanced_accuracy_score(labels, answers, adjusted=True)
    )


def test_the_rule_of_the_answers_is_the_one_asked_for():
    labels = np.array([1, 1])
    probabilities = np.array([[0.4, 0.25, 0.35], [0.1, 0.8, 0.1]])  # median of the first: class 1
    assert classification_metrics(labels, probabilities, "ABC")["accuracy"] == 0.5
    assert classification_metrics(labels, probabilities, "ABC", "median")["accuracy"] == 1


def test_an_auc_without_one_side_is_undefined():
    assert np.isnan(auc(np.array([True, True]), np.array([0.1, 0.2])))
