"""The section `head`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mammo.params import Params

Criterion = Literal["log_loss", "calibrated_log_loss", "kappa_quadratic", "metrics"]


class PathParams(Params):
    """The penalties of a regularisation path, equally spaced on a logarithmic scale.

    A penalty is per image and per feature (the loss is a weighted mean, the features have a total
    variance of 1), so the same path serves 46 features or 2,000, and 100 images or 10,000.
    """

    strongest: Annotated[float, Field(gt=0)]
    weakest: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=2)]

    @model_validator(mode="after")
    def _descends(self) -> Self:
        if self.weakest >= self.strongest:
            raise ValueError(
                f"weakest must be less than strongest ({self.strongest:g}), got {self.weakest:g}"
            )
        return self


class KernelParams(Params):
    """Random Fourier features: how many, and their length scale in median distances."""

    features: Annotated[int, Field(ge=2)]
    scale: Annotated[float, Field(gt=0)]


class HeadParams(Params):
    """Section `head`: how a solved head is found."""

    model: Literal["ordinal", "multinomial"]
    kernel: Literal["none", "rbf"]
    rbf: KernelParams
    width_power: Annotated[float, Field(ge=0, le=1)]
    seed: Annotated[int, Field(ge=0)]
    select: Literal["cross_fit", "val"]
    criterion: Criterion
    thresholds: Literal["joint", "cross_fitted"]
    folds: Annotated[int, Field(ge=2)]
    refit: bool
    penalties: PathParams

    @property
    def cross_fits(self) -> bool:
        """Whether heads of folds of train are needed beside that of all of it."""
        return self.select == "cross_fit" or self.thresholds == "cross_fitted"
