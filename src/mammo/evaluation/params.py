"""Section `evaluate` and the thresholds of section `collapse`."""

from typing import Annotated, Literal

from pydantic import Field

from mammo.params import Params


class EvaluateParams(Params):
    """Section `evaluate`."""

    batch_size: Annotated[int, Field(ge=1)]
    test_time_flip: bool


Fraction = Annotated[float, Field(ge=0, le=1)]


class CollapseParams(Params):
    """Section `collapse`: thresholds on validation metrics, and what to do."""

    action: Literal["warn", "stop", "fail"]
    patience: Annotated[int, Field(ge=1)]
    min_support: Annotated[int, Field(ge=1)]
    collapsed_share: Fraction
    collapsed_kappa: Fraction
    warning_share: Fraction
    warning_kappa: Fraction
    warning_kappa_at_end: Fraction
    warning_bal_acc_adj: Fraction
