"""Section `preprocess`."""

from typing import Literal

from pydantic import Field, model_validator

from mammo.params import Params

Voi = Literal["auto", "lut", "window", "percentiles", "none"]


class MakersGreyScale(Params):
    """The grey scale of one maker's images: its window may be another's black.

    Attributes:
        manufacturer: A part of the header's Manufacturer, in any case.
    """

    manufacturer: str = Field(min_length=1)
    voi: Voi
    voi_index: int = Field(ge=0)


class PreprocessParams(Params):
    """Section `preprocess` of params.yaml."""

    size_px: int = Field(ge=8, le=4096)
    dtype: Literal["uint8", "uint16"]
    voi: Voi
    voi_index: int = Field(ge=0)
    by_manufacturer: list[MakersGreyScale]
    percentile_low: float = Field(ge=0, lt=100)
    percentile_high: float = Field(gt=0, le=100)
    crop: bool
    orientation: Literal["auto", "pixels"]
    background: Literal["keep", "zero"]
    reduced_decode: bool
    duplicate_pixels: Literal["reject", "flag"]
    workers: int = Field(ge=0)
    timeout_s: float = Field(gt=0)
    memory_mb: int = Field(ge=64)
    shard_mb: int = Field(ge=1)
    scheduler: str | None

    @model_validator(mode="after")
    def _percentiles_are_ordered(self) -> "PreprocessParams":
        if self.percentile_low >= self.percentile_high:
            raise ValueError("percentile_low must be below percentile_high")
        return self

    def maker_of(self, manufacturer: str) -> MakersGreyScale | None:
        """Take the first entry of `by_manufacturer` that a header's Manufacturer holds."""
        named = manufacturer.casefold()
        entries = self.by_manufacturer
        return next((entry for entry in entries if entry.manufacturer.casefold() in named), None)

    def for_manufacturer(self, manufacturer: str) -> "PreprocessParams":
        """Put the maker's grey scale, if it has one of its own, in place of the general one."""
        entry = self.maker_of(manufacturer)
        if entry is None:
            return self
        return self.model_copy(update={"voi": entry.voi, "voi_index": entry.voi_index})
