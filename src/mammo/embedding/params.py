"""The sections `augment` and `embed`."""

from typing import Annotated, Literal

from pydantic import Field

from mammo.params import Params

Share = Annotated[float, Field(ge=0, le=1)]


class AugmentParams(Params):
    """Section `augment`. Every breast faces the same way already, so only up and down flip."""

    seed: Annotated[int, Field(ge=0)]
    vertical_flip: Share
    rotate_deg: Annotated[float, Field(ge=0, le=45)]
    scale: Annotated[float, Field(ge=0, lt=1)]
    translate: Annotated[float, Field(ge=0, lt=1)]
    brightness: Share
    contrast: Share
    gamma: Annotated[float, Field(ge=0, lt=1)]


class EmbedParams(Params):
    """Section `embed`."""

    views: Annotated[int, Field(ge=0)]
    store: Literal["auto", "always", "never"]
    budget_gb: Annotated[float, Field(gt=0)]
    min_gain: Annotated[float, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    shard_mb: Annotated[int, Field(ge=1)]
