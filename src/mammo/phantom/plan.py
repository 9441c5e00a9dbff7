"""Plan the synthetic dataset: which pictures there are, decided before one is drawn."""

import math
from dataclasses import dataclass

import numpy as np

from mammo.phantom.params import PhantomParams, breasts_by_class

VIEWS = (("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"))


@dataclass(frozen=True)
class PlannedImage:
    """One row of labels.csv, and what its picture is drawn from."""

    patient: int
    laterality: str
    view: str
    density: str

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
    patients: list[tuple[str, int]] = []  # (class, number of breasts)
    for density, breasts in breasts_by_class(params).items():
        count = max(math.ceil(breasts / 2), params.min_patients)
        patients += [(density, 2 if i < breasts - count else 1) for i in range(count)]
    images = []
    for number, index in enumerate(rng.permutation(len(patients)), start=1):
        density, breasts = patients[index]
        sides = "LR" if breasts == 2 else "LR"[rng.integers(2)]
        images += [PlannedImage(number, *view, density) for view in VIEWS if view[0] in sides]
    return sorted(images, key=lambda image: image.path)
