"""Section `bundle`."""

from typing import Annotated

from pydantic import Field

from mammo.params import Params


class BundleParams(Params):
    """Section `bundle`.

    Attributes:
        coverage: Of prediction sets, where nothing else is asked for.
    """

    coverage: Annotated[float, Field(gt=0.5, lt=1)]
