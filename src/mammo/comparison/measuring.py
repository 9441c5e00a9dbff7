"""One arm measured: its draws on every level, what they estimate, its calibration."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mammo.cohort.classes import DENSE, dense_positions
from mammo.comparison.arms import Arm
from mammo.comparison.bootstrap import calibration_draws, interval, metric_draws
from mammo.comparison.calibration import apply_temperature, at_bound, fit_temperature, reliability
from mammo.comparison.params import CompareParams
from mammo.comparison.results import Bin, Calibration, Estimate, Estimates, Measured
from mammo.evaluation.levels import LEVELS, PatientRule, Units, aggregate
from mammo.evaluation.metrics import Draws

FEWEST_PATIENTS = 5  # of a class, for an interval of what rests on it; of a group, to be judged
MEANS_OVER_CLASSES = ("bal_acc", "bal_acc_adj", "macro_f1", "auc_macro")
MEANS_OVER_DENSE = ("bal_acc_adj_dense", "macro_f1_dense")


@dataclass(frozen=True)
class Drawn:
    """One arm with its draws: units and draws by level, and its calibration."""

    arm: Arm
    units: dict[str, Units]
    draws: dict[str, Draws]
    calibration: Calibration | None


@dataclass(frozen=True)
class Setting:
    """What all arms are measured by.

    Attributes:
        classes: In order.
        patients: Of test, sorted.
        weights: (1 + draws, P), of the patients.
        params: Section `compare`.
        patient_rule: Whose probabilities a patient gets.
        thin: Patients with images of each class that has fewer than `FEWEST_PATIENTS`; of the
            dense classes together and of the others as `dense` and `not dense`; all as `all`.
    """

    classes: tuple[str, ...]
    patients: list[str]
    weights: np.ndarray
    params: CompareParams
    patient_rule: PatientRule
    thin: dict[str, int]


def thin_classes(test: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, int]:
    """Count the patients of each class that too few have; absent classes aside.

    The classes that count as dense, taken together, are `dense`, and the others `not dense`;
    `all` are all patients.
    """
    dense = test["label"].isin(DENSE[classes])
    counts = {
        **test.groupby("label")["patient"].nunique().to_dict(),
        "dense": test[dense]["patient"].nunique(),
        "not dense": test[~dense]["patient"].nunique(),
        "all": test["patient"].nunique(),
    }
    named = (*classes, "dense", "not dense", "all")
    return {n: int(counts[n]) for n in named if 0 < counts.get(n, 0) < FEWEST_PATIENTS}


def thin_by_patient(test: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, int]:
    """Count them where a patient counts once, as the densest label."""
    position = test["label"].map({label: number for number, label in enumerate(classes)})
    densest = position.groupby(test["patient"]).max()
    patients = pd.DataFrame({"patient": densest.index, "label": [classes[n] for n in densest]})
    return {n: count for n, count in thin_classes(patients, classes).items() if n in classes}


def thin_among(units: Units) -> dict[str, int]:
    """Count them as the units are labelled: who has a denser breast is no patient of the other."""
    labels = [units.classes[n] for n in units.labels]
    return thin_classes(pd.DataFrame({"patient": units.patients, "label": labels}), units.classes)


def draw(arm: Arm, setting: Setting, tempered: bool) -> Drawn:
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
    return Drawn(arm, units, draws, calibration)


def measured(drawn: Drawn, setting: Setting) -> Measured:
    """Turn the draws of one arm into what is reported of it."""
    return Measured(
        levels={
            level: estimates(drawn.units[level], drawn.draws[level], setting) for level in LEVELS
        },
        calibration=drawn.calibration,
        rule=drawn.arm.rule,
        parameters=drawn.arm.parameters,
        status=drawn.arm.status,
    )


def estimates(units: Units, draws: Draws, setting: Setting) -> Estimates:
    """Give every metric that the sample defines its interval and the patients it rests on."""
    thin = thin_among(units)
    return {
        metric: estimate(metric, values, units, thin, setting.params.confidence)
        for metric, values in draws.items()
        if not np.isnan(values[0])
    }


def estimate(
    metric: str, draws: np.ndarray, units: Units, thin: Mapping[str, int], confidence: float
) -> Estimate:
    """Give one metric its interval, or none where it rests on too few patients."""
    found = interval(draws, confidence)
    few = rests_on_few(metric, units.classes, thin)
    return Estimate(
        value=significant(found.value),
        low=None if few else significant(found.low),
        high=None if few else significant(found.high),
        n_patients=_patients_behind(metric, units),
        undefined_draws=found.undefined_draws,
    )


def rests_on_few(metric: str, classes: tuple[str, ...], thin: Mapping[str, int]) -> bool:
    """Say whether a metric is of one class, or a mean over classes, that few patients have.

    Resampling a handful of patients shows how these few vary, not how others would. Where there
    is but a handful in all, that holds of every metric.
    """
    if "all" in thin:
        return True
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
