"""Prediction sets: the classes that an image may well belong to, at a coverage of one's choice.

The score of an image is 1 minus the probability of its true class, from a model that hasn't seen
the patient. A class is in the set of a new image if its own score there would be no stranger than
the share `coverage` of what the class's patients had.

What it promises: of the images of patients like those of the bundle (same population, same
equipment, one drawn at random from a patient), at least about that share have their class in the
set, for each class by itself. What it doesn't: anything of one patient, of other equipment or
another population, or of images flagged as unfamiliar; and cross-fitted scores, which come from
models a little smaller than the one that answers, make the promise approximate.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Scores by class: a list a patient, of the images of that class; nobody is named.
Scores = dict[str, list[list[float]]]

PROMISE = (
    "Of images of patients like those of the bundle, about this share have their class in the set, "
    "for each class by itself; it promises nothing for one patient, for another population or "
    "other equipment, or for images flagged as unfamiliar."
)


@dataclass(frozen=True)
class Thresholds:
    """What a score may be at most.

    Attributes:
        by_class: For each class; 1 lets it into every set.
        pooled: The classes that use the threshold of all classes together: too few patients.
    """

    by_class: dict[str, float]
    pooled: list[str]


def scores_of(
    probabilities: np.ndarray, labels: np.ndarray, patients: np.ndarray, classes: Sequence[str]
) -> Scores:
    """Collect the scores of each class, by patient.

    Args:
        probabilities: (n, K), each row from a model that hasn't seen this patient.
        labels: (n,) integers, positions in `classes`.
        patients: (n,) patient keys; they only group.
        classes: The K class names.
    """
    scores: Scores = {}
    for k, name in enumerate(classes):
        of_class = labels == k
        groups = [
            sorted(round(1 - float(p), 6) for p in probabilities[of_class & (patients == who), k])
            for who in np.unique(patients[of_class])
        ]
        scores[name] = sorted(groups)  # in an order that tells nothing of the patients
    return scores


def fewest_patients(coverage: float) -> int:
    """Count the patients below which no threshold can keep the coverage: 9 at 0.9, 19 at 0.95."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def thresholds_of(scores: Mapping[str, Sequence[Sequence[float]]], coverage: float) -> Thresholds:
    """Find the threshold of each class.

    Source: Vovk 2012, arXiv:1209.2673 (class-conditional); Sadinle 2019, arXiv:1609.00451 (1 -
    probability as the score); Lee 2023, arXiv:2306.06342 (patients as groups: each counts once, its
    images share the weight, and one more at infinity stands for the new patient).
    """
    needed = fewest_patients(coverage)
    together = [group for groups in scores.values() for group in groups]
    shared = _threshold(together, coverage)
    pooled = [name for name, groups in scores.items() if len(groups) < needed]
    return Thresholds(
        by_class={
            name: shared if name in pooled else _threshold(groups, coverage)
            for name, groups in scores.items()
        },
        pooled=pooled,
    )


def _threshold(groups: Sequence[Sequence[float]], coverage: float) -> float:
    """Find the smallest score with `coverage` of the patients' weight at or below it."""
    if not groups:
        return 1.0
    scores = np.concatenate([np.asarray(group, dtype=np.float64) for group in groups])
    weights = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order]) / (len(groups) + 1)
    enough = np.flatnonzero(reached >= coverage - 1e-12)
    return float(scores[order[enough[0]]]) if len(enough) else 1.0


def prediction_sets(
    probabilities: np.ndarray, thresholds: Thresholds, classes: Sequence[str]
) -> np.ndarray:
    """Say which classes are in the set of each image: (n, K) bool.

    No set is empty: the likeliest class always belongs to it, which only adds to the coverage.
    """
    limits = np.array([thresholds.by_class[name] for name in classes])
    inside = 1 - probabilities <= limits + 1e-9
    inside[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
    return inside


def set_names(inside: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Write each set with its classes in order, as in `B C`."""
    return [
        " ".join(name for name, there in zip(classes, row, strict=True) if there) for row in inside
    ]


def coverage_by_class(
    inside: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, float | None]:
    """Measure which share of each class's images has its class in the set."""
    return {
        name: float(inside[labels == k, k].mean()) if (labels == k).any() else None
        for k, name in enumerate(classes)
    }
