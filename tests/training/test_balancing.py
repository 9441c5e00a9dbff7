"""Sampling and weights against the published class counts."""

import numpy as np
import pytest

from mammo.errors import UserError
from mammo.heads.balance import frequency_weights
from mammo.params import parse_params
from mammo.training.balancing import (
    draw_epoch,
    effective_number_weights,
    expected_weights,
    imbalance_ratio,
    loss_weights,
    resolve,
    training_prior,
)
from mammo.training.params import BalancingParams, LossParams

COUNTS = np.array([40, 363, 849, 335])  # the published classes A-D
LABELS = np.repeat(np.arange(4), COUNTS)


def balancing(sampler=False, weights="none", beta=None, allow_double=False, power=1.0):
    return BalancingParams(
        weighted_sampler=sampler, class_weights=weights, power=power, effective_beta=beta,
        allow_double=allow_double,
    )  # fmt: skip


def loss(name="cross_entropy"):
    return LossParams(name=name, gamma=2, tau=1, label_smoothing=0)


def test_frequency_weights_weights_are_the_published_ones():
    # 849/40, 849/363, 849/849, 849/335
    assert frequency_weights(COUNTS, 1) == pytest.approx([21.225, 2.3388, 1, 2.5343], abs=1e-4)
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
    assert list(frequency_weights(np.array([0, 5, 10]), 1)) == [0, 2, 1]


def test_double_balancing_is_refused_unless_allowed():
    values = dict(
        weighted_sampler=True, class_weights="balanced", power=1, effective_beta=None,
        allow_double=False,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"balancing.*class_weights.*double balancing"):
        parse_params("balancing", values, BalancingParams)
    values |= dict(class_weights="none", effective_beta=0.9)
    with pytest.raises(UserError, match=r"balancing.*effective_beta.*double balancing"):
        parse_params("balancing", values, BalancingParams)
    assert balancing(sampler=True, weights="balanced", allow_double=True).weighs
    assert balancing(sampler="auto", weights="balanced").weighs


def test_two_kinds_of_weights_are_refused_even_with_double_balancing():
    values = dict(
        weighted_sampler=False, class_weights=[1, 2], power=1, effective_beta=0.9, allow_double=True
    )
    with pytest.raises(UserError, match="two choices of the same weights"):
        parse_params("balancing", values, BalancingParams)


def test_effective_numbers_follow_the_formula():
    # beta = .5: E_1 = 1, E_2 = .75 / .5 = 1.5, E_3 = .875 / .5 = 1.75;
    # 1 / E = 1, 2/3, 4/7, which sum to 47/21; times 3 / (47/21) = 63/47
    expected = np.array([1, 2 / 3, 4 / 7]) * 63 / 47
    assert effective_number_weights(np.array([1, 2, 3]), 0.5) == pytest.approx(expected)
    assert expected.sum() == pytest.approx(3)


def test_effective_numbers_lead_from_equal_weights_to_frequency_weights():
    assert effective_number_weights(COUNTS, 1e-9) == pytest.approx([1] * 4)
    near_one = effective_number_weights(COUNTS, 1 - 1e-9)
    assert near_one / near_one[2] == pytest.approx(frequency_weights(COUNTS, 1), rel=1e-5)
    assert effective_number_weights(np.array([0, 5, 5]), 0.9) == pytest.approx([0, 1.5, 1.5])


def test_the_weights_of_the_loss_follow_the_switches():
    assert list(loss_weights(COUNTS, balancing(sampler=True))) == [1] * 4
    assert list(loss_weights(COUNTS, balancing(weights="balanced"))) == list(
        frequency_weights(COUNTS, 1)
    )
    by_number = effective_number_weights(COUNTS, 0.99)
    assert list(loss_weights(COUNTS, balancing(beta=0.99))) == list(by_number)


def test_half_the_power_is_the_square_root():
    # sqrt(849/40), sqrt(849/363), 1, sqrt(849/335)
    assert frequency_weights(COUNTS, 0.5) == pytest.approx([4.607, 1.529, 1, 1.592], abs=1e-3)
    assert list(frequency_weights(COUNTS, 0)) == [1] * 4
    draws = [draw_epoch(LABELS, balancing(sampler=True, power=0.5), 0, e) for e in range(100)]
    shares = np.bincount(LABELS[np.concatenate(draws)]) / (100 * len(LABELS))
    # n^(1/2) of each class over their sum: 6.325, 19.053, 29.138, 18.303 of 72.818
    assert shares == pytest.approx([0.0869, 0.2616, 0.4001, 0.2514], abs=0.005)


def test_given_class_weights_are_taken_as_they_are():
    given = balancing(weights=[21.2, 2.3, 1, 2.5])
    assert list(loss_weights(COUNTS, given)) == [21.2, 2.3, 1, 2.5]


def test_the_automatic_sampler_acts_on_imbalance_that_nothing_else_balances():
    def sampled(counts, name="cross_entropy", **options):
        chosen = balancing(sampler="auto", **options)
        return resolve(chosen, loss(name), np.array(counts)).weighted_sampler

    assert sampled([40, 363]) and sampled([10, 16])
    assert not sampled([10, 15])
    assert not sampled([40, 363], weights="balanced")
    assert not sampled([40, 363], beta=0.9)
    assert not sampled([40, 363], name="logit_adjusted")


def test_the_training_prior_is_what_an_epoch_holds():
    nothing = np.zeros(4)
    natural = COUNTS / COUNTS.sum()
    assert training_prior(COUNTS, balancing(), nothing) == pytest.approx(natural)
    full = training_prior(COUNTS, balancing(sampler=True), nothing)
    assert full == pytest.approx([0.25] * 4)
    half = training_prior(COUNTS, balancing(weights="balanced", power=0.5), nothing)
    assert half == pytest.approx(np.sqrt(COUNTS) / np.sqrt(COUNTS).sum())
    # an adjusted loss takes log(count) out of the logits again
    assert training_prior(COUNTS, balancing(), np.log(COUNTS)) == pytest.approx([0.25] * 4)


def test_sampler_and_weights_multiply_in_a_solved_head():
    both = balancing(sampler=True, weights=[2, 1, 1, 1], allow_double=True)
    assert expected_weights(COUNTS, both) == pytest.approx(
        frequency_weights(COUNTS, 1) * np.array([2, 1, 1, 1])
    )
