"""The vectorised draws against plain resampling, and intervals against what they promise."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mammo.comparison.bootstrap import (
    auc_draws,
    bootstrap_p,
    calibration_draws,
    interval,
    metric_draws,
    patients_needed,
    resample_patients,
)
from mammo.evaluation.levels import Units
from mammo.evaluation.metrics import classification_metrics, confusion_draws

CLASSES = ("A", "B", "C", "D")
DENSE = [2, 3]


def made_up_units(n_patients=30, images=4, seed=0, classes=CLASSES, decimals=2):
    """Clustered images whose scores have ties."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n_patients), images)
    labels = np.repeat(rng.integers(len(classes), size=n_patients), images)
    logits = 1.5 * np.eye(len(classes))[labels] + rng.normal(size=(len(labels), len(classes)))
    probabilities = np.round(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), decimals)
    return Units(patients, labels, probabilities, classes)


def written_out(units, weights):
    """One draw as a plain sample: each patient's images repeated as often as it was drawn."""
    rows = np.repeat(np.arange(len(units.labels)), weights[units.patients])
    return units.labels[rows], units.probabilities[rows]


def test_each_draw_equals_the_metrics_of_the_repeated_images():
    units = made_up_units()
    weights = resample_patients(30, 40, seed=3)
    draws = metric_draws(units, weights, DENSE)
    compared = 0
    for row, weight in enumerate(weights):
        labels, probabilities = written_out(units, weight)
        if len(np.unique(labels)) < 4:
            continue
        expected = classification_metrics(labels, probabilities, CLASSES)
        for key in set(draws) & set(expected):
            assert draws[key][row] == pytest.approx(expected[key], abs=1e-12), key
            compared += 1
        dense = roc_auc_score(labels >= 2, probabilities[:, 2:].sum(axis=1))
        assert draws["auc_dense"][row] == pytest.approx(dense, abs=1e-12)
        errors = np.abs(probabilities.argmax(axis=1) - labels)
        assert draws["mae_classes"][row] == pytest.approx(errors.mean())
        assert draws["far_error_share"][row] == pytest.approx((errors > 1).mean())
    assert compared > 500
    assert set(draws) >= {"accuracy", "kappa", "bal_acc_adj", "auc_macro", "macro_f1", "recall_A"}


def test_calibration_error_of_each_draw_equals_its_definition():
    units = made_up_units()
    weights = resample_patients(30, 10, seed=3)
    draws = calibration_draws(units, weights, bins=5)
    for row, weight in enumerate(weights):
        labels, probabilities = written_out(units, weight)
        confidence = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == labels
        error = 0.0
        for low in (0.0, 0.2, 0.4, 0.6, 0.8):
            # 0.8 + 0.2 falls short of 1.01 so that a confidence of 1 is in the last bin
            inside = (confidence >= low) & (confidence < (1.01 if low == 0.8 else low + 0.2 - 1e-9))
            if inside.any():
                gap = abs(confidence[inside].mean() - right[inside].mean())
                error += inside.mean() * gap
        assert draws[row] == pytest.approx(error, abs=1e-9)


def test_patients_are_drawn_whole_and_the_first_row_is_the_sample():
    weights = resample_patients(20, 500, seed=0)
    assert weights.shape == (501, 20)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 20).all()
    # A patient's weight is binomial(20, 1/20): mean 1, variance 19/20.
    assert weights[1:].mean() == pytest.approx(1)
    assert weights[1:].var() == pytest.approx(0.95, abs=0.05)


def test_draws_repeat_with_the_seed_and_differ_without():
    assert (resample_patients(20, 50, seed=1) == resample_patients(20, 50, seed=1)).all()
    assert (resample_patients(20, 50, seed=1) != resample_patients(20, 50, seed=2)).any()


def test_one_patient_cannot_be_resampled():
    with pytest.raises(ValueError, match="at least 2 patients"):
        resample_patients(1, 10, seed=0)


def test_a_draw_without_a_class_leaves_its_recall_and_the_means_undefined():
    units = Units(
        patients=np.array([0, 0, 1, 2]),
        labels=np.array([0, 0, 1, 2]),
        probabilities=np.eye(4)[[0, 0, 1, 2]],
        classes=CLASSES,
    )
    weights = np.array([[1, 1, 1], [0, 2, 1]], dtype=np.uint16)
    draws = metric_draws(units, weights, DENSE)
    for key in ("recall_A", "bal_acc", "bal_acc_adj", "macro_f1", "auc_macro"):
        assert not np.isnan(draws[key][0]), key
        assert np.isnan(draws[key][1]), key
    assert draws["accuracy"][1] == 1
    assert draws["recall_B"][1] == 1
    assert "recall_D" not in draws  # the sample itself has no D


