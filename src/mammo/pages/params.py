"""Sections `sheet` and `review`."""

from typing import Annotated

from pydantic import Field

from mammo.params import Params


class SheetParams(Params):
    """Section `sheet`: how much of the contact sheets is drawn."""

    images_per_group: Annotated[int, Field(ge=1)]
    thumbnail_px: Annotated[int, Field(ge=64, le=1024)]


class ReviewParams(Params):
    """Section `review`: how much the page holds."""

    max_images: Annotated[int, Field(ge=1)]
    picture_px: Annotated[int, Field(ge=64, le=1024)]
