"""Section `compare`."""

from typing import Annotated

from pydantic import Field

from mammo.params import Params


class HistogramParams(Params):
    """The intensity-histogram baseline.

    Attributes:
        bins: Grey-value bins over the range of the breast's pixels.
    """

    bins: Annotated[int, Field(ge=2)]


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
    tested_metrics: Annotated[list[str], Field(min_length=1)]
    false_discovery_rate: Annotated[float, Field(gt=0, lt=1)]
    histogram: HistogramParams
