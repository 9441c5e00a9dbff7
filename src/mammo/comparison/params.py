"""Section `compare`."""

from typing import Annotated, Literal

from pydantic import Field

from mammo.params import Params


class HistogramParams(Params):
    """The intensity-histogram baseline.

    Attributes:
        bins: Grey-value bins over the range of the breast's pixels.
    """

    bins: Annotated[int, Field(ge=2)]


# What is measured by image whatever the classes are called.
Tested = Literal[
    "kappa", "kappa_linear", "kappa_quadratic", "bal_acc", "bal_acc_adj", "accuracy", "macro_f1",
    "auc_macro", "mae_classes", "far_error_share", "ece", "kappa_dense", "bal_acc_adj_dense",
    "accuracy_dense", "macro_f1_dense", "sensitivity_dense", "specificity_dense", "auc_dense",
]  # fmt: skip


class CompareParams(Params):
    """Section `compare`.

    Attributes:
        draws: Bootstrap draws of patients.
        seed: Of the draws.
        confidence: Of every interval.
        calibration_bins: Confidence bins of equal width.
        tested_metrics: Image-level metrics whose paired difference gets a p value.
        false_discovery_rate: A difference counts as shown at an adjusted p up to this.
        histogram: The intensity-histogram baseline.
    """

    draws: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    calibration_bins: Annotated[int, Field(ge=2)]
    tested_metrics: Annotated[list[Tested], Field(min_length=1)]
    false_discovery_rate: Annotated[float, Field(gt=0, lt=1)]
    histogram: HistogramParams
