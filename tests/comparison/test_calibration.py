"""Calibration error by hand, and a temperature that is known beforehand."""

import numpy as np
import pytest

from mammo.comparison.calibration import (
    apply_temperature,
    at_bound,
    confidence_bins,
    fit_temperature,
    reliability,
)


def sampled(temperature, n=20000, seed=0):
    """Labels that follow softmax(logits), and probabilities sharpened by 1 / temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (truth.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    stated = np.exp(logits * temperature)
    return labels, stated / stated.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_sharpened_is_found(temperature):
    labels, probabilities = sampled(temperature)
    found = fit_temperature(labels, probabilities)
    assert found == pytest.approx(temperature, rel=0.05)
    assert not at_bound(found)


def test_the_temperature_undoes_the_sharpening():
    _, probabilities = sampled(3.0)
    _, honest = sampled(1.0)
    np.testing.assert_allclose(apply_temperature(probabilities, 3.0), honest, atol=1e-9)


def test_the_prediction_survives_any_temperature():
    _, probabilities = sampled(1.0, n=100)
    for temperature in (0.1, 7.0):
        tempered = apply_temperature(probabilities, temperature)
        assert (tempered.argmax(axis=1) == probabilities.argmax(axis=1)).all()
        np.testing.assert_allclose(tempered.sum(axis=1), 1)


def test_an_always_right_model_runs_into_the_bound():
    labels = np.array([0, 1, 2, 3])
    assert at_bound(fit_temperature(labels, 0.4 * np.eye(4) + 0.15))


def test_a_stored_zero_costs_a_finite_amount():
    labels = np.array([0, 1, 1, 0, 1])
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.2, 0.8]])
    assert np.isfinite(fit_temperature(labels, probabilities))
    assert np.isfinite(apply_temperature(probabilities, 2.0)).all()


def test_nothing_to_fit_on_raises():
    with pytest.raises(ValueError, match="at least one"):
        fit_temperature(np.array([], int), np.zeros((0, 4)))


def test_full_confidence_falls_into_the_last_bin():
    index, confidence, right = confidence_bins(
        np.array([0, 1]), np.array([[1.0, 0.0], [0.55, 0.45]]), bins=10
    )
    assert index.tolist() == [9, 5]
    assert confidence.tolist() == [1.0, 0.55]
    assert right.tolist() == [True, False]


def test_the_reliability_table_holds_filled_bins_only():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.7, 0.3], [0.2, 0.8]])
    table = reliability(labels, probabilities, bins=2)
    assert table.to_dict("records") == [
        {"low": 0.5, "high": 1.0, "n": 4, "confidence": pytest.approx(0.775), "accuracy": 0.75}
    ]
