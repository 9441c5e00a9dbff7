"""From images to breasts and patients: whose probabilities they get, and what is measured there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mammo.cohort.classes import DENSE, dense_positions
from mammo.evaluation.decision import Rule, decide
from mammo.evaluation.metrics import (
    Metrics,
    auc,
    classification_metrics,
    confusion_matrix,
    dense_draws,
)

PatientRule = Literal["denser", "mean"]

# What one unit of a level is told apart by; views are averaged within it.
LEVELS = {"image": ["patient", "key"], "breast": ["patient", "laterality"], "patient": ["patient"]}
BY_LEVEL = ("accuracy", "kappa", "kappa_quadratic", "bal_acc_adj")


@dataclass(frozen=True)
class Units:
    """What is judged (images, breasts or patients), and the patient that each belongs to.

    Attributes:
        patients: (n,) integers, positions in the sorted list of the P patients.
        labels: (n,) integers, positions in `classes`.
        probabilities: (n, K) floats.
        classes: The K class names in order.
        rule: How the predictions follow from the probabilities.
    """

    patients: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    rule: Rule = "argmax"

    @property
    def predictions(self) -> np.ndarray:
        """The predicted classes: (n,) positions in `classes`."""
        return decide(self.probabilities, self.rule)


def class_names(table: pd.DataFrame) -> tuple[str, ...]:
    """Name the classes of a predictions table, in order."""
    prefix = "probability_"
    return tuple(c.removeprefix(prefix) for c in table.columns if c.startswith(prefix))


def labels_exams(table: pd.DataFrame) -> bool:
    """Tell whether a data set labels whole exams: no patient's breasts or images differ."""
    return bool((table.groupby("patient")["label"].nunique() == 1).all())


def settle_patient_rule(table: pd.DataFrame, wanted: PatientRule) -> PatientRule:
    """Settle whose probabilities a patient gets, given the labels of the whole table.

    Where images or breasts are labelled, a patient's label is that of the denser breast, and
    `denser` takes the probabilities from the breast that looks denser. Where exams are, both
    breasts speak for the same label, and their mean is the steadier.
    """
    return "mean" if labels_exams(table) else wanted


def aggregate(
    table: pd.DataFrame,
    level: str,
    classes: Sequence[str],
    patients: Sequence[str],
    patient_rule: PatientRule = "mean",
    rule: Rule = "argmax",
) -> Units:
    """Average probabilities over the images of each unit of a level.

    Where images of one unit disagree on the label (a patient whose breasts differ), the denser
    one counts, as in a mammography report (ACR BI-RADS Atlas, 5th ed., breast composition).

    Args:
        table: Predictions of one split.
        level: `image`, `breast` or `patient`.
        classes: The K class names in order.
        patients: All patients, sorted.
        patient_rule: A patient's probabilities: the mean of all images, or those of the breast
            of higher expected class.
        rule: How predictions follow from probabilities.
    """
    columns = [f"probability_{label}" for label in classes]
    position = {label: number for number, label in enumerate(classes)}
    rows = table.assign(position=table["label"].map(position))
    groups = rows.groupby(LEVELS[level])
    probabilities = groups[columns].mean()  # sorted by the unit
    if level == "patient" and patient_rule == "denser":
        probabilities = of_denser_breast(rows.groupby(LEVELS["breast"])[columns].mean())
    number = {patient: n for n, patient in enumerate(patients)}
    of_unit = probabilities.index.get_level_values("patient")
    return Units(
        patients=np.array([number[patient] for patient in of_unit]),
        labels=groups["position"].max().to_numpy(),
        probabilities=probabilities.to_numpy(),
        classes=tuple(classes),
        rule=rule,
    )


def of_denser_breast(breasts: pd.DataFrame) -> pd.DataFrame:
    """Choose each patient's breast of higher expected class; of equals the first.

    Args:
        breasts: Probabilities (breasts, K), classes in order; index patient, laterality.

    Returns:
        Probabilities (patients, K), sorted by patient.
    """
    expected = pd.Series(breasts.to_numpy() @ np.arange(breasts.shape[1]), index=breasts.index)
    chosen = expected.groupby(level="patient").idxmax()
    return breasts.loc[list(chosen)].droplevel("laterality")


def level_metrics(
    table: pd.DataFrame, classes: Sequence[str], patient_rule: PatientRule, rule: Rule
) -> Metrics:
    """Measure one split by breast, by patient, and as "dense or not".

    Returns:
        The metrics of `BY_LEVEL` with the suffixes `_breast` and `_patient`; where there are more
        than two classes those of `dense_draws`; and `auc_dense`, by image and by patient.
    """
    patients = sorted(table["patient"].unique())
    found: dict[str, Mapping[str, float | int | bool | None]] = {}
    units = {
        level: aggregate(table, level, classes, patients, patient_rule, rule) for level in LEVELS
    }
    for level in ("breast", "patient"):
        of_level = units[level]
        found[level] = classification_metrics(
            of_level.labels, of_level.probabilities, classes, rule
        )
    metrics: Metrics = {
        f"{key}_{level}": found[level][key] for level in ("breast", "patient") for key in BY_LEVEL
    }
    return (
        metrics
        | dense_metrics(units["image"])
        | {"auc_dense_patient": _auc_dense(units["patient"])}
    )


def dense_metrics(units: Units) -> Metrics:
    """Read "dense or not" off the answers; with two classes there is only `auc_dense` to add."""
    metrics: Metrics = {}
    if units.classes in DENSE and len(units.classes) > 2:
        k = len(units.classes)
        confusion = confusion_matrix(units.labels, units.predictions, k)[None].astype(np.float64)
        draws = dense_draws(confusion, dense_positions(units.classes))
        metrics |= {key: float(values[0]) for key, values in draws.items()}
    return metrics | {"auc_dense": _auc_dense(units)}


def _auc_dense(units: Units) -> float | None:
    """Rank units by the probability of the dense classes; None where one side is empty."""
    if units.classes not in DENSE:
        return None
    dense = dense_positions(units.classes)
    positive = np.isin(units.labels, dense)
    if positive.all() or not positive.any():
        return None
    return auc(positive, units.probabilities[:, dense].sum(axis=1))