def test_undefined_draws_are_counted_and_most_of_them_leave_no_interval():
    some = interval(np.array([0.5, *[0.4, 0.6] * 3, *[np.nan] * 4]), 0.95)
    assert (some.value, some.low, some.high, some.undefined_draws) == (0.5, 0.4, 0.6, 4)
    most = interval(np.array([0.5, *[0.4] * 4, *[np.nan] * 6]), 0.95)
    assert (most.low, most.high, most.undefined_draws) == (None, None, 6)


def test_no_interval_is_a_point():
    always = interval(np.array([1.0] * 100), 0.95)
    assert (always.value, always.low, always.high) == (1.0, None, None)


def test_a_difference_takes_four_times_the_patients_to_show_when_half_as_large():
    rng = np.random.default_rng(0)
    spread = rng.normal(0, 0.1, 4000)
    large, small = (patients_needed(np.array([d, *(d + spread)]), 50, 0.95) for d in (0.2, 0.1))
    # 50 (1.96 + 0.84)^2 (.1 / .2)^2
    assert large == pytest.approx(50 * 2.8016**2 / 4, rel=0.05)
    assert small == pytest.approx(4 * large, rel=0.02)
    assert patients_needed(np.zeros(100), 50, 0.95) is None


def test_an_interval_cuts_equal_tails():
    found = interval(np.array([7.0, *range(101)]), 0.9)
    assert (found.value, found.low, found.high) == pytest.approx((7.0, 5.0, 95.0))


def test_the_bootstrap_p_is_twice_the_smaller_side_and_never_zero():
    # 3 of 99 differences at or below 0: 2 (1 + 3) / (1 + 99)
    assert bootstrap_p(np.array([1.0, *[-1.0] * 3, *[1.0] * 96])) == pytest.approx(0.08)
    assert bootstrap_p(np.array([1.0, *[1.0] * 99])) == pytest.approx(0.02)
    assert bootstrap_p(np.zeros(100)) == 1
    assert bootstrap_p(np.array([1.0, 1.0, np.nan, np.nan, np.nan])) is None


def test_auc_is_undefined_without_either_side():
    scores = np.array([0.1, 0.9])
    questions = [(np.array([True, False]), scores)]
    weights = np.array([[1, 1], [2, 0], [0, 2]])
    aucs = auc_draws(questions, weights, np.array([0, 1]))
    assert aucs[0, 0] == 0
    assert np.isnan(aucs[0, 1:]).all()


def test_many_draws_go_through_chunks_unchanged():
    units = made_up_units(n_patients=12)
    weights = resample_patients(12, 250, seed=0)
    whole = metric_draws(units, weights, DENSE)["auc_dense"]
    tail = metric_draws(units, weights[240:], DENSE)["auc_dense"]
    np.testing.assert_array_equal(whole[240:], tail)


def test_a_constant_answer_has_kappa_zero_in_every_draw():
    confusions = np.array([[[5, 0], [3, 0]], [[8, 0], [0, 0]]], dtype=float)
    draws = confusion_draws(confusions, ("AB", "CD"), np.array([0, 1]))
    assert (draws["kappa"] == 0).all()


@pytest.mark.slow
def test_clustered_intervals_cover_and_intervals_of_single_images_do_not():
    """Accuracy of clustered images: 95 % intervals by patient cover, by image they don't.

    Each patient is an easy or a hard one (right with .9 or .3), 6 images each; truth .6.
    """
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(100), 6)
    covered = {"patient": 0, "image": 0}
    repeats = 200
    for repeat in range(repeats):
        easy = rng.random(100) < 0.5
        right = rng.random(600) < np.where(easy, 0.9, 0.3)[patients]
        probabilities = np.eye(2)[(~right).astype(int)]
        for name, clusters in (("patient", patients), ("image", np.arange(600))):
            units = Units(clusters, np.zeros(600, int), probabilities, ("AB", "CD"))
            weights = resample_patients(clusters.max() + 1, 300, seed=repeat)
            found = interval(metric_draws(units, weights, [1])["accuracy"], 0.95)
            covered[name] += found.low <= 0.6 <= found.high
    # Variance within a cluster: intraclass correlation .09 / .24 = .375, so 1 + 5 x .375 = 2.9
    # times that of independent images: 1.96 / 1.7 = 1.15 standard errors, which cover 75 %.
    # The standard error of a share of 200 is 1.5 % near .95 and 3 % near .75.
    assert 0.91 < covered["patient"] / repeats < 0.99
    assert covered["image"] / repeats < 0.85
