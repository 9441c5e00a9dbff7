"""Sampling and weights against the published class counts."""

import numpy as np
import pytest

from mammo.errors import UserError
from mammo.params import parse_params
from mammo.training.balancing import (
    draw_epoch,
    effective_number_weights,
    imbalance_ratio,
    inverse_frequency,
    loss_weights,
)
from mammo.training.params import BalancingParams

COUNTS = np.array([40, 363, 849, 335])  # the published classes A-D
LABELS = np.repeat(np.arange(4), COUNTS)


def balancing(sampler=False, weights=False, beta=None, allow_double=False):
    return BalancingParams(
        weighted_sampler=sampler, class_weights=weights, effective_beta=beta,
        allow_double=allow_double,
    )  # fmt: skip


def test_inverse_frequency_weights_are_the_published_ones():
    # 849/40, 849/363, 849/849, 849/335
    assert inverse_frequency(COUNTS) == pytest.approx([21.225, 2.3388, 1, 2.5343], abs=1e-4)
    assert imbalance_ratio(COUNTS) == 21.225


def test_the_sampler_gives_each_class_a_quarter_of_an_epoch():
    draws = np.concatenate([draw_epoch(LABELS, balancing(sampler=True), 0, e) for e in range(200)])
    shares = np.bincount(LABELS[draws]) / len(draws)
    assert shares == pytest.approx([0.25] * 4, abs=0.005)
    # 1587 / 4 / 40 = 9.92 draws of each A image an epoch
    of_a = np.bincount(draws, minlength=len(LABELS))[:40] / 200
    assert of_a.mean() == pytest.approx(9.92, abs=0.15)


def test_without_the_sampler_an_epoch_is_a_permutation():
    assert sorted(draw_epoch(LABELS, balancing(), 3, 1)) == list(range(len(LABELS)))


def test_an_epoch_depends_on_seed_and_number_alone():
    first = draw_epoch(LABELS, balancing(sampler=True), 5, 2)
    assert (first == draw_epoch(LABELS, balancing(sampler=True), 5, 2)).all()
    assert (first != draw_epoch(LABELS, balancing(sampler=True), 5, 3)).any()
    assert (first != draw_epoch(LABELS, balancing(sampler=True), 6, 2)).any()


def test_a_class_without_images_weighs_nothing():
    assert list(inverse_frequency(np.array([0, 5, 10]))) == [0, 2, 1]


def test_double_balancing_is_refused_unless_allowed():
    values = dict(
        weighted_sampler=True, class_weights=True, effective_beta=None, allow_double=False
    )
    with pytest.raises(UserError, match=r"balancing.*class_weights.*double balancing"):
        parse_params("balancing", values, BalancingParams)
    values |= dict(class_weights=False, effective_beta=0.9)
    with pytest.raises(UserError, match=r"balancing.*effective_beta.*double balancing"):
        parse_params("balancing", values, BalancingParams)
    assert balancing(sampler=True, weights=True, allow_double=True).class_weights


def test_two_kinds_of_weights_are_refused_even_with_double_balancing():
    values = dict(weighted_sampler=False, class_weights=True, effective_beta=0.9, allow_double=True)
    with pytest.raises(UserError, match="two choices of the same weights"):
        parse_params("balancing", values, BalancingParams)


def test_effective_numbers_follow_the_formula():
    # beta = .5: E_1 = 1, E_2 = .75 / .5 = 1.5, E_3 = .875 / .5 = 1.75;
    # 1 / E = 1, 2/3, 4/7, which sum to 47/21; times 3 / (47/21) = 63/47
    expected = np.array([1, 2 / 3, 4 / 7]) * 63 / 47
    assert effective_number_weights(np.array([1, 2, 3]), 0.5) == pytest.approx(expected)
    assert expected.sum() == pytest.approx(3)


def test_effective_numbers_lead_from_equal_weights_to_inverse_frequency():
    assert effective_number_weights(COUNTS, 1e-9) == pytest.approx([1] * 4)
    near_one = effective_number_weights(COUNTS, 1 - 1e-9)
    assert near_one / near_one[2] == pytest.approx(inverse_frequency(COUNTS), rel=1e-5)
    assert effective_number_weights(np.array([0, 5, 5]), 0.9) == pytest.approx([0, 1.5, 1.5])


def test_the_weights_of_the_loss_follow_the_switches():
    assert list(loss_weights(COUNTS, balancing(sampler=True))) == [1] * 4
    assert list(loss_weights(COUNTS, balancing(weights=True))) == list(inverse_frequency(COUNTS))
    by_number = effective_number_weights(COUNTS, 0.99)
    assert list(loss_weights(COUNTS, balancing(beta=0.99))) == list(by_number)
