"""Plan the synthetic dataset: which pictures there are, decided before one is drawn.

The labels are a reader's, who sees the dense share with an error and answers each class as often
as it is: so the counts of the labels are those planned, and so are those of the true classes.
"""

import math
from dataclasses import dataclass

import numpy as np

from mammo.phantom.params import PhantomParams, breasts_by_class

VIEWS = (("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"))
# Share of the breast that is dense (BI-RADS Atlas, 4th edition, 2003).
QUARTILES = {"A": (0.0, 0.25), "B": (0.25, 0.5), "C": (0.5, 0.75), "D": (0.75, 1.0)}
CLASSES = "".join(QUARTILES)
SPREADS = np.arange(0, 3, 0.01)  # tried for the reader's error, in classes


@dataclass(frozen=True)
class PlannedImage:
    """One row of labels.csv, and what its picture is drawn from.

    Attributes:
        patient: Number of the patient, from 1.
        laterality: L or R.
        view: CC or MLO.
        density: The label: what the reader said.
        dense_share: Of the patient's breasts, the truth; images vary about it.
    """

    patient: int
    laterality: str
    view: str
    density: str
    dense_share: float

    @property
    def side_and_view(self) -> tuple[str, str]:
        """One of VIEWS."""
        return self.laterality, self.view

    @property
    def patient_id(self) -> str:
        """Patient ID, also the name of the folder."""
        return f"PH{self.patient:03d}"

    @property
    def path(self) -> str:
        """Path below the dataset's folder, posix."""
        return f"dicom/{self.patient_id}/{self.patient_id}_{self.laterality}{self.view}.dcm"


def plan_images(params: PhantomParams) -> list[PlannedImage]:
    """Plan patients of one class each; a patient has both breasts, or one where patients are short.

    Sorted by path. Patients are numbered in random order, so that a number says nothing of a class.
    """
    rng = np.random.default_rng([params.seed, 0])
    patients: list[tuple[str, int]] = []  # (label, number of breasts)
    for density, breasts in breasts_by_class(params).items():
        count = max(math.ceil(breasts / 2), params.min_patients)
        patients += [(density, 2 if i < breasts - count else 1) for i in range(count)]
    patients = [patients[index] for index in rng.permutation(len(patients))]
    shares = _dense_shares(patients, params)
    images = []
    for number, ((density, breasts), share) in enumerate(zip(patients, shares, strict=True), 1):
        sides = "LR" if breasts == 2 else "LR"[rng.integers(2)]
        images += [
            PlannedImage(number, *view, density, share) for view in VIEWS if view[0] in sides
        ]
    return sorted(images, key=lambda image: image.path)


def true_class(dense_share: float) -> str:
    """Name the quartile that a dense share lies in."""
    return next(label for label, (_, high) in QUARTILES.items() if dense_share < high)


def share_bounds(label: str, params: PhantomParams) -> tuple[float, float]:
    """Bound the dense shares of one class: its quartile less the margin."""
    low, high = QUARTILES[label]
    # no breast is free of tissue, and none is without its layer of fat under the skin
    low, high = max(low, 0.03), min(high, 0.94)
    return low + params.boundary_margin, high - params.boundary_margin


def _dense_shares(patients: list[tuple[str, int]], params: PhantomParams) -> list[float]:
    """Draw each patient's true share, so that a reader who errs gives the label that is planned.

    Every patient has a place on the scale of the classes, where 0 is the least of A and 4 the
    most of D. The reader sees the places with an error, puts the patients in that order and, by
    their number, gives the first ones A, and so on: who lies next to a quartile's bound slips
    most easily. The error's spread is the one that gives `reader_kappa`, by image, or comes
    nearest to it.
    """
    numbers = range(1, len(patients) + 1)
    draws = [np.random.default_rng([params.seed, 1, number]).random() for number in numbers]
    labels = np.array([CLASSES.index(density) for density, _ in patients])
    breasts = np.array([breasts for _, breasts in patients])  # two views each: the weights
    errors = np.random.default_rng([params.seed, 4]).standard_normal(len(patients))
    places = labels + np.array(draws)

    def true_places(spread: float) -> np.ndarray:
        truth: np.ndarray = np.empty_like(places)
        truth[np.argsort(places)] = places[np.argsort(places + spread * errors)]
        return truth

    kappas = [_quadratic_kappa(labels, true_places(s).astype(int), breasts) for s in SPREADS]
    places = true_places(SPREADS[np.argmin(np.abs(np.array(kappas) - params.reader_kappa))])
    shares = []
    for number, fraction in zip(places.astype(int), places % 1, strict=True):
        low, high = share_bounds(CLASSES[number], params)
        shares.append(float(low + (high - low) * fraction))
    return shares


def _quadratic_kappa(labels: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Weigh how far the labels lie from the true classes; 1 where they are the same.

    Source: Fleiss & Cohen 1973, Educ Psychol Meas 33:613, which needs no table of counts.
    """
    apart = np.average((labels - truth) ** 2, weights=weights)
    if apart == 0:
        return 1.0
    means = [np.average(values, weights=weights) for values in (labels, truth)]
    spread = [
        np.average((values - mean) ** 2, weights=weights)
        for values, mean in zip((labels, truth), means, strict=True)
    ]
    return float(1 - apart / (sum(spread) + (means[0] - means[1]) ** 2))
