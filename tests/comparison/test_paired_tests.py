"""Paired tests against published examples, definitions and permutation."""

import numpy as np
import pytest

from mammo.comparison.paired_tests import benjamini_hochberg, delong_test, mcnemar_test

# Albumin, total protein, K-G score and whether surgery helped: the 43 complete patients of
# DeLong, DeLong & Clarke-Pearson 1988, as printed in the SAS/STAT User's Guide, PROC LOGISTIC,
# "Comparing Receiver Operating Characteristic Curves".
# fmt: off
OVARIAN = np.array([
    (3.0, 5.8, 10, 0), (3.2, 6.3, 5, 1), (3.9, 6.8, 3, 1), (2.8, 4.8, 6, 0),
    (3.2, 5.8, 3, 1), (0.9, 4.0, 5, 0), (2.5, 5.7, 8, 0), (1.6, 5.6, 5, 1),
    (3.8, 5.7, 5, 1), (3.7, 6.7, 6, 1), (3.2, 5.4, 4, 1), (3.8, 6.6, 6, 1),
    (4.1, 6.6, 5, 1), (3.6, 5.7, 5, 1), (4.3, 7.0, 4, 1), (3.6, 6.7, 4, 0),
    (2.3, 4.4, 6, 1), (4.2, 7.6, 4, 0), (4.0, 6.6, 6, 0), (3.5, 5.8, 6, 1),
    (3.8, 6.8, 7, 1), (3.0, 4.7, 8, 0), (4.5, 7.4, 5, 1), (3.7, 7.4, 5, 1),
    (3.1, 6.6, 6, 1), (4.1, 8.2, 6, 1), (4.3, 7.0, 5, 1), (4.3, 6.5, 4, 1),
    (3.2, 5.1, 5, 1), (2.6, 4.7, 6, 1), (3.3, 6.8, 6, 0), (1.7, 4.0, 7, 0),
    (3.7, 6.1, 5, 1), (3.3, 6.3, 7, 1), (4.2, 7.7, 6, 1), (3.5, 6.2, 5, 1),
    (2.9, 5.7, 9, 0), (2.1, 4.8, 7, 1), (2.8, 6.2, 8, 0), (4.0, 7.0, 7, 1),
    (3.3, 5.7, 6, 1), (3.7, 6.9, 5, 1), (3.6, 6.6, 5, 1),
])
# fmt: on
ALBUMIN, PROTEIN, SCORE, HELPED = OVARIAN.T
# SAS: totscore = 10 - totscore
KG, POSITIVE = 10 - SCORE, HELPED == 1


def test_delong_gives_the_published_areas_and_contrasts():
    albumin = delong_test(POSITIVE, ALBUMIN, KG)
    assert albumin.aucs == pytest.approx((0.7366, 0.7258), abs=5e-5)
    assert albumin.standard_error == pytest.approx(0.0953, abs=5e-5)
    assert albumin.z is not None
    assert albumin.z**2 == pytest.approx(0.0127, abs=5e-5)
    assert albumin.p == pytest.approx(0.9102, abs=5e-5)
    protein = delong_test(POSITIVE, PROTEIN, KG)
    assert protein.aucs[0] == pytest.approx(0.6478, abs=5e-5)
    assert protein.standard_error == pytest.approx(0.1046, abs=5e-5)
    assert protein.p == pytest.approx(0.4561, abs=5e-5)


def test_delong_variance_equals_its_definition_pair_by_pair():
    """Structural components by the kernel psi over all pairs, as the 1988 paper defines them."""
    sides = [], []
    for scores in (ALBUMIN, KG):
        x, y = scores[POSITIVE], scores[~POSITIVE]
        psi = (x[:, None] > y) + 0.5 * (x[:, None] == y)
        sides[0].append(psi.mean(axis=1))
        sides[1].append(psi.mean(axis=0))
    covariance = np.cov(sides[0]) / POSITIVE.sum() + np.cov(sides[1]) / (~POSITIVE).sum()
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    found = delong_test(POSITIVE, ALBUMIN, KG)
    assert found.standard_error == pytest.approx(np.sqrt(variance), rel=1e-12)


@pytest.mark.parametrize("seed", [2, 4, 7])
def test_delong_agrees_with_a_permutation_test(seed):
    """Under the null, two scores of like distribution may be swapped within each patient."""
    rng = np.random.default_rng(seed)
    positive = rng.random(160) < 0.5
    shared = rng.normal(size=160)
    first = positive * 1.0 + shared + rng.normal(size=160)
    second = positive * 0.6 + shared + rng.normal(size=160)
    first, second = (scores.argsort().argsort().astype(float) for scores in (first, second))
    found = delong_test(positive, first, second)
    observed = abs(found.aucs[0] - found.aucs[1])
    repeats = 2000
    larger = 0
    for _ in range(repeats):
        swap = rng.random(160) < 0.5
        a, b = np.where(swap, second, first), np.where(swap, first, second)
        larger += abs(auc(positive, a) - auc(positive, b)) >= observed - 1e-12
    assert found.p is not None
    assert 0.01 < found.p < 0.6  # neither end, where agreement would mean little
    assert found.p == pytest.approx((1 + larger) / (1 + repeats), abs=0.03)


def auc(positive, scores):
    x, y = scores[positive], scores[~positive]
    return ((x[:, None] > y) + 0.5 * (x[:, None] == y)).mean()


def test_delong_of_equal_rankings_is_one():
    found = delong_test(POSITIVE, ALBUMIN, 2 * ALBUMIN)
    assert (found.z, found.p) == (None, 1.0)


def test_delong_of_opposite_perfect_rankings_has_no_p():
    positive = np.array([True, True, False, False])
    scores = np.array([1.0, 1.0, 0.0, 0.0])
    found = delong_test(positive, scores, -scores)
    assert found.aucs == (1, 0)
    assert found.p is None


def test_delong_needs_two_patients_on_each_side():
    with pytest.raises(ValueError, match="2 positive and 2 negative"):
        delong_test(np.array([True, False, False]), np.arange(3.0), np.arange(3.0))


def test_mcnemar_is_the_exact_binomial_of_the_discordant_patients():
    first = np.array([True] * 9 + [False] * 1 + [True] * 5 + [False] * 4)
    second = np.array([False] * 9 + [True] * 1 + [True] * 5 + [False] * 4)
    found = mcnemar_test(first, second)
    assert (found.only_first_right, found.only_second_right) == (9, 1)
    assert found.p == pytest.approx(2 * (1 + 10) / 2**10)  # P(X <= 1), X ~ Bin(10, 1/2), twice


def test_mcnemar_of_equal_decisions_is_one():
    assert mcnemar_test(np.array([True, False]), np.array([True, False])).p == 1


def test_benjamini_hochberg_gives_the_example_of_the_paper():
    """Section 3.2 of the 1995 paper: of these 15, four are rejected at .05 (Bonferroni: three)."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    adjusted = benjamini_hochberg(p)
    assert sum(q <= 0.05 for q in adjusted) == 4
    assert adjusted[3] == pytest.approx(0.0095 * 15 / 4)
    assert benjamini_hochberg([]) == []
