"""Section `preprocess`."""

from typing import Literal

from pydantic import Field, model_validator

from mammo.params import Params


class PreprocessParams(Params):
    """Section `preprocess` of params.yaml."""

    size_px: int = Field(ge=8, le=4096)
    dtype: Literal["uint8", "uint16"]
    voi: Literal["auto", "lut", "window", "percentiles", "none"]
    voi_index: int = Field(ge=0)
    percentile_low: float = Field(ge=0, lt=100)
    percentile_high: float = Field(gt=0, le=100)
    crop: bool
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
