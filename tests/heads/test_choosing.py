"""Which step of a path is kept."""

import numpy as np
import pytest
from scipy.special import log_softmax

from mammo.heads.choosing import choose_step


def test_the_step_is_chosen_by_log_loss_or_by_the_order_of_the_best_checkpoint():
    labels = np.array([0, 0, 1, 1])
    sure = np.log([[0.6, 0.4], [0.6, 0.4], [0.4, 0.6], [0.4, 0.6]])
    mostly = np.log([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.51, 0.49]])
    weights = np.ones(4)
    assert choose_step(labels, weights, [sure, mostly, mostly], "log_loss") == 1
    assert choose_step(labels, weights, [mostly, sure, sure], "metrics") == 1
    # of one class no metric tells anything: the log-loss does
    with pytest.warns(UserWarning, match="of one class"):
        assert choose_step(np.zeros(4, int), weights, [mostly, sure], "metrics") == 1


def test_the_calibrated_log_loss_doesnt_mind_answers_that_are_too_sure():
    labels = np.array([0, 0, 0, 1, 1, 1])
    right = np.array([[0.8, 0.2]] * 3 + [[0.2, 0.8]] * 3)
    sorted_well = 6 * np.log(right)  # far too sure, and one image wrong
    sorted_well[0] = 6 * np.log([0.45, 0.55])
    sorted_badly = np.log([[0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6]])
    answers = [log_softmax(a, axis=1) for a in (sorted_badly, sorted_well)]
    weights = np.array([1.0, 1, 1, 1, 1, 1])
    assert choose_step(labels, weights, answers, "calibrated_log_loss") == 1


def test_an_absent_class_doesnt_decide_the_temperature():
    labels = np.array([0, 0, 1, 1, 2])
    mostly = np.log([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.51, 0.49], [0.5, 0.5]])
    barely = np.log([[0.51, 0.49], [0.49, 0.51], [0.49, 0.51], [0.51, 0.49], [0.5, 0.5]])
    answers = [np.column_stack([a, np.full(5, -1e4)]) for a in (barely, mostly)]
    assert choose_step(labels, np.ones(5), answers, "calibrated_log_loss") == 1


def test_a_single_step_of_high_kappa_is_luck():
    labels = np.arange(12) % 3
    right = np.log(np.full((12, 3), 0.1) + 0.7 * np.eye(3)[labels])
    wrong = np.log(np.full((12, 3), 0.1) + 0.7 * np.eye(3)[(labels + 1) % 3])
    nearly = right.copy()
    nearly[:2] = wrong[:2]
    path = [wrong, right, wrong, wrong, nearly, nearly, nearly]
    assert choose_step(labels, np.ones(12), path, "kappa_quadratic") == 5
