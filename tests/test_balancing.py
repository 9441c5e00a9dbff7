"""Sampling and weights against the published class counts."""

import numpy as np
import pytest

from mammo.balancing import BalancingParams, draw_epoch, imbalance_ratio, inverse_frequency
from mammo.errors import UserError
from mammo.params import parse_params

COUNTS = np.array([40, 363, 849, 335])  # the published classes A-D
LABELS = np.repeat(np.arange(4), COUNTS)


def balancing(sampler=False, weights=False, allow_double=False):
    values = dict(weighted_sampler=sampler, class_weights=weights, allow_double=allow_double)
    return BalancingParams(**values)


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
    values = dict(weighted_sampler=True, class_weights=True, allow_double=False)
    with pytest.raises(UserError, match=r"balancing.*double balancing"):
        parse_params("balancing", values, BalancingParams)
    assert balancing(sampler=True, weights=True, allow_double=True).class_weights
