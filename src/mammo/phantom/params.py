"""Section `phantom`."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mammo.params import Params

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
    reader_kappa: Annotated[float, Field(ge=0.3, le=1)]

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
