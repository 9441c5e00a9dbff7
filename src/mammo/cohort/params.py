"""Section `split`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mammo.params import Params


class SplitParams(Params):
    """Section `split`."""

    source: Literal["grouped", "published"]
    folds: Annotated[int, Field(ge=3)]
    test_fold: Annotated[int, Field(ge=0)]
    val_fold: Annotated[int, Field(ge=0)] | None
    seed: Annotated[int, Field(ge=0)]
    missing_class: Literal["error", "warn"]

    @model_validator(mode="after")
    def _folds_differ(self) -> Self:
        for name, fold in (("test_fold", self.test_fold), ("val_fold", self.validation_fold)):
            if fold >= self.folds:
                raise ValueError(f"{name} must be less than folds ({self.folds}), got {fold}")
        if self.validation_fold == self.test_fold:
            raise ValueError(f"val_fold and test_fold must differ, got {self.test_fold} for both")
        return self

    @property
    def validation_fold(self) -> int:
        """`val_fold`, or the fold after `test_fold`."""
        return (self.test_fold + 1) % self.folds if self.val_fold is None else self.val_fold
