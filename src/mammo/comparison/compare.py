"""Compare strategies on the test split: intervals, paired differences and tests, as plain values.

An arm is a strategy or a baseline; its predictions are a table as in
`plots/evaluation/S/predictions.csv`. The result is what `metrics/compare.json` holds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from mammo.comparison.arms import DENSE, LEVELS, aggregate, check_arms, of_split
from mammo.comparison.bootstrap import (
    Draws,
    Units,
    bootstrap_p,
    calibration_draws,
    interval,
    metric_draws,
    resample_patients,
)
from mammo.comparison.calibration import apply_temperature, at_bound, fit_temperature, reliability
from mammo.comparison.paired_tests import benjamini_hochberg, delong_test, mcnemar_test
from mammo.comparison.params import CompareParams
from mammo.errors import UserError


@dataclass(frozen=True)
class _Measured:
    """One arm, measured: units and draws by level, and its calibration."""

    units: dict[str, Units]
    draws: dict[str, Draws]
    calibration: dict[str, Any]


def compare(
    strategies: dict[str, pd.DataFrame],
    baselines: dict[str, pd.DataFrame],
    params: CompareParams,
    tempered: bool = True,
) -> dict[str, Any]:
    """Compare arms that judged the same images; floats of 9 significant digits.

    Args:
        strategies: Predictions by strategy: `key, patient, laterality, view, split, label,
            probability_<class>…` for the splits val and test.
        baselines: Predictions by baseline, likewise.
        params: Draws, level, tests.
        tempered: Whether a temperature is fitted on val; without it val isn't needed.

    Raises:
        UserError: Tables disagree on their images, or a split is empty, or test has one patient,
            or `tested_metrics` names something that isn't measured.
    """
    arms = strategies | baselines
    classes = check_arms(arms, ("val", "test") if tempered else ("test",))
    reference = of_split(next(iter(arms.values())), "test")
    patients = sorted(reference["patient"].unique())
    if len(patients) < 2:
        raise UserError("data/splits.csv: test must hold at least 2 patients, got 1")
    weights = resample_patients(len(patients), params.draws, params.seed)
    measured = {
        name: _measure(table, classes, patients, weights, params, tempered)
        for name, table in arms.items()
    }
    first = next(iter(measured.values()))
    check_tested(params.tested_metrics, first.draws["image"])
    pairs = [
        _compare_pair(a, b, measured[a], measured[b], params)
        for a, b in [*combinations(strategies, 2), *product(strategies, baselines)]
    ]
    family = adjust([test for pair in pairs for test in pair["tests"]])
    by_level = {
        level: {name: _intervals(m, level, params.confidence) for name, m in measured.items()}
        for level in LEVELS
    }
    return {
        "sample": {
            "split": "test",
            "classes": list(classes),
            "dense_classes": list(DENSE[classes]),
            "images": len(first.units["image"].labels),
            "breasts": len(first.units["breast"].labels),
            "patients": len(patients),
            "draws": params.draws,
            "confidence": params.confidence,
            "tested_metrics": params.tested_metrics,
            "false_discovery_rate": params.false_discovery_rate,
            "tests_in_family": family,
        },
        "strategies": {name: by_level["image"][name] for name in strategies},
        "baselines": {name: by_level["image"][name] for name in baselines},
        "breast_level": by_level["breast"],
        "patient_level": by_level["patient"],
        "calibration": {name: m.calibration for name, m in measured.items()},
        "pairs": pairs,
    }


def comparison_table(result: dict[str, Any]) -> pd.DataFrame:
    """Flatten a result to strategy, level, metric, value, low, high (blank: no interval)."""
    levels = {
        "image": result["strategies"] | result["baselines"],
        "breast": result["breast_level"],
        "patient": result["patient_level"],
    }
    rows = [
        (name, level, metric, entry["value"], entry["low"], entry["high"])
        for level, arms in levels.items()
        for name, metrics in arms.items()
        for metric, entry in metrics.items()
    ]
    return pd.DataFrame(rows, columns=["strategy", "level", "metric", "value", "low", "high"])


def _measure(
    table: pd.DataFrame,
    classes: tuple[str, ...],
    patients: Sequence[str],
    weights: np.ndarray,
    params: CompareParams,
    tempered: bool,
) -> _Measured:
    """Measure one arm on all levels, and its calibration on images."""
    test = of_split(table, "test")
    units = {level: aggregate(test, level, classes, patients) for level in LEVELS}
    dense = [classes.index(label) for label in DENSE[classes]]
    draws = {level: metric_draws(units[level], weights, dense) for level in LEVELS}
    image, bins = units["image"], params.calibration_bins
    draws["image"]["ece"] = calibration_draws(image, weights, bins)
    calibration: dict[str, Any] = {
        "reliability": _records(reliability(image.labels, image.probabilities, bins)),
    }
    if tempered:
        val = of_split(table, "val")
        val_units = aggregate(val, "image", classes, sorted(val["patient"].unique()))
        temperature = fit_temperature(val_units.labels, val_units.probabilities)
        after = replace(image, probabilities=apply_temperature(image.probabilities, temperature))
        draws["image"]["ece_tempered"] = calibration_draws(after, weights, bins)
        calibration = {
            "temperature": significant(temperature),
            "temperature_at_bound": at_bound(temperature),
            "fitted_on": "val",
            **calibration,
            "reliability_tempered": _records(reliability(image.labels, after.probabilities, bins)),
        }
    return _Measured(units, draws, calibration)


def _intervals(measured: _Measured, level: str, confidence: float) -> dict[str, dict[str, Any]]:
    """Give every metric that the sample defines its interval and the patients it rests on."""
    units = measured.units[level]
    entries = {}
    for metric, draws in measured.draws[level].items():
        if np.isnan(draws[0]):
            continue
        found = interval(draws, confidence)
        entries[metric] = {
            "value": significant(found.value),
            "low": significant(found.low),
            "high": significant(found.high),
            "n_patients": _patients_behind(metric, units),
            "undefined_draws": found.undefined_draws,
        }
    return entries


def _patients_behind(metric: str, units: Units) -> int:
    """Count the patients that a metric rests on: a recall, on those of its class."""
    label = metric.removeprefix("recall_")
    of_class = units.labels == units.classes.index(label) if label in units.classes else slice(None)
    return len(np.unique(units.patients[of_class]))


def _compare_pair(
    first: str, second: str, a: _Measured, b: _Measured, params: CompareParams
) -> dict[str, Any]:
    """Compare two arms: paired differences of all image-level metrics, and the tests."""
    differences = {
        metric: draws - b.draws["image"][metric]
        for metric, draws in a.draws["image"].items()
        if not np.isnan(draws[0])
    }
    intervals = {metric: interval(d, params.confidence) for metric, d in differences.items()}
    bootstrap = [
        {
            "test": "bootstrap",
            "level": "image",
            "metric": metric,
            "difference": significant(intervals[metric].value),
            "p": significant(bootstrap_p(differences[metric])),
        }
        for metric in params.tested_metrics
    ]
    return {
        "first": first,
        "second": second,
        "differences": {
            metric: {
                "value": significant(found.value),
                "low": significant(found.low),
                "high": significant(found.high),
                "undefined_draws": found.undefined_draws,
            }
            for metric, found in intervals.items()
        },
        "tests": [*bootstrap, _mcnemar(a, b), _delong(a, b)],
    }


def _mcnemar(a: _Measured, b: _Measured) -> dict[str, Any]:
    one, other = a.units["patient"], b.units["patient"]
    result = mcnemar_test(one.predictions == one.labels, other.predictions == other.labels)
    return {
        "test": "mcnemar",
        "level": "patient",
        "metric": "accuracy",
        "difference": significant(
            (result.only_first_right - result.only_second_right) / len(one.labels)
        ),
        "only_first_right": result.only_first_right,
        "only_second_right": result.only_second_right,
        "p": significant(result.p),
    }


def _delong(a: _Measured, b: _Measured) -> dict[str, Any]:
    """Test the dense-versus-not AUC, one score a patient; p is None where it can't be tested."""
    one, other = a.units["patient"], b.units["patient"]
    dense = [one.classes.index(label) for label in DENSE[one.classes]]
    positive = np.isin(one.labels, dense)
    test: dict[str, Any] = {"test": "delong", "level": "patient", "metric": "auc_dense"}
    if min(np.count_nonzero(positive), np.count_nonzero(~positive)) < 2:
        return test | {"difference": None, "p": None}
    result = delong_test(
        positive,
        one.probabilities[:, dense].sum(axis=1),
        other.probabilities[:, dense].sum(axis=1),
    )
    return test | {
        "difference": significant(result.aucs[0] - result.aucs[1]),
        "standard_error": significant(result.standard_error),
        "z": significant(result.z),
        "p": significant(result.p),
    }


def adjust(tests: list[dict[str, Any]]) -> int:
    """Add `p_adjusted` to every test of the family that has a p value; count those."""
    family = [test for test in tests if test["p"] is not None]
    adjusted = benjamini_hochberg([test["p"] for test in family])
    for test in tests:
        test["p_adjusted"] = None
    for test, p in zip(family, adjusted, strict=True):
        test["p_adjusted"] = significant(p)
    return len(family)


def check_tested(tested: Iterable[str], measured: Draws) -> None:
    """Check that the metrics to be tested are among those measured.

    Args:
        tested: Their names.
        measured: Draws by metric, those of the sample first.

    Raises:
        UserError: One isn't measured, or the sample leaves it undefined.
    """
    for metric in tested:
        if metric not in measured or np.isnan(measured[metric][0]):
            known = ", ".join(name for name, draws in measured.items() if not np.isnan(draws[0]))
            raise UserError(
                f"params.yaml: compare.tested_metrics: must be among {known}, got {metric!r}"
            )


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(column): significant(value) for column, value in row.items()}
        for row in table.to_dict("records")
    ]


def significant(value: float | int | None) -> Any:
    """Round to the 9 significant digits of every committed number; None stays."""
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.9g}")
