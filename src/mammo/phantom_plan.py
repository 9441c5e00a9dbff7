"""Plan the synthetic dataset: which pictures there are, decided before one is drawn."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from mammo.params import Params

VIEWS = (("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"))

Density = Literal["A", "B", "C", "D"]
Share = Annotated[float, Field(gt=0)]


class PhantomParams(Params):
    """Section `phantom`."""

    seed: Annotated[int, Field(ge=0)]
    images: Annotated[int, Field(gt=0)]
    class_shares: dict[Density, Share]
    min_patients: Annotated[int, Field(ge=1)]
    rows: Annotated[int, Field(ge=64, le=8192)]
    columns: Annotated[int, Field(ge=64, le=8192)]
    spectral_exponent: Annotated[float, Field(ge=0, le=5)]
    boundary_margin: Annotated[float, Field(ge=0.01, le=0.09)]
    exposure_spread: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _enough_images(self) -> "PhantomParams":
        if self.images % 2:
            raise ValueError("images must be even: every breast is seen in CC and MLO")
        if not self.class_shares:
            raise ValueError("class_shares must name one class at least")
        if not 0.6 <= self.columns / self.rows <= 1.0:
            raise ValueError("columns must be 0.6 to 1 times rows, as on a mammography detector")
        for density, pairs in breasts_by_class(self).items():
            if pairs < self.min_patients:
                raise ValueError(
                    f"class {density} gets {2 * pairs} images, too few for min_patients "
                    f"{self.min_patients}; raise images or its share in class_shares"
                )
        return self


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


def breasts_by_class(params: PhantomParams) -> dict[str, int]:
    """Share `images / 2` breasts among the classes by largest remainder (Hamilton)."""
    pairs, total = params.images // 2, sum(params.class_shares.values())
    exact: dict[str, float] = {
        key: pairs * share / total for key, share in sorted(params.class_shares.items())
    }
    counts = {key: math.floor(value) for key, value in exact.items()}
    by_remainder = sorted(exact, key=lambda key: (counts[key] - exact[key], key))
    for key in by_remainder[: pairs - sum(counts.values())]:
        counts[key] += 1
    return counts


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
