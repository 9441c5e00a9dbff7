"""Compare strategies on the test split: intervals, paired differences and tests.

The result, as plain values, is what `metrics/compare.json` holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mammo.cohort.classes import DENSE, dense_positions
from mammo.comparison.arms import Arm, check_arms
from mammo.comparison.baselines import MAJORITY_CLASS
from mammo.comparison.bootstrap import (
    bootstrap_p,
    calibration_draws,
    interval,
    metric_draws,
    patients_needed,
    resample_patients,
)
from mammo.comparison.calibration import apply_temperature, at_bound, fit_temperature, reliability
from mammo.comparison.paired_tests import benjamini_hochberg, delong_test, mcnemar_test
from mammo.comparison.params import CompareParams
from mammo.comparison.results import (
    Bin,
    Calibration,
    Comparison,
    Estimate,
    Estimates,
    Family,
    Group,
    Measured,
    Pair,
    Sample,
    Test,
)
from mammo.errors import UserError
from mammo.evaluation.levels import (
    LEVELS,
    PatientRule,
    Units,
    aggregate,
    settle_patient_rule,
)
from mammo.evaluation.metrics import Draws, classification_metrics

CEILING = "ceiling"
FEWEST_PATIENTS = 5  # of a class, for an interval of what rests on it; of a group, to be judged
GROUPED_METRICS = ("accuracy", "kappa", "kappa_quadratic")
MEANS_OVER_CLASSES = ("bal_acc", "bal_acc_adj", "macro_f1", "auc_macro")
MEANS_OVER_DENSE = ("bal_acc_adj_dense", "macro_f1_dense")


@dataclass(frozen=True)
class _Drawn:
    """One arm with its draws: units and draws by level, and its calibration."""

    arm: Arm
    units: dict[str, Units]
    draws: dict[str, Draws]
    calibration: Calibration | None


@dataclass(frozen=True)
class _Setting:
    """What all arms are measured by.

    Attributes:
        classes: In order.
        patients: Of test, sorted.
        weights: (1 + draws, P), of the patients.
        params: Section `compare`.
        patient_rule: Whose probabilities a patient gets.
        thin: Patients of each class that has fewer than `FEWEST_PATIENTS`; of the dense classes
            together and of the others as `dense` and `not dense`.
    """

    classes: tuple[str, ...]
    patients: list[str]
    weights: np.ndarray
    params: CompareParams
    patient_rule: PatientRule
    thin: dict[str, int]


def compare(
    strategies: Mapping[str, Arm],
    baselines: Mapping[str, Arm],
    params: CompareParams,
    patient_rule: PatientRule = "denser",
    *,
    tempered: bool = True,
    reference: str | None = None,
    truth: pd.DataFrame | None = None,
    groups: pd.DataFrame | None = None,
) -> Comparison:
    """Compare arms that judged the same images; floats of 9 significant digits.

    Args:
        strategies: By name.
        baselines: By name.
        params: Draws, level, tests.
        patient_rule: Whose probabilities a patient gets where breasts or images are labelled.
        tempered: Whether a temperature is fitted on val; without it val isn't needed.
        reference: The better baseline, where it isn't to be chosen on val.
        truth: `key, true_class` of the phantom's images, for the ceiling.
        groups: `key` and a column for each way to group the images, beside view and laterality.

    Raises:
        UserError: Tables disagree on their images, or a split is empty, or test has one patient,
            or `tested_metrics` names something that isn't measured.
    """
    arms = {**strategies, **baselines}
    setting = _settle(arms, params, patient_rule, ("val", "test") if tempered else ("test",))
    drawn = {name: _draw(arm, setting, tempered) for name, arm in arms.items()}
    first = next(iter(drawn.values()))
    check_tested(params.tested_metrics, first.draws["image"])
    reference = reference or choose_reference(baselines, setting.classes)
    pairs, tests = _adjusted(
        [
            _compare_pair(a, b, family, drawn[a], drawn[b], setting)
            for a, b, family in _asked(list(strategies), list(baselines), reference)
        ]
    )
    ceiling = None if truth is None else _ceiling(first.arm, truth, setting)
    classes = setting.classes
    return Comparison(
        sample=Sample(
            split="test",
            classes=classes,
            dense_classes=DENSE[classes],
            thin_classes={label: n for label, n in setting.thin.items() if label in classes},
            images=len(first.units["image"].labels),
            breasts=len(first.units["breast"].labels),
            patients=len(setting.patients),
            patient_rule=setting.patient_rule,
            reference=reference,
            draws=params.draws,
            confidence=params.confidence,
            tested_metrics=tuple(params.tested_metrics),
            false_discovery_rate=params.false_discovery_rate,
            tests=tests,
        ),
        strategies={name: _measured(drawn[name], setting) for name in strategies},
        baselines={name: _measured(drawn[name], setting) for name in baselines},
        ceiling=ceiling,
        pairs=tuple(pairs),
        groups=tuple(_groups({name: drawn[name] for name in strategies}, groups, setting)),
    )


def comparison_table(result: Comparison) -> pd.DataFrame:
    """Flatten a result to strategy, level, metric, value, low, high (blank: no interval)."""
    arms = result.arms | ({CEILING: result.ceiling} if result.ceiling else {})
    rows = [
        (name, level, metric, found.value, found.low, found.high)
        for level in LEVELS
        for name, arm in arms.items()
        for metric, found in arm.levels[level].items()
    ]
    return pd.DataFrame(rows, columns=["strategy", "level", "metric", "value", "low", "high"])


def calibration_table(result: Comparison) -> pd.DataFrame:
    """Flatten the reliability diagrams: a row a bin, as stated and after the temperature."""
    rows = []
    for name, arm in result.arms.items():
        found = arm.calibration
        if found is None:
            continue
        for stated, bins in (
            ("as stated", found.reliability),
            ("tempered", found.reliability_tempered or ()),
        ):
            rows += [
                (name, stated, found.temperature, b.low, b.high, b.n, b.confidence, b.accuracy)
                for b in bins
            ]
    columns = ["strategy", "probabilities", "temperature", "low", "high", "n", "confidence"]
    return pd.DataFrame(rows, columns=[*columns, "accuracy"])


def choose_reference(baselines: Mapping[str, Arm], classes: tuple[str, ...]) -> str | None:
    """Choose the better baseline by quadratic kappa on val; None where only the majority is.

    Where there is no val (pooled folds), the images that are judged choose, which favours it.
    """
    scores = {}
    for name, arm in baselines.items():
        if name == MAJORITY_CLASS:
            continue
        table = arm.of_split("val")
        table = arm.of_split("test") if table.empty else table
        units = aggregate(table, "image", classes, sorted(table["patient"].unique()))
        found = classification_metrics(units.labels, units.probabilities, classes, arm.rule)
        scores[name] = float(found["kappa_quadratic"] or 0)
    return max(scores, key=lambda name: scores[name]) if scores else None


def _settle(
    arms: Mapping[str, Arm],
    params: CompareParams,
    patient_rule: PatientRule,
    splits: Sequence[str],
) -> _Setting:
    """Check the arms and settle what they are measured by."""
    classes = check_arms({name: arm.predictions for name, arm in arms.items()}, splits)
    first = next(iter(arms.values()))
    test = first.of_split("test")
    patients = sorted(test["patient"].unique())
    if len(patients) < 2:
        raise UserError("data/splits.csv: test must hold at least 2 patients, got 1")
    return _Setting(
        classes=classes,
        patients=patients,
        weights=resample_patients(len(patients), params.draws, params.seed),
        params=params,
        patient_rule=settle_patient_rule(first.predictions, patient_rule),
        thin=thin_classes(test, classes),
    )


def thin_classes(test: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, int]:
    """Count the patients of each class that too few have; absent classes aside.

    The classes that count as dense, taken together, are `dense`, and the others `not dense`.
    """
    dense = test["label"].isin(DENSE[classes])
    counts = {
        **test.groupby("label")["patient"].nunique().to_dict(),
        "dense": test[dense]["patient"].nunique(),
        "not dense": test[~dense]["patient"].nunique(),
    }
    named = (*classes, "dense", "not dense")
    return {n: int(counts[n]) for n in named if 0 < counts.get(n, 0) < FEWEST_PATIENTS}


def _draw(arm: Arm, setting: _Setting, tempered: bool) -> _Drawn:
    """Measure one arm on all levels and draws, and its calibration on images."""
    test, weights = arm.of_split("test"), setting.weights
    units = {
        level: aggregate(
            test, level, setting.classes, setting.patients, setting.patient_rule, arm.rule
        )
        for level in LEVELS
    }
    dense = dense_positions(setting.classes)
    draws = {level: metric_draws(units[level], weights, dense) for level in LEVELS}
    image, bins = units["image"], setting.params.calibration_bins
    draws["image"]["ece"] = calibration_draws(image, weights, bins)
    calibration = Calibration(_bins(image, bins))
    if tempered:
        val = arm.of_split("val")
        of_val = aggregate(val, "image", setting.classes, sorted(val["patient"].unique()))
        temperature = fit_temperature(of_val.labels, of_val.probabilities)
        after = replace(image, probabilities=apply_temperature(image.probabilities, temperature))
        draws["image"]["ece_tempered"] = calibration_draws(after, weights, bins)
        calibration = replace(
            calibration,
            temperature=significant(temperature),
            temperature_at_bound=at_bound(temperature),
            reliability_tempered=_bins(after, bins),
        )
    return _Drawn(arm, units, draws, calibration)


def _ceiling(arm: Arm, truth: pd.DataFrame, setting: _Setting) -> Measured:
    """Measure an observer who knows the true dense share and answers its class."""
    test = arm.of_split("test")
    known = test["key"].map(truth.set_index("key")["true_class"])
    if known.isna().any():
        raise UserError(
            f"data/phantom_truth.csv: must hold every test image, got none for "
            f"{int(known.isna().sum())}; run `dvc repro`"
        )
    columns = [f"probability_{label}" for label in setting.classes]
    certain = test.copy()
    for label, column in zip(setting.classes, columns, strict=True):
        certain[column] = (known == label).astype(float)
    drawn = _draw(Arm(certain), setting, tempered=False)
    return replace(_measured(drawn, setting), calibration=None)


def _measured(drawn: _Drawn, setting: _Setting) -> Measured:
    return Measured(
        levels={
            level: _estimates(drawn.units[level], drawn.draws[level], setting) for level in LEVELS
        },
        calibration=drawn.calibration,
        rule=drawn.arm.rule,
        parameters=drawn.arm.parameters,
        status=drawn.arm.status,
    )


def _estimates(units: Units, draws: Draws, setting: _Setting) -> Estimates:
    """Give every metric that the sample defines its interval and the patients it rests on."""
    return {
        metric: _estimate(metric, values, units, setting)
        for metric, values in draws.items()
        if not np.isnan(values[0])
    }


def _estimate(metric: str, draws: np.ndarray, units: Units, setting: _Setting) -> Estimate:
    found = interval(draws, setting.params.confidence)
    thin = rests_on_few(metric, setting.classes, setting.thin)
    return Estimate(
        value=significant(found.value),
        low=None if thin else significant(found.low),
        high=None if thin else significant(found.high),
        n_patients=_patients_behind(metric, units),
        undefined_draws=found.undefined_draws,
    )


def rests_on_few(metric: str, classes: tuple[str, ...], thin: Mapping[str, int]) -> bool:
    """Say whether a metric is of one class, or a mean over classes, that few patients have.

    Resampling a handful of patients shows how these few vary, not how others would.
    """
    if metric in MEANS_OVER_CLASSES:
        return any(label in thin for label in classes)
    if metric in MEANS_OVER_DENSE:
        return "dense" in thin or "not dense" in thin
    named = {"sensitivity_dense": "dense", "specificity_dense": "not dense"}
    named |= {f"recall_{label}": label for label in classes}
    return named.get(metric) in thin


def _patients_behind(metric: str, units: Units) -> int:
    """Count the patients that a metric rests on: a recall, on those of its class."""
    label = metric.removeprefix("recall_")
    of_class = units.labels == units.classes.index(label) if label in units.classes else slice(None)
    return len(np.unique(units.patients[of_class]))


def _asked(
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


def _compare_pair(
    first: str, second: str, family: Family, a: _Drawn, b: _Drawn, setting: _Setting
) -> Pair:
    """Compare two arms: paired differences of all image-level metrics, and the tests."""
    units = a.units["image"]
    differences = {
        metric: draws - b.draws["image"][metric]
        for metric, draws in a.draws["image"].items()
        if not np.isnan(draws[0])
    }
    estimates = {m: _estimate(m, draws, units, setting) for m, draws in differences.items()}
    tests = [
        _bootstrap_test(metric, differences[metric], estimates[metric], setting)
        for metric in setting.params.tested_metrics
    ]
    return Pair(first, second, family, estimates, (*tests, _mcnemar(a, b), _delong(a, b)))


def _bootstrap_test(
    metric: str, differences: np.ndarray, estimate: Estimate, setting: _Setting
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


def _mcnemar(a: _Drawn, b: _Drawn) -> Test:
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


def _delong(a: _Drawn, b: _Drawn) -> Test:
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


def _adjusted(pairs: Sequence[Pair]) -> tuple[list[Pair], dict[Family, int]]:
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


def _groups(
    strategies: Mapping[str, _Drawn], groups: pd.DataFrame | None, setting: _Setting
) -> list[Group]:
    """Measure every group of test images that has patients enough."""
    if not strategies:
        return []
    tables = {name: drawn.arm.of_split("test") for name, drawn in strategies.items()}
    first = next(iter(tables.values())).set_index("key")[["patient", "laterality", "view"]]
    if groups is not None:
        first = first.join(groups.set_index("key"), how="left").fillna("unknown")
    dimensions = [*first.columns[3:], "view", "laterality"]
    found = []
    for dimension in dimensions:
        for value in sorted(first[dimension].unique()):
            keys = first.index[first[dimension] == value]
            patients = int(first.loc[keys, "patient"].nunique())
            measured = {
                name: _of_group(table[table["key"].isin(keys)], strategies[name].arm, setting)
                for name, table in tables.items()
                if patients >= FEWEST_PATIENTS
            }
            found.append(Group(dimension, str(value), len(keys), patients, measured))
    return found


def _of_group(table: pd.DataFrame, arm: Arm, setting: _Setting) -> Estimates:
    units = aggregate(table, "image", setting.classes, setting.patients, rule=arm.rule)
    draws = metric_draws(units, setting.weights, dense_positions(setting.classes))
    return _estimates(units, {name: draws[name] for name in GROUPED_METRICS}, setting)


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


def _bins(units: Units, bins: int) -> tuple[Bin, ...]:
    rows = reliability(units.labels, units.probabilities, bins).to_dict("records")
    return tuple(
        Bin(n=int(row["n"]), **{str(k): significant(v) for k, v in row.items() if k != "n"})
        for row in rows
    )


def significant(value: float | int | None) -> Any:
    """Round to the 9 significant digits of every committed number; None stays."""
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.9g}")
