"""Section `dicom`."""

from pydantic import Field

from mammo.params import Params


class Limits(Params):
    """Bounds on what one file may ask for."""

    max_pixels: int = Field(gt=0)  # rows times columns
    max_inflated_mb: int = Field(gt=0)  # of a deflated data set
