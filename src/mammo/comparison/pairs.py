"""Two arms compared: which pairs are asked about, their tests, and the correction for many."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from mammo.cohort.classes import dense_positions
from mammo.comparison.baselines import MAJORITY_CLASS
from mammo.comparison.bootstrap import bootstrap_p, patients_needed
from mammo.comparison.measuring import Drawn, Setting, estimate, rests_on_few, significant
from mammo.comparison.paired_tests import benjamini_hochberg, delong_test, mcnemar_test
from mammo.comparison.results import Estimate, Family, Pair, Test


def asked(
    strategies: Sequence[str], baselines: Sequence[str], reference: str | None
) -> list[tuple[str, str, Family]]:
    """List the pairs: strategies among themselves, with the better baseline, with the majority."""
    asked: list[tuple[str, str, Family]] = [
        (a, b, "strategies") for a, b in combinations(strategies, 2)
    ]
    if reference is not None:
        asked += [(name, reference, "baseline") for name in strategies]
    if MAJORITY_CLASS in baselines:
        asked += [(name, MAJORITY_CLASS, "majority") for name in strategies]
    return asked


def compare_pair(
    first: str, second: str, family: Family, a: Drawn, b: Drawn, setting: Setting
) -> Pair:
    """Compare two arms: paired differences of all image-level metrics, and the tests."""
    units = a.units["image"]
    differences = {
        metric: draws - b.draws["image"][metric]
        for metric, draws in a.draws["image"].items()
        if not np.isnan(draws[0])
    }
    thin, confidence = setting.thin, setting.params.confidence
    estimates = {m: estimate(m, d, units, thin, confidence) for m, d in differences.items()}
    tests = [
        _bootstrap_test(metric, differences[metric], estimates[metric], setting)
        for metric in setting.params.tested_metrics
    ]
    return Pair(first, second, family, estimates, (*tests, _mcnemar(a, b), _delong(a, b)))


def _bootstrap_test(
    metric: str, differences: np.ndarray, estimate: Estimate, setting: Setting
) -> Test:
    thin = rests_on_few(metric, setting.classes, setting.thin)
    confidence = setting.params.confidence
    return Test(
        test="bootstrap",
        level="image",
        metric=metric,
        difference=estimate.value,
        p=None if thin else significant(bootstrap_p(differences)),
        patients_needed=(
            None if thin else patients_needed(differences, len(setting.patients), confidence)
        ),
    )


def _mcnemar(a: Drawn, b: Drawn) -> Test:
    one, other = a.units["patient"], b.units["patient"]
    result = mcnemar_test(one.predictions == one.labels, other.predictions == other.labels)
    gained = result.only_first_right - result.only_second_right
    return Test(
        test="mcnemar",
        level="patient",
        metric="accuracy",
        difference=significant(gained / len(one.labels)),
        p=significant(result.p),
        only_first_right=result.only_first_right,
        only_second_right=result.only_second_right,
    )


def _delong(a: Drawn, b: Drawn) -> Test:
    """Test the dense-versus-not AUC, one score a patient; p is None where it can't be tested."""
    one, other = a.units["patient"], b.units["patient"]
    dense = dense_positions(one.classes)
    positive = np.isin(one.labels, dense)
    if min(np.count_nonzero(positive), np.count_nonzero(~positive)) < 2:
        return Test("delong", "patient", "auc_dense", None, None)
    result = delong_test(
        positive,
        one.probabilities[:, dense].sum(axis=1),
        other.probabilities[:, dense].sum(axis=1),
    )
    return Test(
        test="delong",
        level="patient",
        metric="auc_dense",
        difference=significant(result.aucs[0] - result.aucs[1]),
        p=significant(result.p),
        standard_error=significant(result.standard_error),
        z=significant(result.z),
    )


def adjusted(pairs: Sequence[Pair]) -> tuple[list[Pair], dict[Family, int]]:
    """Correct the p values within each family; count its tests."""
    found = list(pairs)
    counts: dict[Family, int] = {}
    for family in dict.fromkeys(pair.family for pair in pairs):
        members = [n for n, pair in enumerate(found) if pair.family == family]
        tests = adjust([test for n in members for test in found[n].tests])
        counts[family] = sum(test.p is not None for test in tests)
        for n in members:
            size = len(found[n].tests)
            found[n], tests = replace(found[n], tests=tuple(tests[:size])), tests[size:]
    return found, counts


def adjust(tests: Sequence[Test]) -> list[Test]:
    """Fill in `p_adjusted` of the tests of one family that have a p value."""
    adjusted = iter(benjamini_hochberg([test.p for test in tests if test.p is not None]))
    return [
        test if test.p is None else replace(test, p_adjusted=significant(next(adjusted)))
        for test in tests
    ]
